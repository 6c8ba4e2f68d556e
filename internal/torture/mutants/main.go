// Command mutants plants faults in the product, one at a time, and runs a short
// round of the harness on each: a fault that the harness does not catch is one
// that it could not tell us of. The tree is not touched: a mutant is built with
// an overlay of the go command.
//
//	go run ./internal/torture/mutants -for 2m -report docs/mutants.md
//
// First the round is run without a fault, and must find nothing. The faults are
// in list.go. It exits with 1 if one survives.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	var r runner
	var only, report string
	flag.DurationVar(&r.limit, "for", 2*time.Minute, "how long the harness may look for a fault")
	flag.Uint64Var(&r.seed, "seed", uint64(time.Now().UnixNano()), "what its rounds are drawn from")
	flag.StringVar(&only, "only", "", "mutants with a name that this regular expression matches")
	flag.StringVar(&report, "report", "", "write the table to this file")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	which, err := regexp.Compile(only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants: -only:", err)
		os.Exit(2)
	}
	rows, err := r.run(ctx, which)
	if report != "" {
		err = errors.Join(err, os.WriteFile(report, []byte(markdown(rows)), 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type runner struct {
	limit time.Duration
	seed  uint64
}

// A row is what came of a mutant.
type row struct {
	name, place string
	by          string // the family that caught it; "" if none did
	as, what    string
	took        time.Duration
}

func (r *runner) run(ctx context.Context, only *regexp.Regexp) ([]row, error) {
	by, as, what, err := r.harness(ctx, "")
	if err != nil {
		return nil, err
	}
	if by != "" {
		return nil, fmt.Errorf("without a fault, %s finds: %s: %s", by, as, what)
	}
	fmt.Println("no fault: nothing found")
	var rows []row
	var missed []string
	for _, m := range mutants() {
		if !only.MatchString(m.name) {
			continue
		}
		c, err := r.try(ctx, m)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", m.name, err)
		}
		rows = append(rows, c)
		if c.by == "" {
			missed = append(missed, m.name)
			fmt.Printf("SURVIVES  %s\n", m.name)
			continue
		}
		fmt.Printf("caught  %s: by %s after %v, %s\n", m.name, c.by, c.took, c.as)
	}
	if len(missed) > 0 {
		return rows, fmt.Errorf("%d of %d survive: %s", len(missed), len(rows), strings.Join(missed, "; "))
	}
	return rows, nil
}

// try runs the harness on a mutant.
func (r *runner) try(ctx context.Context, m mutant) (row, error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return row{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return row{}, err
	}
	c := row{name: m.name, place: m.edits[0].file}
	start := time.Now()
	c.by, c.as, c.what, err = r.harness(ctx, overlay)
	c.took = time.Since(start).Round(time.Second)
	return c, err
}

// overlay writes the changed files, and the list of them that the go command
// takes.
func (m mutant) overlay(dir string) (string, error) {
	changed := make(map[string]string) // text, by file
	for _, e := range m.edits {
		text, ok := changed[e.file]
		if !ok {
			b, err := os.ReadFile(e.file)
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d times: %s", e.file, n, e.old)
		}
		changed[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	replace := make(map[string]string)
	for file, text := range changed {
		abs, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[abs] = filepath.Join(dir, replaceSlashes(file))
		if err := os.WriteFile(replace[abs], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

func replaceSlashes(path string) string { return strings.ReplaceAll(path, "/", "_") }

// harness runs a short round of all families, and tells which has found what.
// The go commands that the harness runs itself build the mutant too.
func (r *runner) harness(ctx context.Context, overlay string) (by, as, what string, err error) {
	cmd := exec.CommandContext(ctx, "go", "run", "./internal/torture", "-json", "-for", r.limit.String(), "-seed", fmt.Sprint(r.seed))
	if overlay != "" {
		cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	rerr := cmd.Run()
	var sum struct {
		Violations []struct {
			Family string `json:"family"`
			Kind   string
			What   string
		} `json:"violations"`
	}
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil {
		return "", "", "", fmt.Errorf("the harness: %w, %w\n%.4000s", err, rerr, errs.Bytes())
	}
	if ctx.Err() != nil {
		return "", "", "", ctx.Err()
	}
	if len(sum.Violations) == 0 {
		if rerr != nil {
			err = errors.Join(errors.New("the harness fails and says not why"), rerr)
		}
		return "", "", "", err
	}
	v := sum.Violations[0]
	if strings.Contains(v.What, "[build failed]") {
		return "", "", "", fmt.Errorf("the mutant does not compile: %s", v.What)
	}
	return v.Family, v.Kind, v.What, nil
}

// markdown is the table for the documentation.
func markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| fault planted | in | caught by | as |\n|---|---|---|---|\n")
	for _, c := range rows {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", c.name, c.place, c.by, c.as)
	}
	return b.String()
}
