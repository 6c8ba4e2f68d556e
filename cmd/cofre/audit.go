package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

func (a *app) auditCommand() *cobra.Command {
	c := group("audit", "The log of key operations: show it, verify it, note its head",
		a.auditShowCommand(), a.auditVerifyCommand(), a.auditHeadCommand(), a.auditRestartCommand(), a.auditPruneCommand())
	c.Long = `The audit log

A store records each use of its keys, allowed or denied, in its directory audit:
each call to a key service with its context and outcome, and what the store did
with keys. No read or write of data is recorded, and no secret.

The records are chained: "audit verify" finds each one that was changed or
removed, back to the last head that is held elsewhere. The keyring holds one, and
a key service that notes the keyring's generations holds that. "audit head" prints
the newest, to be kept where those cannot write who might change the log.

Read-only verbs (get, scan, verify and the like) write nothing, no record either.`
	return c
}

// auditDir is the log's directory, which takes no key to read.
func (a *app) auditDir() (string, error) {
	if a.store == "" {
		return "", &usageError{errors.New("no store named: use --store DIR or COFRE_STORE")}
	}
	absent, err := storeAbsent(a.store)
	if err == nil && absent {
		err = fmt.Errorf("%w: %s", engine.ErrStoreNotFound, a.store)
	}
	return filepath.Join(a.store, "audit"), err
}

func (a *app) auditShowCommand() *cobra.Command {
	var since, table string
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the records; needs no key, and verifies nothing",
		Long: `Shows the records in their order: time, event, outcome, who, table, root key. It
reads the files as they are, also while another process has the store open, and
checks nothing: "cofre audit verify" does.

--since takes a time (RFC 3339) or how long ago, such as 36h. --table takes the
id of a table, or the name of one that is in the store or was dropped: the log
has ids alone, and to look up a name the store is opened with its root key.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return &usageError{err}
			}
			dir, err := a.auditDir()
			if err != nil {
				return err
			}
			ids, err := a.tableIDs(cmd.Context(), table)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(a.stdout)
			for r, err := range audit.Records(vfs.Default, dir) {
				if err == nil {
					err = cmd.Context().Err()
				}
				if err != nil {
					return errors.Join(err, out.Flush())
				}
				if r.Time.Before(from) || table != "" && !slices.Contains(ids, r.TableID()) {
					continue
				}
				if err := a.printRecord(out, &r); err != nil {
					return err
				}
			}
			return out.Flush()
		},
	}
	c.Flags().StringVar(&since, "since", "", "records of no earlier than this: a time (RFC 3339), or how long ago (36h)")
	c.Flags().StringVar(&table, "table", "", "records of this table alone: its name or id")
	return c
}

// parseSince reads a time, or a duration before now. Nothing is the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("--since %q is neither a time, such as 2026-01-31T12:00:00Z, nor a duration, such as 36h", s)
	}
	return t, nil
}

// tableIDs are the ids of the tables that have or had a name; an id is its own.
func (a *app) tableIDs(ctx context.Context, name string) (ids []keyring.ID, err error) {
	if name == "" {
		return nil, nil
	}
	if id, err := keyring.ParseID(name); err == nil {
		return []keyring.ID{id}, nil
	}
	if err := checkTableName(name); err != nil {
		return nil, err
	}
	err = a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, _ *rootKeys) error {
		for _, t := range s.Tables() {
			if t.Name == name {
				ids = append(ids, t.ID)
			}
		}
		for _, t := range s.Dropped() {
			if t.Name == name {
				ids = append(ids, t.ID)
			}
		}
		if len(ids) == 0 {
			return fmt.Errorf("%w: %s", engine.ErrTableNotFound, name)
		}
		return nil
	})
	return ids, err
}

func (a *app) printRecord(w io.Writer, r *audit.Record) error {
	if a.json {
		b, err := r.JSON()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	what := r.Outcome
	if r.ErrorCode != "" {
		what += " (" + r.ErrorCode + ")"
	}
	if r.Provisional {
		what += ", provisional"
	}
	who := r.Actor.User
	if r.Actor.Name != "" {
		who = r.Actor.Name + "/" + who
	}
	line := fmt.Sprintf("%s  %-14s  %-7s  %s[%s:%d]", when(r.Time), r.Event, what, who, r.Actor.Program, r.Actor.PID)
	if p := r.Request.Context["cofre:purpose"]; p != "" {
		line += "  " + p
		if v := r.Request.Context["cofre:version"]; v != "" {
			line += " version " + v
		}
	}
	if r.Request.Version > 0 {
		line += fmt.Sprintf("  version %d", r.Request.Version)
	}
	if id := r.TableID(); !id.IsZero() {
		line += "  table " + id.String()
	}
	if r.Request.Key != "" {
		line += "  " + r.Request.Key
	}
	if len(r.Request.Roots) > 0 {
		line += "  " + strings.Join(r.Request.Roots, ",")
	}
	if r.Request.Generation > 0 {
		line += fmt.Sprintf("  generation %d", r.Request.Generation)
	}
	_, err := fmt.Fprintln(w, safeLine(line))
	return err
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var heads []string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify the log, up to the keyring's head and to heads held elsewhere",
		Long: `Reads the whole log, authenticates each record, and reports what was changed,
removed, repeated or put elsewhere; then the exit code is 6. Each --head must be
found, as "cofre audit head" printed it once; the keyring's always.

The records after the last head that is known can have been cut off unnoticed.
Whoever has the store's root key can also write another log: then a head that he
could not change tells.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var known []audit.Head
			for _, s := range heads {
				h, err := audit.ParseHead(s)
				if err != nil {
					return &usageError{err}
				}
				known = append(known, h)
			}
			ctx := cmd.Context()
			out := bufio.NewWriter(a.stdout)
			var rep *audit.Report
			err := a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, _ *rootKeys) (err error) {
				rep, err = s.VerifyAudit(ctx, known, func(f audit.Finding) {
					g := engine.Finding{Path: f.Path, Offset: f.Offset, Class: "leftover", Detail: f.Detail, Warning: f.Warning}
					if f.Class != nil {
						g.Class = f.Class.Error()
					}
					a.printFinding(out, g)
				})
				return err
			})
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			a.printAuditReport(out, rep)
			if err := out.Flush(); err != nil {
				return err
			}
			if rep.Faults > 0 {
				return &failure{exitCorruption, fmt.Errorf("%s in the audit log", plural(rep.Faults, "fault")),
					"keep a copy of the directory audit as it is, and find out who can write to it"}
			}
			if rep.Verified < rep.Records {
				return &failure{exitKey, fmt.Errorf("%s could not be authenticated", plural(rep.Records-rep.Verified, "record")),
					"it takes a root key that the store had when that part of the log began: name it with --key"}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&heads, "head", nil, "a head held elsewhere, SEQUENCE:MAC; may be given several times")
	return c
}

func (a *app) printAuditReport(w io.Writer, r *audit.Report) {
	last := ""
	if r.Last.Seq > 0 {
		last = r.Last.String()
	}
	if a.json {
		a.writeJSON(w, struct {
			Type     string `json:"type"`
			Files    int    `json:"files"`
			Bytes    int64  `json:"bytes"`
			Records  uint64 `json:"records"`
			Verified uint64 `json:"verified"`
			Pruned   uint64 `json:"pruned,omitempty"`
			Last     string `json:"last,omitempty"`
			Faults   int    `json:"faults"`
			Warnings int    `json:"warnings"`
		}{"summary", r.Files, r.Bytes, r.Records, r.Verified, r.Pruned, last, r.Faults, r.Warnings})
		return
	}
	fmt.Fprintf(w, "%s in %s, %s: %s authenticated, %s, %s\n", plural(r.Records, "record"), plural(r.Files, "file"), size(r.Bytes),
		thousands(int64(r.Verified)), plural(r.Faults, "fault"), plural(r.Warnings, "warning"))
	if r.Pruned > 0 {
		fmt.Fprintf(w, "pruned    records 1 to %s\n", thousands(int64(r.Pruned)))
	}
	if last != "" {
		fmt.Fprintf(w, "last      %s\n", last)
	}
}

// An auditHead is the answer of "audit head".
type auditHead struct {
	StoreID keyring.ID `json:"store_id"`
	Head    audit.Head `json:"head"`
}

func (a *app) printHead(s *engine.Store) error {
	h, ok, err := s.AuditHead(context.Background())
	if err != nil {
		return err
	}
	if !ok {
		return &failure{exitNotFound, errors.New("the store has no audit log yet"), "it gets one when it is next opened for writing"}
	}
	return a.print(auditHead{s.ID(), h}, func(w io.Writer) { fmt.Fprintln(w, h) })
}

func (a *app) auditHeadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Print the head of the log: sequence number and MAC of a record",
		Long: `Prints the newest record that the keyring names, as SEQUENCE:MAC. It is no
secret. Keep it where those cannot write who might change the log: "cofre audit
verify --head" then finds each change of a record up to it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), engine.ReadOnly, func(s *engine.Store, _ *rootKeys) error { return a.printHead(s) })
		},
	}
}

func (a *app) auditRestartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restart",
		Short: "Go on after the log was changed or cut",
		Long: `A store whose audit log is not what the keyring says does not open for writing.
This begins a new chain of records behind what there is, which names the record
that was expected. "cofre audit verify" shows the place from then on. Nothing is
removed, and a log that is as it must be goes on as it is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := engine.Options{Mode: engine.MustExist, Audit: engine.AuditOptions{BeginAnew: true}}
			return a.withStoreAs(cmd.Context(), opts, func(s *engine.Store, _ *rootKeys) error { return a.printHead(s) })
		},
	}
}
