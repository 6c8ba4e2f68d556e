package kill

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if code, ok := Child(); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func TestKill(t *testing.T) {
	t.Parallel()
	r := Run{Seed: rand.Uint64(), Kills: 4}
	counts, err := r.Do(context.Background())
	require.NoError(t, err, "seed %d", r.Seed)
	require.NotZero(t, counts.Kills)
}

func TestTrace(t *testing.T) {
	t.Parallel()
	if reason := NoTrace(); reason != "" {
		t.Log("not run:", reason)
		return
	}
	r := Trace{Seed: rand.Uint64(), Runs: 2}
	_, err := r.Do(context.Background())
	require.NoError(t, err, "seed %d", r.Seed)
}
