package crash

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

func TestRound(t *testing.T) {
	t.Parallel()
	r, least := Run{Seed: rand.Uint64(), Ops: 200, Every: 30, Again: 10}, int64(15)
	if testing.Short() {
		r.Ops, r.Most, least = 100, 15, 10
	}
	counts, err := r.Do(context.Background())
	require.NoError(t, err, "seed %d", r.Seed)
	require.Greater(t, counts.Crashes, least)
}

// noSync is a disk that says it has synced a log, and has not.
type noSync struct{ *crashfs.FS }

func (d noSync) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return noSyncFile{f}, err
}

func (d noSync) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return noSyncFile{f}, err
}

type noSyncFile struct{ vfs.File }

func (f noSyncFile) SyncData() error { return nil }

// TestDroppedSyncs plants a disk that drops syncs: what was acknowledged is
// lost. Where a later file shows it, the store does not open instead.
func TestDroppedSyncs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes minutes under the race detector; the full run has it")
	}
	found := make(map[verdict.Kind]int)
	for seed := range uint64(40) {
		r := Run{Seed: seed, Ops: 150, Every: 10, Disk: func(fs *crashfs.FS) vfs.FS { return noSync{fs} }}
		_, err := r.Do(context.Background())
		if v := verdict.Of(err); v != nil {
			found[v.Kind]++
		}
		if found[verdict.Lost] > 0 {
			t.Logf("found with seed %d", seed)
			return
		}
	}
	t.Fatalf("nothing was found lost: %v", found)
}

// TestResurrected tells the oracle of deletes that never were.
func TestResurrected(t *testing.T) {
	t.Parallel()
	r := Run{Seed: 8, Ops: 60, Every: 20, Spoil: func(w *oracle.World) {
		for _, h := range w.Tables() {
			w.Issue(h, []oracle.Effect{{Kind: oracle.DeleteRange, A: "\x00", B: "\xff\xff\xff\xff\xff\xff"}})
			w.Ack(h, true)
		}
	}}
	_, err := r.Do(context.Background())
	v := verdict.Of(err)
	require.NotNil(t, v)
	require.Equal(t, verdict.Phantom, v.Kind, v.What)
}
