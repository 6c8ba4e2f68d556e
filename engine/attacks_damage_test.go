package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestDamageLetsCompactionsRest damages a file that Pebble wants to compact.
// Pebble would begin again at once, for ever, and never come to a compaction
// that is asked for.
func TestDamageLetsCompactionsRest(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mem, root := vfs.NewMem(), newAttackRoot("rest")
	var failures atomic.Int32
	opts := Options{
		RootKey: root, FS: newAttackFS(mem), IdleTimeout: -1, tune: tuning{memTableSize: 256 << 10, noCompactions: true},
		Logger: slog.New(countFailures{n: &failures}),
	}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "a.b", TableOptions{NoCompression: true})
	require.NoError(t, err)
	for round := range 4 { // four files, one over the other
		for i := range 100 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", i), bytes.Repeat([]byte{byte(round)}, 100), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
	}
	require.NoError(t, s.Close())
	v := &victim{t: t, base: mem, dir: "store", rng: rand.New(rand.NewPCG(1, 1))}
	names := v.glob(tablesDir + "/*/*.sst")
	require.Len(t, names, 4)
	v.flip(names[1], keyring.HeaderLen+4000, keyring.HeaderLen+4001)

	opts.tune.noCompactions = false
	s, err = Open(ctx, "store", opts)
	require.NoError(t, err)
	tab, err = s.Table("a.b")
	require.NoError(t, err)
	for range 5 {
		var cerr error
		require.Empty(t, bounded(func() { cerr = tab.Compact(ctx, nil, nil) }))
		require.ErrorIs(t, cerr, ErrCorruption)
	}
	require.NoError(t, s.Close())
	require.NotZero(t, failures.Load())
	require.Less(t, failures.Load(), int32(100))
}

// countFailures counts what fails in the background.
type countFailures struct {
	slog.Handler
	n *atomic.Int32
}

func (c countFailures) Enabled(context.Context, slog.Level) bool { return true }

func (c countFailures) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c countFailures) WithGroup(string) slog.Handler { return c }

func (c countFailures) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "background work failed") {
		c.n.Add(1)
	}
	return nil
}
