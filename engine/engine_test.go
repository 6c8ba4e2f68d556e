package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// newRoot makes a local key service outside the store and a root key in it.
func newRoot(t testing.TB) keyring.RootKey {
	svc, err := local.Open(filepath.Join(t.TempDir(), "keys"), local.Options{})
	require.NoError(t, err)
	k, _, err := svc.Ensure(context.Background(), "default")
	require.NoError(t, err)
	return k
}

// small tables make many files of little data.
var small = tuning{memTableSize: 256 << 10, targetFileSize: 64 << 10}

func openStore(t testing.TB, dir string, opts Options) *Store {
	s, err := Open(context.Background(), dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func collect(t testing.TB, seq func(func(Entry, error) bool)) (keys []string) {
	for e, err := range seq {
		require.NoError(t, err)
		keys = append(keys, string(e.Key))
	}
	return keys
}

func value(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestStoreEndToEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "store")
	opts := Options{RootKey: newRoot(t), tune: small}
	s, err := Open(ctx, dir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{SeparateValuesFrom: 1024})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string][]byte{}
	for round := range 3 {
		for i := range 4000 {
			k := fmt.Sprintf("k%06d", rng.IntN(5000))
			v := value(rng, []int{0, 10, 100, 400, 3000}[rng.IntN(5)])
			model[k] = v
			require.NoError(t, tab.Put([]byte(k), v, &WriteOptions{NoSync: i%10 != 0}))
		}
		if round == 1 {
			_, err := tab.Snapshot(ctx, "one")
			require.NoError(t, err)
		}
		require.NoError(t, s.Close())
		start := time.Now()
		s, err = Open(ctx, dir, opts)
		require.NoError(t, err)
		tab, err = s.Table("clinic.patients")
		require.NoError(t, err)
		n := 0
		for e, err := range tab.Scan(ScanOptions{}) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(model[string(e.Key)], e.Value), "%s", e.Key)
			n++
		}
		require.Equal(t, len(model), n)
		t.Log("reopen and scan", time.Since(start))
	}
	v, err := tab.OpenSnapshot(ctx, "one")
	require.NoError(t, err)
	require.NotEmpty(t, collect(t, v.Scan(ScanOptions{Limit: 3, Reverse: true})))
	require.NoError(t, v.Close())
	require.NoError(t, tab.Compact(ctx, nil, nil))
	rep, err := s.Verify(ctx, func(f Finding) { t.Errorf("%+v", f) })
	require.NoError(t, err)
	require.Zero(t, rep.Faults)
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	t.Logf("%+v", st)
	require.NoError(t, s.Close())
}
