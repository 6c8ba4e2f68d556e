package meta

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

func TestRound(t *testing.T) {
	t.Parallel()
	r := Run{Seed: rand.Uint64(), Ops: 600, Large: 3 << 20, Configs: Configs()}
	if testing.Short() { // under the race detector it would take minutes
		r.Ops = 150
	}
	counts, err := r.Do(context.Background())
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", r.Seed, err, verdict.Of(err).Transcript)
	}
	require.Equal(t, int64(r.Ops*len(Configs())), counts.Operations)
}

// TestTranscripts replays what once failed.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		for _, c := range Configs() {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txt")+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				ops, err := work.ParseAll(string(b))
				require.NoError(t, err)
				require.NoError(t, Replay(c, ops))
			})
		}
	}
}

// A liar answers a get with the value that the key had before.
type liar struct {
	work.Subject
	old map[string]string
}

func (l *liar) Get(from work.Source, key string) (string, bool, error) {
	v, ok, err := l.Subject.Get(from, key)
	old, had := l.old[from.Table+key]
	if ok {
		l.old[from.Table+key] = v
	}
	if ok && had && old != v {
		return old, true, err
	}
	return v, ok, err
}

// TestStale plants a store that reads stale values, and sees it caught and the
// history shrunk.
func TestStale(t *testing.T) {
	t.Parallel()
	c := Configs()[2]
	c.Subject = func(s work.Subject) work.Subject { return &liar{Subject: s, old: make(map[string]string)} }
	r := Run{Seed: 3, Ops: 3000, Configs: []Config{c}, ShrinkFor: 10 * time.Minute}
	_, err := r.Do(context.Background())
	v := verdict.Of(err)
	require.NotNil(t, v)
	require.Equal(t, verdict.Wrong, v.Kind, v.What)
	ops, perr := work.ParseAll(v.Transcript)
	require.NoError(t, perr)
	require.LessOrEqual(t, len(ops), 8, v.Transcript)
	require.Equal(t, verdict.Wrong, verdict.Of(Replay(c, ops)).Kind)
}
