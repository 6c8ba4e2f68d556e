package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/bench/report"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

// TestMain makes the test binary a "cofre-bench" on the PATH of scripts and
// tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cofre-bench": main})
}

func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *rewrite, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TMPDIR", env.WorkDir+"/tmp")
			return os.Mkdir(env.WorkDir+"/tmp", 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "empty": empty},
	})
}

// exits CODE COMMAND... runs a command, which must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, not %s", got, args[0])
	}
}

// empty DIR wants a directory to hold nothing.
func empty(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if (len(entries) == 0) == neg {
		ts.Fatalf("%s holds %d things", args[0], len(entries))
	}
}

// TestInterrupted interrupts a run from outside: it reports what it has, and
// leaves no file and no process behind.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	doc := filepath.Join(tmp, "report.json")
	work := filepath.Join(tmp, "work")
	cmd := exec.Command("cofre-bench", "run", "--n", "5000", "--rounds", "1000", "--workloads", "fillrandom", "--json="+doc, "--dir", work)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	// A turn of the second round has a directory: the first is whole.
	turns := 0
	var last os.FileInfo
	require.Eventually(t, func() bool {
		dirs, _ := filepath.Glob(filepath.Join(work, "cofre-bench-*", "turn-cofre"))
		if len(dirs) == 1 {
			if fi, err := os.Stat(dirs[0]); err == nil && (last == nil || !os.SameFile(fi, last) || fi.ModTime().After(last.ModTime().Add(time.Second))) {
				last = fi
				turns++
			}
		}
		return turns > 2
	}, time.Minute, 2*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	buf := make([]byte, 1<<20)
	n, _ := out.Read(buf)
	err = cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitInterrupted, exit.ExitCode())
	require.Contains(t, string(buf[:n]), "stopped after")
	f, err := os.Open(doc)
	require.NoError(t, err)
	defer f.Close()
	r, err := report.Read(f)
	require.NoError(t, err)
	require.Contains(t, r.Partial, "of 2000 turns")
	entries, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Len(t, entries, 1, "something stays behind: %v", entries)
}
