package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

type restoreFlags struct {
	repo     repoFlags
	at       string
	tables   []string
	from, to string
	prefix   string
	root     string
	dryRun   bool
	discard  bool
	sheet    string
	ofStore  string
	unsealed bool
	given    struct{ from, to bool }
}

func (a *app) restoreCommand() *cobra.Command {
	f := &restoreFlags{}
	c := &cobra.Command{
		Use:   "restore [BACKUP]",
		Short: "Restore tables from a backup",
		Long: `The three commands that matter:

    cofre restore --repo /backups --store ./new
        the newest backup, into a new store

    cofre restore --repo /backups --store ./new --at 2026-11-22T10:00:05Z
        all tables as they were at that moment (with an archive of their logs)

    cofre restore --repo /backups --store ./clinic --table clinic.patients=clinic.found
        one table of the newest backup, beside what the store has

What it takes is the repository and a root key that the tables had: --keys names the key
service's file, --key the keys. Nothing is overwritten. Before a byte of data is moved, it
finds out whether every key opens and every name is free; --dry-run does that and no more.
After an interruption the same command goes on where it was, with --table for those tables
that are not there yet, if others are; --discard gives up. With --at every table must be
archived ("cofre backup archive --on"), or --table names those that are. If all root keys
are lost, --sheet takes a recovery sheet.

BACKUP is a name that "cofre backup list" shows, a beginning of one, or "latest". Restored
tables get keys of their own, under the first root key that --key names, or that
--root-key does.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.discard {
				return a.discardStages(cmd.Context())
			}
			f.given.from, f.given.to = cmd.Flags().Changed("from"), cmd.Flags().Changed("to")
			if len(args) > 0 && args[0] == "" {
				return &usageError{errors.New(`BACKUP is empty: name one, or "latest"`)}
			}
			o, err := f.options(first(args))
			if err != nil {
				return err
			}
			err = a.restore(cmd.Context(), f, o)
			if errors.Is(err, engine.ErrTableExists) {
				err = &failure{exitFailure, err, "--table NAME=NEWNAME restores it beside what is there, --table NAME one that is not there yet"}
			}
			return err
		},
	}
	fl := c.Flags()
	f.repo.register(fl)
	f.repo.speed(fl)
	fl.StringVar(&f.at, "at", "", "restore to this time, RFC 3339, or \"latest\" for all that is archived")
	fl.StringArrayVar(&f.tables, "table", nil, "restore this table, as NAME or NAME=NEWNAME; again for more (all)")
	fl.StringVar(&f.from, "from", "", "restore keys from this one on")
	fl.StringVar(&f.to, "to", "", "restore keys before this one")
	fl.StringVar(&f.prefix, "prefix", "", "restore keys that begin so")
	fl.StringVar(&f.root, "root-key", "", "the name of the root key for the restored tables")
	fl.StringVar(&f.sheet, "sheet", "", "open the backup with the recovery sheet in this file, or - for standard input")
	fl.StringVar(&f.ofStore, "of-store", "", "the id of the store whose backup it is to be, where the repository has several's")
	fl.BoolVar(&f.unsealed, "unsealed", false, "restore tables too that were backed up without their key")
	fl.BoolVar(&f.discard, "discard", false, "remove what restores that were interrupted have fetched, and restore nothing")
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "find out whether it would work, and move no data")
	return c
}

// options reads the flags.
func (f *restoreFlags) options(name string) (o backup.RestoreOptions, err error) {
	if err := f.repo.check(); err != nil {
		return o, err
	}
	o = backup.RestoreOptions{Backup: name, DryRun: f.dryRun, Unsealed: f.unsealed, Concurrency: f.repo.concurrency, BytesPerSecond: f.repo.mib << 20}
	if f.ofStore != "" {
		if o.Store, err = keyring.ParseID(f.ofStore); err != nil {
			return o, &usageError{fmt.Errorf("--of-store %q is no id of a store; \"cofre backup list\" shows them", f.ofStore)}
		}
	}
	switch f.at {
	case "":
	case backup.Latest:
		o.ToEnd = true
	default:
		if o.At, err = time.Parse(time.RFC3339Nano, strings.Replace(f.at, " ", "T", 1)); err != nil {
			return o, &usageError{fmt.Errorf("--at %q is no time such as 2026-11-22T10:00:05Z", f.at)}
		}
	}
	for _, t := range f.tables {
		from, as, renamed := strings.Cut(t, "=")
		for _, n := range []string{from, as} {
			if err := checkTableName(n); err != nil && (renamed || n == from) {
				return o, err
			}
		}
		if slices.Contains(o.Tables, from) {
			return o, &usageError{fmt.Errorf("--table names %s twice: restore it once more for another name", from)}
		}
		o.Tables = append(o.Tables, from)
		if renamed {
			if o.As == nil {
				o.As = make(map[string]string)
			}
			o.As[from] = as
		}
	}
	if f.prefix != "" {
		if f.given.from || f.given.to {
			return o, &usageError{errors.New("--prefix excludes --from and --to")}
		}
		o.Prefix = []byte(f.prefix)
	}
	if f.given.from {
		o.From = []byte(f.from)
	}
	if f.given.to {
		o.To = []byte(f.to)
	}
	if f.given.from && f.given.to && f.from >= f.to {
		return o, &usageError{fmt.Errorf("no key is from %q on and before %q", f.from, f.to)}
	}
	return o, nil
}

func (a *app) restore(ctx context.Context, f *restoreFlags, o backup.RestoreOptions) error {
	if a.store == "" {
		return &usageError{errors.New("no store named: use --store DIR or COFRE_STORE")}
	}
	if f.sheet != "" {
		id, err := a.readSheet(f.sheet)
		if err != nil {
			return err
		}
		defer id.Close()
		a.identity, a.recoveryMade = id, true
	}
	if err := a.checkApart(f.repo.location); err != nil {
		return err
	}
	return a.withRepository(ctx, &f.repo, false, func(r *backup.Repository) error {
		absent, err := storeAbsent(a.store)
		if err != nil {
			return fmt.Errorf("%w; restore into a directory that is empty, or not there", err)
		}
		if !absent {
			return a.withStore(ctx, engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
				var err error
				if o.RootKey, err = f.rootKey(roots); err != nil {
					return err
				}
				o.Roots = roots.all()
				return a.restoreInto(ctx, r, s, o)
			})
		}
		// Before a store is made, or a key for it: whether it would have anything.
		dry := o
		dry.DryRun = true
		if f.sheet != "" { // no other key need be left: the new store gets one
			dry.Roots = []keyring.RootKey{a.identity}
		} else {
			roots, err := a.rootKeys(ctx, false)
			if err != nil {
				return err
			}
			defer roots.close()
			dry.Roots = roots.all()
		}
		if o.DryRun {
			return a.restoreInto(ctx, r, nil, dry)
		}
		if _, err := r.Restore(ctx, nil, dry); err != nil {
			return err
		}
		roots, err := a.rootKeys(ctx, f.sheet != "")
		if err != nil {
			return err
		}
		defer roots.close()
		if o.RootKey, err = f.rootKey(roots); err != nil {
			return err
		}
		o.Roots = roots.all()
		s, err := engine.Open(ctx, a.store, engine.Options{RootKey: roots.RootKey, Roots: roots.others()})
		if err != nil {
			return err
		}
		return errors.Join(a.restoreInto(ctx, r, s, o), s.Close())
	})
}

// rootKey is the one that --root-key names among those of --key; nil if it names none.
func (f *restoreFlags) rootKey(roots *rootKeys) (keyring.RootKey, error) {
	if f.root == "" {
		return nil, nil
	}
	if k := roots.byName(f.root); k != nil {
		return k, nil
	}
	return nil, &usageError{fmt.Errorf("--root-key %s is not among the root keys that --key names", f.root)}
}

func (a *app) restoreInto(ctx context.Context, r *backup.Repository, s *engine.Store, o backup.RestoreOptions) error {
	var done func()
	o.Progress, done = a.moving("restore")
	rep, err := r.Restore(ctx, s, o)
	done()
	if rep == nil {
		return err
	}
	err = ofPart(ctx, err, rep)
	a.noteLeftOut(ctx, r, rep, o)
	empty := make(map[string]bool)
	if err == nil && !rep.DryRun && (o.From != nil || o.To != nil || o.Prefix != nil) {
		for _, t := range rep.Tables {
			if empty[t.As], err = tableEmpty(s, t.As); err != nil {
				break
			}
		}
	}
	return errors.Join(err, a.print(rep, func(w io.Writer) {
		verb := "restored"
		if rep.DryRun {
			verb = "would be"
		}
		fmt.Fprintf(w, "backup    %s\n", rep.Backup)
		for _, t := range rep.Tables {
			fmt.Fprintf(w, "%s  %s as %s, at %s: %s, %s\n", verb, t.Name, t.As, t.At.UTC().Format(time.RFC3339Nano), plural(t.Files, "file"), size(t.Bytes))
			if (o.ToEnd || !o.At.IsZero()) && t.Segments == 0 {
				fmt.Fprintf(w, "  logs    none in the archive: the table is as the backup has it\n")
			}
			if t.Segments > 0 {
				fmt.Fprintf(w, "  logs    %s of the archive\n", plural(t.Segments, "segment"))
			}
			if !t.Sealed {
				fmt.Fprintf(w, "  sealed  no: made without the table's key; every seal is opened\n")
			}
			fmt.Fprintf(w, "  keys    %s of the table's key open\n", versions(t.KeyVersions))
			if len(t.RootKeys) > 0 {
				fmt.Fprintf(w, "  root    %s; its key is wrapped by that from now on\n", strings.Join(t.RootKeys, ", "))
			}
			if empty[t.As] {
				fmt.Fprintf(w, "  rows    none: no key of the table lies in the range\n")
			}
		}
		if !rep.DryRun {
			fmt.Fprintf(w, "fetched   %s in %s; %s were there\n", size(rep.Fetched), rep.Elapsed.Round(time.Millisecond), size(rep.Reused))
		}
	}))
}

// ofPart says how a restore goes on that came part of the way.
func ofPart(ctx context.Context, err error, rep *backup.RestoreReport) error {
	if err == nil || rep.DryRun {
		return err
	}
	code, hint := judge(ctx, ofRepository(err))
	switch {
	case len(rep.Tables) > 0:
		hint = strings.TrimPrefix(hint+"; what is listed is there, and stays: --table NAME restores each of the others", "; ")
	case code == exitInterrupted:
		hint = "the same command goes on where it was; --discard gives up"
	}
	return &failure{code, err, hint}
}

// noteLeftOut tells of tables that the newest backup is without and older ones have:
// it may have been made of some of them only.
func (a *app) noteLeftOut(ctx context.Context, r *backup.Repository, rep *backup.RestoreReport, o backup.RestoreOptions) {
	const most = 10
	if o.Backup != "" && o.Backup != backup.Latest || o.Tables != nil || !o.At.IsZero() || o.ToEnd {
		return
	}
	list, err := r.Backups(ctx)
	at := slices.IndexFunc(list, func(b *backup.Backup) bool { return b.Name == rep.Backup })
	if err != nil || at < 0 {
		return
	}
	seen := make(map[keyring.ID]bool)
	for _, t := range list[at].Tables {
		seen[t.Table] = true
	}
	noted := 0
	for _, b := range slices.Backward(list[:at]) {
		if b.Store != list[at].Store {
			continue
		}
		for _, t := range b.Tables {
			if seen[t.Table] {
				continue
			}
			seen[t.Table] = true
			if noted++; noted > most {
				return
			}
			name := nameIn(ctx, r, t, o.Roots)
			if name == "" {
				a.note("the newest backup is without table %s, which %s has.", t.Table, b.Name)
				continue
			}
			a.note("the newest backup is without %s, which %s has: \"cofre restore %s --table %s\".", name, b.Name, b.Name, name)
		}
	}
}

func tableEmpty(s *engine.Store, name string) (bool, error) {
	t, err := s.Table(name)
	if err != nil {
		return false, err
	}
	for _, err := range t.Scan(engine.ScanOptions{Limit: 1}) {
		return false, err
	}
	return true, nil
}

// discardStages removes what restores have left in the store.
func (a *app) discardStages(ctx context.Context) error {
	return a.withStore(ctx, engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
		ids, err := s.Stages()
		if err != nil {
			return err
		}
		for _, id := range ids {
			g, err := s.Stage(id)
			if err != nil {
				return err
			}
			if err := g.Discard(); err != nil {
				return err
			}
		}
		return a.print(struct {
			Discarded int `json:"discarded"`
		}{len(ids)}, func(w io.Writer) { fmt.Fprintf(w, "discarded %s\n", plural(len(ids), "interrupted restore")) })
	})
}
