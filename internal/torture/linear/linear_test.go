package linear

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

func TestRound(t *testing.T) {
	t.Parallel()
	r := Run{Seed: rand.Uint64(), Ops: 150}
	_, err := r.Do(context.Background())
	require.NoError(t, err, "seed %d", r.Seed)
}

// TestStale plants a cache that is never told of writes.
func TestStale(t *testing.T) {
	t.Parallel()
	var cache sync.Map
	r := Run{Seed: 1, Ops: 150, Get: func(t *engine.Table, key []byte) ([]byte, error) {
		if v, ok := cache.Load(string(key)); ok {
			return v.([]byte), nil
		}
		v, err := t.Get(key)
		if err == nil {
			cache.Store(string(key), v)
		}
		return v, err
	}}
	_, err := r.Do(context.Background())
	require.NotNil(t, verdict.Of(err))
	require.Equal(t, verdict.Wrong, verdict.Of(err).Kind)
}
