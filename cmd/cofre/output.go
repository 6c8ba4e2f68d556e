package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// report prints the error of a run, if any, and gives its exit code.
func (a *app) report(ctx context.Context, err error) int {
	code, hint := judge(ctx, err)
	if err == nil {
		return code
	}
	if hint == usageHint {
		hint = hintOfUsage(a.verb)
	}
	message := distinctLines(err.Error())
	if code == exitInterrupted {
		message = "interrupted"
	}
	if a.json {
		a.writeJSON(a.stderr, struct {
			Error string `json:"error"`
			Hint  string `json:"hint,omitempty"`
			Exit  int    `json:"exit"`
		}{message, hint, code})
		return code
	}
	fmt.Fprintf(a.stderr, "cofre: %s\n", safeLine(message))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
	return code
}

// note tells something on standard error that is no failure.
func (a *app) note(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if a.json {
		a.writeJSON(a.stderr, struct {
			Note string `json:"note"`
		}{message})
		return
	}
	fmt.Fprintf(a.stderr, "cofre: %s\n", safeLine(message))
}

// print writes a verb's result: the document with --json, else what text
// prints.
func (a *app) print(document any, text func(w io.Writer)) error {
	if a.json {
		return a.writeJSON(a.stdout, document)
	}
	w := bufio.NewWriter(a.stdout)
	text(w)
	return w.Flush()
}

func (a *app) writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// distinctLines drops lines that an error repeats: of joined errors, the later
// ones often say that the first one still stands.
func distinctLines(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// safeLine replaces control characters but for the newline: a path or an
// argument inside a message must not drive the terminal.
func safeLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (r < 0x20 || 0x7f <= r && r < 0xa0) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// isTerminal tells whether a stream of the command is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// plural gives a count with its noun.
func plural[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if before, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(noun, "key") && !strings.HasSuffix(noun, "day") {
		return thousands(int64(n)) + " " + before + "ies"
	}
	if strings.HasSuffix(noun, "x") {
		return thousands(int64(n)) + " " + noun + "es"
	}
	return thousands(int64(n)) + " " + noun + "s"
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes with a binary unit.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1023.95 && unit < 4 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[unit])
}
