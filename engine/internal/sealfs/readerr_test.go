package sealfs

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// nthRead fails one read below the sealing FS: the n-th from 0.
type nthRead struct {
	left   atomic.Int64
	sticky bool // and all after it
}

func failRead(n int) *nthRead {
	r := new(nthRead)
	r.left.Store(int64(n))
	return r
}

func (r *nthRead) String() string { return "the n-th read fails" }

func (r *nthRead) struck() bool { return r.left.Load() < 0 }

func (r *nthRead) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead && (r.left.Add(-1) == -1 || r.sticky && r.struck()) {
		return errorfs.ErrInjected
	}
	return nil
}

// TestReadErrorsPass fails each read in turn of an open and a scan of a whole
// database. The error must come out as what it is, and never as damage, as a
// log's end, or as nothing with half of the contents.
func TestReadErrorsPass(t *testing.T) {
	t.Parallel()
	base, table := vfs.NewMem(), newTable(t, 256)
	want := make(map[string]string)
	for i := range 3 {
		session(t, table.over(base), i == 0, func(db *pebble.DB) {
			for k := range 200 {
				key, value := fmt.Sprintf("key%04d", k*3+i), fmt.Sprintf("value %d in session %d", k, i)
				want[key] = value
				require.NoError(t, db.Set([]byte(key), []byte(value), nil))
				if k == 100 {
					require.NoError(t, db.Flush())
				}
			}
		})
	}
	for n := 0; ; n++ {
		inj := failRead(n)
		got, err := contents(table.over(errorfs.Wrap(base, inj)))
		switch {
		case err == nil:
			require.Equal(t, want, got, "read %d fails", n)
		case pebble.IsCorruptionError(err):
			t.Fatalf("read %d fails, and it is taken for damage: %v", n, err)
		default:
			require.True(t, errors.Is(err, errorfs.ErrInjected), "read %d fails: %v", n, err)
		}
		if !inj.struck() {
			require.NoError(t, err)
			require.Greater(t, n, 30, "few reads: is the database there?")
			t.Logf("%d reads", n)
			return
		}
	}
}

// contents opens the database to read, and reads all of it.
func contents(fs *FS) (all map[string]string, err error) {
	if err := fs.Preflight("db", nil, true); err != nil {
		return nil, err
	}
	db, err := pebble.Open("db", &pebble.Options{FS: fs, ReadOnly: true, Logger: quiet{}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	all = make(map[string]string)
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		all[string(it.Key())] = string(v)
	}
	return all, errors.Join(it.Error(), it.Close())
}

// TestReadErrorsDoNotStick fails the reads of a handle from each one on, until a
// caller has been told: the next read of the same range must succeed. (A failed
// authentication stays.)
func TestReadErrorsDoNotStick(t *testing.T) {
	t.Parallel()
	base, table := vfs.NewMem(), newTable(t, 64)
	want := bytes.Repeat([]byte("0123456789abcdef"), 20000) // more than one run of segments
	fs := table.over(base)
	writeFile(t, fs, "000001.sst", want)
	for _, opts := range [][]vfs.OpenOption{nil, {vfs.SequentialReadsOption}} {
		struck := 0
		for n := 0; n < 12; n++ {
			inj := failRead(1 << 30)
			inj.sticky = true
			fs.cfg.Base = errorfs.Wrap(base, inj)
			f, err := fs.Open("000001.sst", opts...)
			require.NoError(t, err)
			inj.left.Store(int64(n))
			for off := 0; off < len(want); {
				buf := make([]byte, min(70000, len(want)-off))
				m, err := f.ReadAt(buf, int64(off))
				require.True(t, bytes.Equal(want[off:off+m], buf[:m]), "%d bytes at %d", m, off)
				if err == nil {
					off += m
					continue
				}
				require.True(t, errors.Is(err, errorfs.ErrInjected), "%v", err)
				require.False(t, errors.As(err, new(*corrupt.Error)))
				require.Less(t, m, len(buf))
				struck++
				inj.left.Store(1 << 30)
			}
			require.NoError(t, f.Close())
		}
		require.GreaterOrEqual(t, struck, 2)
	}
}
