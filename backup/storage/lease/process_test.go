package lease

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage/dir"
)

// TestMain is, in a process that TestKilled starts, one that takes a lock and
// never lets go of it.
func TestMain(m *testing.M) {
	path := os.Getenv("COFRE_TEST_LEASE")
	if path == "" {
		os.Exit(m.Run())
	}
	hold(path)
}

func hold(path string) {
	s, err := dir.Open(path, dir.Options{})
	if err == nil {
		_, err = Acquire(context.Background(), s, "locks/writer", Options{Operation: "backup create", TTL: time.Hour})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	select {}
}

// TestKilled: the lock of a process that was killed is free at once for
// another on the same machine; while it lives, it is not.
func TestKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("that a process is dead is proved on Linux only")
	}
	path := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "COFRE_TEST_LEASE="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	s, err := dir.Open(path, dir.Options{})
	require.NoError(t, err)
	defer s.Close()
	began := time.Now()
	_, err = Acquire(t.Context(), s, "locks/writer", Options{})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, cmd.Process.Pid, locked.Holder.PID)
	h, err := Inspect(t.Context(), s, "locks/writer")
	require.NoError(t, err)
	require.Equal(t, locked.Holder, *h)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	h, err = Inspect(t.Context(), s, "locks/writer")
	require.NoError(t, err)
	require.Nil(t, h)
	l, err := Acquire(t.Context(), s, "locks/writer", Options{})
	require.NoError(t, err)
	require.Less(t, time.Since(began), time.Minute)
	require.NoError(t, l.Release(t.Context()))
}

// TestState: a process is dead only where that is certain.
func TestState(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("processes are looked at on Linux only")
	}
	me := self()
	require.NotEmpty(t, me.Boot)
	require.NotEmpty(t, me.Start)
	require.Equal(t, alive, me.state())
	for want, change := range map[state][]func(r *record){
		dead: {
			func(r *record) { r.Start = "1" },   // its number is ours now
			func(r *record) { r.PID = 1 << 30 }, // no machine has as many
		},
		unknown: {
			func(r *record) { r.Boot = "another" },
			func(r *record) { r.Boot, r.PID = "another", 1<<30 },
			func(r *record) { r.Boot = "" },
			func(r *record) { r.Start = "" },
			func(r *record) { r.PID = 0 },
			func(r *record) { r.PID = -1 },
		},
	} {
		for i, f := range change {
			r := me
			f(&r)
			require.Equal(t, want, r.state(), "%d", i)
		}
	}
}
