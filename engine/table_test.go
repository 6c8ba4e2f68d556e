package engine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestSnapshots keeps states of a table while the table goes on.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	ctx, opts := t.Context(), crashOptions(newMemRoot("snapshots"), vfs.NewMem())
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "snap.table", TableOptions{SeparateValuesFrom: 500})
	require.NoError(t, err)
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	now, then := state{}, map[string]state{}
	for n := range 5 {
		for range 150 {
			k, v := fmt.Sprintf("%03d", rng.IntN(200)), string(value(rng, rng.IntN(1000)))
			now[k] = v
			require.NoError(t, tab.Put([]byte(k), []byte(v), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.DeleteRange([]byte("050"), []byte("060"), nil))
		now.apply([]effect{{'r', "050", "060"}})
		name := fmt.Sprint("s", n)
		info, err := tab.Snapshot(ctx, name)
		require.NoError(t, err)
		require.Equal(t, name, info.Name)
		require.Positive(t, info.Files)
		require.Positive(t, info.Bytes)
		then[name] = maps.Clone(now)
		_, err = tab.Snapshot(ctx, name)
		require.ErrorIs(t, err, ErrSnapshotExists)
	}
	check := func() {
		t.Helper()
		list, err := tab.Snapshots(ctx)
		require.NoError(t, err)
		require.Len(t, list, len(then))
		for i, info := range list {
			require.True(t, i == 0 || !info.CreatedAt.Before(list[i-1].CreatedAt))
			a, err := tab.OpenSnapshot(ctx, info.Name)
			require.NoError(t, err)
			b, err := tab.OpenSnapshot(ctx, info.Name)
			require.NoError(t, err)
			require.NoError(t, a.Close())
			got, err := b.contents()
			require.NoError(t, err)
			require.Equal(t, then[info.Name], got)
			require.ErrorIs(t, tab.DropSnapshot(ctx, info.Name), ErrInUse)
			_, err = b.Get([]byte("055"))
			require.ErrorIs(t, err, ErrNotFound)
			require.NoError(t, b.Close())
			_, err = b.Get(key)
			require.ErrorIs(t, err, ErrClosed)
		}
		got, err := tab.contents()
		require.NoError(t, err)
		require.Equal(t, now, got)
	}
	check()
	require.NoError(t, tab.Compact(ctx, nil, nil))
	check()
	require.NoError(t, tab.DropSnapshot(ctx, "s2"))
	delete(then, "s2")
	require.ErrorIs(t, tab.DropSnapshot(ctx, "s2"), ErrSnapshotNotFound)
	_, err = tab.OpenSnapshot(ctx, "s2")
	require.ErrorIs(t, err, ErrSnapshotNotFound)
	check()
	require.NoError(t, s.Close())

	s = openStore(t, crashDir, opts)
	tab, err = s.Table("snap.table")
	require.NoError(t, err)
	check()
	require.NoError(t, tab.DeleteRange([]byte("000"), []byte("999"), nil))
	require.NoError(t, tab.Compact(ctx, nil, nil))
	now = state{}
	check()
	requireVerified(t, s)
	check()
	for name := range then {
		require.NoError(t, tab.DropSnapshot(ctx, name))
	}
	ids, err := tab.snapshotDirs()
	require.NoError(t, err)
	require.Empty(t, ids)
	requireVerified(t, s)
}

// TestScanKinds holds scans of all kinds against a sorted list.
func TestScanKinds(t *testing.T) {
	t.Parallel()
	seed := mathrand.Uint64()
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	s := memStore(t, nil)
	tab := memTable(t, s, "scan.table")
	// Keys of few bytes, many of them 0xff, so that prefixes matter.
	alphabet := []byte{0, 'a', 0xfe, 0xff}
	random := func(most int) []byte {
		k := make([]byte, 1+rng.IntN(most))
		for i := range k {
			k[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return k
	}
	model := state{}
	for i := range 600 {
		k := random(6)
		model[string(k)] = fmt.Sprint(i)
		require.NoError(t, tab.Put(k, fmt.Append(nil, i), &WriteOptions{NoSync: true}))
		if i == 300 {
			require.NoError(t, tab.Flush())
		}
	}
	keys := slices.Sorted(maps.Keys(model))
	view, err := tab.View()
	require.NoError(t, err)
	defer view.Close()
	maybe := func(k []byte) []byte {
		if rng.IntN(2) == 0 {
			return nil
		}
		return k
	}
	for n := range 2000 {
		o := ScanOptions{
			Prefix: maybe(random(3)), From: maybe(random(4)), To: maybe(random(4)),
			Reverse: rng.IntN(2) == 0, Limit: max(0, rng.IntN(40)-10), KeysOnly: rng.IntN(4) == 0,
		}
		if n == 0 {
			o = ScanOptions{}
		}
		var want []string
		for _, k := range keys {
			if strings.HasPrefix(k, string(o.Prefix)) && k >= string(o.From) && (o.To == nil || k < string(o.To)) {
				want = append(want, k)
			}
		}
		if o.Reverse {
			slices.Reverse(want)
		}
		if o.Limit > 0 {
			want = want[:min(o.Limit, len(want))]
		}
		scan := tab.Scan(o)
		if n%2 == 1 {
			scan = view.Scan(o)
		}
		var got []string
		for e, err := range scan {
			require.NoError(t, err)
			got = append(got, string(e.Key))
			if o.KeysOnly {
				require.Nil(t, e.Value)
			} else {
				require.Equal(t, model[string(e.Key)], string(e.Value))
			}
		}
		require.Equal(t, want, got, "seed %d: %q", seed, fmt.Sprintf("%+v", o))
	}
	// A scan is of the time at which its loop begins, and may be left.
	n := 0
	for range tab.Scan(ScanOptions{}) {
		if n++; n == 1 {
			require.NoError(t, tab.DeleteRange([]byte{0}, bytes.Repeat([]byte{0xff}, 9), nil))
		}
		if n == 500 {
			break
		}
	}
	require.Equal(t, min(500, len(keys)), n)
	require.Empty(t, collect(t, tab.Scan(ScanOptions{})))
	require.Len(t, collect(t, view.Scan(ScanOptions{})), len(keys))
	requireVerified(t, s)
}

// TestKeysAndValues puts the smallest and the largest.
func TestKeysAndValues(t *testing.T) {
	t.Parallel()
	opts := crashOptions(newMemRoot("values"), vfs.NewMem())
	opts.UnitSize, opts.tune, opts.MemoryBudget = 0, tuning{}, 16<<20
	s := openStore(t, crashDir, opts)
	tooLong, tooLarge := make([]byte, MaxKeyLen+1), make([]byte, MaxValueLen+1)
	for _, separate := range []int{0, 1 << 20} {
		tab, err := s.CreateTable(t.Context(), fmt.Sprintf("values.from%d", separate), TableOptions{SeparateValuesFrom: separate})
		require.NoError(t, err)
		rng := mathrand.New(mathrand.NewPCG(2, 2))
		big := bytes.Repeat(value(rng, 1<<20), 40)
		longest := bytes.Repeat([]byte{0xff}, MaxKeyLen)
		for _, e := range []Entry{
			{[]byte{0}, nil}, {[]byte("empty"), []byte{}}, {longest, []byte("v")}, {longest[:MaxKeyLen-1], longest}, {[]byte("big"), big},
		} {
			require.NoError(t, tab.Put(e.Key, e.Value, nil))
			got, err := tab.Get(e.Key)
			require.NoError(t, err)
			require.NotNil(t, got)
			require.True(t, bytes.Equal(e.Value, got))
			got, err = tab.AppendGet([]byte("prefix"), e.Key)
			require.NoError(t, err)
			require.True(t, bytes.Equal(append([]byte("prefix"), e.Value...), got))
			has, err := tab.Has(e.Key)
			require.NoError(t, err)
			require.True(t, has)
		}
		require.NoError(t, tab.Compact(t.Context(), nil, nil))
		require.NoError(t, tab.Close())
		got, err := tab.Get([]byte("big"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(big, got))
		require.Len(t, collect(t, tab.Scan(ScanOptions{Prefix: longest[:MaxKeyLen-1]})), 2)
		require.Len(t, collect(t, tab.Scan(ScanOptions{})), 5)
		size, err := tab.ApproximateSize(nil, nil)
		require.NoError(t, err)
		require.Positive(t, size)

		b := tab.NewBatch()
		_, get := tab.Get(nil)
		_, has := tab.Has(tooLong)
		for i, err := range []error{
			get, has, tab.Put(nil, nil, nil), tab.Put([]byte{}, nil, nil), tab.Put(tooLong, nil, nil), tab.Delete(tooLong, nil),
			tab.DeleteRange(nil, key, nil), tab.DeleteRange(key, tooLong, nil), b.Put(nil, nil), b.Put(tooLong, nil), b.Delete(nil), b.DeleteRange(key, nil),
		} {
			require.ErrorIs(t, err, ErrKeyTooLarge, "call %d", i)
		}
		require.ErrorIs(t, tab.Put(key, tooLarge, nil), ErrValueTooLarge)
		require.ErrorIs(t, b.Put(key, tooLarge), ErrValueTooLarge)
		require.Zero(t, b.Len())
		_, err = tab.Get([]byte("none"))
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, tab.Delete([]byte("none"), nil))
		has2, err := tab.Has([]byte("none"))
		require.NoError(t, err)
		require.False(t, has2)
	}
	requireVerified(t, s)
}

// TestEmptyTo scans to a bound that no key is before.
func TestEmptyTo(t *testing.T) {
	t.Parallel()
	tab := memTable(t, memStore(t, nil), "empty.to")
	require.NoError(t, tab.Put([]byte("a"), nil, nil))
	for _, from := range [][]byte{nil, {}, []byte("a")} {
		require.Empty(t, collect(t, tab.Scan(ScanOptions{From: from, To: []byte{}})))
		require.Len(t, collect(t, tab.Scan(ScanOptions{From: from})), 1)
	}
}

// TestDeleteRange removes what its bounds say, also where they say nothing.
func TestDeleteRange(t *testing.T) {
	t.Parallel()
	s := memStore(t, nil)
	tab := memTable(t, s, "delete.range")
	fill := func() {
		for _, k := range "abcde" {
			require.NoError(t, tab.Put([]byte(string(k)), nil, nil))
		}
	}
	for _, flush := range []bool{false, true} {
		for _, tc := range []struct{ from, to, left string }{
			{"b", "d", "ade"}, {"c", "c", "abcde"}, {"d", "b", "abcde"}, {"0", "z", ""}, {"bb", "dd", "abe"},
		} {
			for _, batch := range []bool{false, true} {
				fill()
				if batch {
					b := tab.NewBatch()
					require.NoError(t, b.Put([]byte("c"), []byte("in the batch")))
					require.NoError(t, b.DeleteRange([]byte(tc.from), []byte(tc.to)))
					require.NoError(t, b.Commit(nil))
				} else {
					require.NoError(t, tab.DeleteRange([]byte(tc.from), []byte(tc.to), nil))
				}
				if flush {
					require.NoError(t, tab.Compact(t.Context(), nil, nil))
				}
				require.Equal(t, tc.left, strings.Join(collect(t, tab.Scan(ScanOptions{})), ""), "%+v", tc)
			}
		}
	}
	requireVerified(t, s)
}

// TestBatch fills, resets, bounds and closes a batch.
func TestBatch(t *testing.T) {
	t.Parallel()
	s := memStore(t, nil)
	tab := memTable(t, s, "batch.table")
	b := tab.NewBatch()
	require.NoError(t, b.Commit(nil))
	require.NoError(t, b.Put(key, []byte("v")))
	require.NoError(t, b.Delete([]byte("x")))
	require.Equal(t, 2, b.Len())
	require.Positive(t, b.Size())
	b.Reset()
	require.Zero(t, b.Len())
	require.NoError(t, b.Commit(nil))
	_, err := tab.Get(key)
	require.ErrorIs(t, err, ErrNotFound)

	k, v := []byte("mine"), []byte("value")
	require.NoError(t, b.Put(k, v))
	copy(k, "xxxx") // the batch has its own
	copy(v, "xxxxx")
	require.NoError(t, b.Commit(nil))
	got, err := tab.Get([]byte("mine"))
	require.NoError(t, err)
	require.Equal(t, "value", string(got))

	// Pebble panics where a batch grows too large.
	b.most = 1000
	for n := 0; err == nil; n++ {
		require.Less(t, n, 20)
		err = b.Put(fmt.Append(nil, n), make([]byte, 100))
	}
	require.ErrorIs(t, err, ErrBatchTooLarge)
	require.ErrorIs(t, b.Delete(make([]byte, 900)), ErrBatchTooLarge)
	require.ErrorIs(t, b.DeleteRange(make([]byte, 500), make([]byte, 500)), ErrBatchTooLarge)
	require.LessOrEqual(t, b.Size(), 1000)
	n := b.Len()
	require.NoError(t, b.Commit(nil))
	require.Len(t, collect(t, tab.Scan(ScanOptions{})), n+1)
	require.NoError(t, errors.Join(b.Close(), b.Close()))
	requireVerified(t, s)
}

// TestTableOptions looks at what the options of a table do to its files.
func TestTableOptions(t *testing.T) {
	t.Parallel()
	ctx, opts := t.Context(), crashOptions(newMemRoot("options"), vfs.NewMem())
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	bytesOf := func(name, kind string) (files int, size int64) {
		st, err := s.Stats(ctx)
		require.NoError(t, err)
		for _, ts := range st.Tables {
			require.Empty(t, ts.Err)
			if ts.Name == name {
				for _, f := range ts.Files {
					if f.Kind == kind {
						return f.Files, f.Bytes
					}
				}
			}
		}
		return 0, 0
	}
	fill := func(tab *Table) {
		for i := range 100 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", i), bytes.Repeat([]byte("same"), 250), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
	}
	for _, tc := range []struct {
		name  string
		opts  TableOptions
		blobs bool
	}{
		{"options.plain", TableOptions{}, false},
		{"options.loose", TableOptions{NoCompression: true}, false},
		{"options.blobs", TableOptions{SeparateValuesFrom: 1000, NoCompression: true}, true},
		{"options.short", TableOptions{SeparateValuesFrom: 1001}, false},
	} {
		tab, err := s.CreateTable(ctx, tc.name, tc.opts)
		require.NoError(t, err)
		fill(tab)
		require.NoError(t, tab.Close())
		fill(tab) // the options are those of its creation
		ssts, size := bytesOf(tc.name, "sstable")
		blobs, blobSize := bytesOf(tc.name, "blob")
		require.Positive(t, ssts)
		require.Equal(t, tc.blobs, blobs > 0, tc.name)
		if tc.opts.NoCompression {
			require.Greater(t, size+blobSize, int64(100*1000), tc.name)
		} else {
			require.Less(t, size+blobSize, int64(100*1000), tc.name) // in up to three files, if a compaction runs
		}
	}
	requireVerified(t, s)
	require.NoError(t, s.Close())
	s = openStore(t, crashDir, opts)
	for _, info := range s.Tables() {
		tab, err := s.Table(info.Name)
		require.NoError(t, err)
		require.Len(t, collect(t, tab.Scan(ScanOptions{})), 100)
	}
	requireVerified(t, s)
}
