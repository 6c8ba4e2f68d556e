package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
)

// A shell runs the command as a process of its own, with a store and a key
// file in a directory of the test.
type shell struct {
	t   *testing.T
	dir string
}

func newShell(t *testing.T) *shell { return &shell{t, t.TempDir()} }

func (s *shell) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shell) command(args ...string) *exec.Cmd {
	cmd := exec.Command("cofre", args...)
	cmd.Env = append(os.Environ(), "COFRE_STORE="+s.path("store"), "COFRE_KEYS="+s.path("keys"), "HOME="+s.dir)
	return cmd
}

func (s *shell) run(args ...string) []byte {
	s.t.Helper()
	cmd := s.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(s.t, err, "cofre %v: %s", args, &stderr)
	return out
}

// entries reads the table that the tests fill.
func (s *shell) entries() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for line := range bytes.Lines(s.run("scan", "--json", "app.kv")) {
		var e struct{ Key, Value string }
		require.NoError(s.t, json.Unmarshal(line, &e))
		all[e.Key] = e.Value
	}
	return all
}

// acked reads the complete lines of the file of acknowledged keys.
func (s *shell) acked() []string {
	b, err := os.ReadFile(s.path("acked"))
	if err != nil && !os.IsNotExist(err) {
		require.NoError(s.t, err)
	}
	var keys []string
	for line := range bytes.Lines(b) {
		if text, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			key, err := records.Unquote(string(text))
			require.NoError(s.t, err)
			keys = append(keys, string(key))
		}
	}
	return keys
}

// row is the n-th line of a round's input. The key needs quoting in the file
// of acknowledged keys every now and then.
func row(round, n int) (key, line string) {
	key = fmt.Sprintf("r%02d-%07d", round, n)
	if n%50 == 0 {
		key += "\t\"\x01"
	}
	k, _ := json.Marshal(key)
	return key, fmt.Sprintf(`{"k":%s,"v":%q}`, k, strings.Repeat(fmt.Sprint(n, " "), 1+n%60))
}

// TestKilledImport kills imports at random moments. The store opens again each
// time, and holds every acknowledged entry; what else it holds are the entries
// behind those, in the order of the input and without a gap.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newShell(t)
	for round := range rounds {
		cmd := s.command("import", "-q", "--ack", s.path("acked"), "--batch", "25", "--format", "jsonl", "--key-path", "k", "app.kv", "-")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		w := bufio.NewWriterSize(in, 256)
		for n := range 300 + rnd.IntN(4000) {
			_, line := row(round, n)
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				cmd.Wait()
				require.NoError(t, err, "seed %d, round %d: %s", seed, round, &stderr)
			}
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())

		if len(s.acked()) > 0 { // else it may have been killed before there was a table
			s.check(seed, round)
		}
	}
	require.NotEmpty(t, s.acked(), "seed %d: every kill came too early", seed)
	s.run("verify")
}

func (s *shell) check(seed uint64, round int) {
	s.t.Helper()
	have := s.entries()
	for _, key := range s.acked() {
		_, ok := have[key] // not require.Contains: it walks the map
		require.True(s.t, ok, "seed %d, after round %d: an acknowledged entry is lost", seed, round)
	}
	for r := range round + 1 {
		n := 0
		for ; ; n++ {
			key, line := row(r, n)
			value, ok := have[key]
			if !ok {
				break
			}
			require.Equal(s.t, line, value, "seed %d, round %d", seed, r)
			delete(have, key)
		}
	}
	require.Empty(s.t, have, "seed %d, after round %d: entries behind a gap", seed, round)
}

// TestInterruptedImport: an interrupt commits what is in hand, acknowledges
// it, and says how far it came.
func TestInterruptedImport(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	cmd := s.command("import", "--ack", s.path("acked"), "--batch", "100", "--format", "jsonl", "--key-path", "k", "app.kv", "-")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for n := range 150 {
		_, line := row(0, n)
		_, err := io.WriteString(in, line+"\n")
		require.NoError(t, err)
	}
	// One batch is committed; the command now waits for the rest of the next.
	require.Eventually(t, func() bool { return len(s.acked()) >= 100 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, exitInterrupted, exit.ExitCode(), "%s", &stderr)

	have := s.entries()
	require.GreaterOrEqual(t, len(have), 100)
	require.Len(t, s.acked(), len(have))
	require.Contains(t, stdout.String(), fmt.Sprintf("took in %d entries", len(have)))
	require.Contains(t, stderr.String(), fmt.Sprintf("stopped after %d entries", len(have)))
	require.Contains(t, stderr.String(), "cofre: interrupted\n")
}

// TestAckDropsTornLine: what a killed run left unfinished does not become
// part of another key.
func TestAckDropsTornLine(t *testing.T) {
	t.Parallel()
	for before, after := range map[string]string{
		"": "", "a\n": "a\n", "a\nb": "a\n", "torn": "",
		"a\n" + strings.Repeat("x", 10_000): "a\n", strings.Repeat("x", 10_000): "",
		strings.Repeat("x", 4095) + "\n": strings.Repeat("x", 4095) + "\n",
	} {
		path := filepath.Join(t.TempDir(), "acked")
		require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
		ack, err := openAck(path)
		require.NoError(t, err)
		require.NoError(t, ack.write(ack.line(nil, []byte("new\xff"))))
		require.NoError(t, ack.close())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, after+"\"new\\xff\"\n", string(b))
	}
}
