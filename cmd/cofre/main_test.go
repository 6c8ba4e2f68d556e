package main

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring/local"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

// TestMain makes the test binary a "cofre" on the PATH of scripts and tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cofre": main})
}

// TestScript runs the transcripts.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *rewrite,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
			env.Setenv("AppData", env.WorkDir+"/config")
			env.Setenv("COFRE_STORE", "")
			env.Setenv("COFRE_KEYS", "")
			env.Setenv("COFRE_KEYS_PASSPHRASE_FILE", "")
			env.Setenv("COFRE_KEYS_KEY_FILE", "")
			env.Setenv("COFRE_KEYS_CREDENTIAL", "")
			env.Setenv("COFRE_PRINCIPAL", "")
			env.Setenv("CREDENTIALS_DIRECTORY", "")
			env.Setenv("COFRE_RECOVERY", "")
			env.Setenv("KEYS", env.WorkDir+"/config/cofre/keys.cofre")
			// Under the race detector each process sleeps a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":  exits,
			"flip":   flip,
			"poke":   poke,
			"sparse": sparse,
			"mkfifo": mkfifo,
			"hold":   hold,
			"absent": absent,
			"lines":  lines,
			"sheet":  sheet,
			"lose":   lose,
			"pick":   pick,
		},
	})
}

// exits CODE COMMAND... runs a command, which must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// pick VARIABLE PATTERN sets a variable to what the pattern's group matches in the
// standard output of the last command.
func pick(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// the one file that a pattern matches.
func one(ts *testscript.TestScript, pattern string) string {
	matches, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(matches) == 0 {
		ts.Fatalf("no file matches %s", pattern)
	}
	return matches[len(matches)-1]
}

// flip PATTERN OFFSET flips one bit of a file. A negative offset counts from
// the file's end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := one(ts, args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

// poke PATTERN OFFSET BYTE writes one byte of a file.
func poke(ts *testscript.TestScript, _ bool, args []string) {
	path := one(ts, args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	v, err := strconv.ParseUint(args[2], 0, 8)
	ts.Check(err)
	b[at] = byte(v)
	ts.Check(os.WriteFile(path, b, 0o600))
}

// sparse FILE SIZE makes a file of that many bytes without any on the disk.
func sparse(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(errors.Join(f.Truncate(n), f.Close()))
}

// hold DIR has this process keep a store open until the script ends.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	keys, err := local.Open(ts.Getenv("KEYS"), local.Options{MustExist: true})
	ts.Check(err)
	root, err := keys.Key("default")
	ts.Check(err)
	s, err := engine.Open(ctx, ts.MkAbs(args[0]), engine.Options{Mode: engine.MustExist, RootKey: root})
	ts.Check(err)
	ts.Defer(func() { ts.Check(errors.Join(s.Close(), keys.Close())) })
}

// absent DIR TEXT... fails if a file below DIR holds one of the texts.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	found := ""
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, text := range args[1:] {
			if bytes.Contains(b, []byte(text)) || bytes.Contains([]byte(path), []byte(text)) {
				found = path
			}
		}
		return err
	}))
	if (found != "") != neg {
		ts.Fatalf("found in: %q", found)
	}
}

// lines N FILE compares the number of lines of a file.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := bytes.Count([]byte(ts.ReadFile(args[1])), []byte("\n")); got != want {
		ts.Fatalf("%s has %d lines, not %d", args[1], got, want)
	}
}

// sheet does something with recovery sheets:
//
//	sheet secret FILE DIR          fails if a file below DIR holds its private key, or a part of it
//	sheet typed FILE OUT           types its five lines, in small letters without hyphens
//	sheet typo FILE OUT            makes a typo in its third line of the key
//	sheet swapped FILE OTHER OUT   puts the key of OTHER under its fingerprint
func sheet(ts *testscript.TestScript, _ bool, args []string) {
	var fields []string
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if strings.HasPrefix(line, "fingerprint:") || strings.HasPrefix(line, "key ") {
			fields = append(fields, strings.TrimSpace(line))
		}
	}
	if len(fields) != 5 {
		ts.Fatalf("%d fields", len(fields))
	}
	switch args[0] {
	case "secret":
		texts := []string{args[2]}
		for _, f := range fields[1:] {
			symbols := strings.ReplaceAll(strings.TrimSpace(f[strings.Index(f, ":")+1:]), "-", "")
			b, err := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").DecodeString(symbols)
			ts.Check(err)
			texts = append(texts, f, symbols, string(b[:8]))
		}
		absent(ts, false, texts)
	case "typed":
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ToLower(strings.ReplaceAll(strings.Join(fields, "\n"), "-", ""))), 0o600))
	case "typo":
		b := []byte(fields[3])
		b[len(b)-1] = "12"[b[len(b)-1]%2] // the parities of '1' and '2' differ
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Join(append(fields[:3], string(b), fields[4]), "\n")), 0o600))
	case "swapped":
		other := ts.ReadFile(args[2])
		at, end := strings.Index(other, "key 1 of 4"), strings.Index(other, "\n\nTo open")
		ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(fields[0]+"\n"+other[at:end]), 0o600))
	}
}
