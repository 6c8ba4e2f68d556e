package kill

import (
	"context"
	"math/rand/v2"
	"os"
	"strings"
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
	seed := rand.Uint64()
	r := Trace{Seed: seed, Round: int(seed % uint64(len(sysFaults))), Runs: 2}
	counts, err := r.Do(context.Background())
	require.NoError(t, err, "%+v", r)
	t.Logf("%+v: %+v", r, counts)
}

// TestParseTrace reads a log as strace writes it, with calls that other
// threads' calls interrupt.
func TestParseTrace(t *testing.T) {
	t.Parallel()
	const log = `11 openat(AT_FDCWD</home>, "/etc/localtime", O_RDONLY) = 3</etc/localtime>
11 openat(AT_FDCWD</home>, "/d/store/LOCK", O_RDWR <unfinished ...>
12 fsync(7</d/store>) = -1 EIO (Input/output error) (INJECTED)
11 <... openat resumed>) = -1 EIO (Input/output error) (INJECTED)
12 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL} ---
12 openat(AT_FDCWD</home>, "/d/store/keyring", O_RDONLY) = 4</d/store/keyring>
11 write(1<pipe:[99]>, ""..., 40) = -1 EIO (Input/output error) (INJECTED)
13 <... write resumed>) = 5
12 +++ exited with 3 +++
12 fsync(7</d/sto`
	calls, err := parseTrace(strings.NewReader(log), "/d")
	require.NoError(t, err)
	require.Equal(t, []sysCall{
		{"openat", "11", 1, false, false},
		{"openat", "11", 2, true, true},
		{"fsync", "12", 1, true, true},
		{"openat", "12", 1, true, false},
		{"write", "11", 1, false, true},
	}, calls)
	require.Len(t, onlyOurs(calls), 3)
	require.Equal(t, 1, startup(calls))
	require.Equal(t, 2, injected(calls), "what fails elsewhere is no fault of the store's disk")
}
