//go:build !race

package engine

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// The race detector makes sync.Pool forget at random, so this file is not
// part of a -race run.

// TestAllocations holds that a call allocates nothing beyond what the call of
// Pebble's does that is below it. It is not parallel: it counts what the whole
// process allocates.
func TestAllocations(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store"), Options{RootKey: newRoot(t), IdleTimeout: -1})
	tab, err := s.CreateTable(t.Context(), "a.b", TableOptions{})
	require.NoError(t, err)
	const rows = 5000
	key := func(dst []byte, i int) []byte { return fmt.Appendf(dst[:0], "row/%08d", i) }
	value := make([]byte, 400)
	kb := make([]byte, 0, 64)
	noSync := &WriteOptions{NoSync: true}
	for i := range rows {
		require.NoError(t, tab.Put(key(kb, i), value, noSync))
	}
	keys := make([][]byte, rows)
	for i := range keys {
		keys[i] = key(nil, i*7919%rows)
	}
	db := tab.inst.Load().db
	v, err := tab.View()
	require.NoError(t, err)
	defer v.Close()
	snap := db.NewSnapshot()
	defer snap.Close()
	missing := []byte("row/none")

	// allocs counts what a call allocates, at each call for another key.
	allocs := func(what string, call func(key []byte) error) float64 {
		n := 0
		return testing.AllocsPerRun(2000, func() {
			n++
			if err := call(keys[n%rows]); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	buf := make([]byte, 0, 1024)
	plainGet := func(r pebble.Reader) func(key []byte) error {
		return func(key []byte) error {
			v, c, err := r.Get(key)
			if err != nil {
				return err
			}
			buf = append(buf[:0], v...)
			return c.Close()
		}
	}
	expect := func(err, want error) error {
		if err != want {
			return fmt.Errorf("%v, not %v", err, want)
		}
		return nil
	}
	for _, where := range []string{"memtable", "sorted files"} {
		if where == "sorted files" {
			require.NoError(t, tab.Flush())
		}
		for _, c := range []struct {
			what         string
			cofre, plain func(key []byte) error
			extra        float64
		}{
			{"Table.AppendGet", func(key []byte) (err error) {
				buf, err = tab.AppendGet(buf[:0], key)
				return err
			}, plainGet(db), 0},
			{"Table.Get", func(key []byte) error {
				_, err := tab.Get(key)
				return err
			}, plainGet(db), 1}, // the slice it returns
			{"Table.Has", func(key []byte) error {
				_, err := tab.Has(key)
				return err
			}, plainGet(db), 0},
			{"Table.AppendGet of no row", func([]byte) error {
				_, err := tab.AppendGet(buf[:0], missing)
				return expect(err, ErrNotFound)
			}, func([]byte) error {
				_, _, err := db.Get(missing)
				return expect(err, pebble.ErrNotFound)
			}, 0},
			{"View.AppendGet", func(key []byte) (err error) {
				buf, err = v.AppendGet(buf[:0], key)
				return err
			}, plainGet(snap), 0},
		} {
			got, want := allocs(c.what, c.cofre), allocs(c.what, c.plain)
			require.LessOrEqual(t, got, want+c.extra, "%s, from %s: %v allocations, Pebble's call %v", c.what, where, got, want)
		}
	}
	got := allocs("Table.Put", func(key []byte) error { return tab.Put(key, value, noSync) })
	want := allocs("DB.Set", func(key []byte) error { return db.Set(key, value, pebble.NoSync) })
	require.LessOrEqual(t, got, want, "Table.Put: %v allocations, Pebble's call %v", got, want)
}
