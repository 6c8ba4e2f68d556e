package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A secondStore is another store of the same root key, whose tables are of the
// same names and have files of the same numbers.
type secondStore struct {
	files map[string][]byte // by path; copied while it was open
	ids   map[string]string // of the tables, by name
}

func newSecondStore(t testing.TB, w *attackWorld, tune tuning) *secondStore {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "second")
	opts := w.options(vfs.Default, CreateIfMissing, w.root.clone())
	opts.tune = tune
	rng := rand.New(rand.NewPCG(13, 17))
	second := &secondStore{ids: map[string]string{}}
	s, err := Open(ctx, dir, opts)
	require.NoError(t, err)
	for name, o := range map[string]TableOptions{
		rowsTable:  {SeparateValuesFrom: 1024},
		twinsTable: {SeparateValuesFrom: 1024, NoCompression: true},
	} {
		tab, err := s.CreateTable(ctx, name, o)
		require.NoError(t, err)
		second.ids[name] = tab.ID().String()
		for range 3 {
			for i := range 40 {
				require.NoError(t, tab.Put([]byte(rowKey(i)), value(rng, 200), &WriteOptions{NoSync: true}))
			}
			require.NoError(t, tab.Put([]byte(rowKey(50)), value(rng, 2500), nil))
			require.NoError(t, tab.Flush())
		}
		for i := range 10 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "second/%05d", i), value(rng, 150), nil))
		}
	}
	second.files = readTree(t, dir)
	require.NoError(t, s.Close())
	return second
}

// pick chooses one of the second store's files of a table.
func (s *secondStore) pick(v *victim, table, pattern string) []byte {
	var names []string
	for n := range s.files {
		if ok, _ := path.Match(tablesDir+"/"+s.ids[table]+"/"+pattern, n); ok {
			names = append(names, n)
		}
	}
	require.NotEmpty(v.t, names, pattern)
	slices.Sort(names)
	return slices.Clone(s.files[names[v.rng.IntN(len(names))]])
}

// journal is the second store's.
func (s *secondStore) journal(v *victim) []byte {
	for n, b := range s.files {
		if ok, _ := path.Match(keyringDir+"/"+journalPrefix+"*", n); ok {
			return slices.Clone(b)
		}
	}
	v.t.Fatal("no journal")
	return nil
}

// fits are the ways in which the clear bytes of a sealed file are made to fit
// the file that it replaces.
var fits = []struct {
	name string
	fit  func(b, own []byte)
}{
	{"as it is", func(_, _ []byte) {}},
	{"store, table and number made to fit", func(b, own []byte) {
		copy(b[16:48], own[16:48])
		copy(b[64:72], own[64:72])
	}},
	{"made to fit but for the file id", func(b, own []byte) {
		copy(b[:48], own[:48])
		copy(b[64:96], own[64:96])
	}},
	{"all of its identity made to fit", func(b, own []byte) { copy(b[:96], own[:96]) }},
}

// secondAttacks put files of the second store in the place of the store's own.
func secondAttacks() []attack {
	var as []attack
	for _, k := range []struct {
		pattern string
		r       requirement
		choose  func(v *victim) string
	}{
		{"*.sst", mustReadV, func(v *victim) string { return v.pick("*.sst") }},
		{"*.blob", mustReadV, func(v *victim) string { return v.pick("*.blob") }},
		{"*.log", mustOpenV, func(v *victim) string { return v.lastLog(v.anyTable()) }},
		{"MANIFEST-*", mustOpenV, func(v *victim) string { return v.manifest(v.anyTable()) }},
		{"OPTIONS-*", mustOpenV, (*victim).options},
	} {
		for _, f := range fits {
			a := everywhere(k.pattern+" of a second store: "+f.name, k.r, func(v *victim) {
				name := k.choose(v)
				b := v.w.second.pick(v, v.table, k.pattern)
				f.fit(b, v.read(name))
				require.Greater(v.t, len(b), keyring.HeaderLen)
				v.write(name, b)
			})
			a.tries = 9
			as = append(as, a)
		}
	}
	return as
}
