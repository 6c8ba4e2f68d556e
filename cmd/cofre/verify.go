package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A finding is a line of verify.
type finding struct {
	Type   string `json:"type"` // "fault", "warning", or "unverified": its root key is not to be had
	Path   string `json:"path"`
	Offset *int64 `json:"offset,omitempty"` // absent where none applies
	Class  string `json:"class"`
	Detail string `json:"detail,omitempty"`
}

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read and open every byte of every file of the store",
		Long: `Reads and opens every byte of every file of the store, and reports each fault
with its file, relative to the store, and the offset in it. Where there is one,
the exit code is 6. Tables whose root key is not to be had are not verified, and
said to be so: if nothing else is wrong, the exit code is 5.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			out := bufio.NewWriter(a.stdout)
			var report *engine.VerifyReport
			unverified := 0
			err := a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, _ *rootKeys) (err error) {
				report, err = s.Verify(ctx, func(f engine.Finding) {
					if keyless(f) {
						unverified++
					}
					a.printFinding(out, f)
					out.Flush() // findings are shown as they come
				})
				return err
			})
			var fault *corrupt.Error
			if report == nil && errors.As(err, &fault) && !errors.Is(err, corrupt.ErrVersion) {
				// The store is too damaged to open: that is a finding too.
				a.printFinding(out, engine.Finding{Path: fault.Path, Offset: fault.Offset, Class: fault.Class.Error(), Detail: fault.Detail})
				report = &engine.VerifyReport{Files: 1, Faults: 1}
				err = nil
			}
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			report.Faults -= unverified // nothing is known to be wrong with them
			a.printVerified(out, report, unverified)
			if err := out.Flush(); err != nil {
				return err
			}
			if report.Faults == 0 && unverified > 0 {
				return &failure{exitKey, fmt.Errorf("%s could not be verified without a root key", plural(unverified, "table")),
					"name all root keys with --key default,other; are they enabled, and the tables not locked?"}
			}
			if report.Faults > 0 {
				return &failure{exitCorruption, fmt.Errorf("%s in the store", plural(report.Faults, "fault")),
					"restore the damaged files from a copy, or export what can still be read"}
			}
			return nil
		},
	}
}

func (a *app) printFinding(w io.Writer, f engine.Finding) {
	line := finding{Type: "fault", Path: f.Path, Class: f.Class, Detail: f.Detail}
	switch {
	case f.Warning:
		line.Type = "warning"
	case keyless(f):
		line.Type = "unverified"
	}
	at := ""
	if f.Offset >= 0 {
		line.Offset = &f.Offset
		at = fmt.Sprintf(" at offset %d", f.Offset)
	}
	if a.json {
		a.writeJSON(w, line)
		return
	}
	text := fmt.Sprintf("%s: %s%s: %s", line.Type, f.Path, at, f.Class)
	if detail := strings.TrimPrefix(f.Detail, f.Class+": "); detail != "" {
		text += ": " + detail
	}
	fmt.Fprintln(w, safeLine(strings.ReplaceAll(text, "\n", "; "))) // a line each
}

// keyless tells whether a finding says no more than that a root key is missing.
func keyless(f engine.Finding) bool {
	return !f.Warning && (errors.Is(f.Err, engine.ErrKeyInaccessible) || errors.Is(f.Err, keyring.ErrRootNotPinned))
}

func (a *app) printVerified(w io.Writer, r *engine.VerifyReport, unverified int) {
	if a.json {
		a.writeJSON(w, struct {
			Type       string `json:"type"`
			Files      int    `json:"files"`
			Bytes      int64  `json:"bytes"`
			Faults     int    `json:"faults"`
			Warnings   int    `json:"warnings"`
			Unverified int    `json:"unverified"` // tables
		}{"summary", r.Files, r.Bytes, r.Faults, r.Warnings, unverified})
		return
	}
	fmt.Fprintf(w, "%s, %s: %s, %s", plural(r.Files, "file"), size(r.Bytes), plural(r.Faults, "fault"), plural(r.Warnings, "warning"))
	if unverified > 0 {
		fmt.Fprintf(w, ", %s not verified", plural(unverified, "table"))
	}
	fmt.Fprintln(w)
}
