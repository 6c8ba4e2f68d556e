package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/engine"
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
After an interruption the same command goes on where it was.

BACKUP is a name that "cofre backup list" shows, a beginning of one, or "latest". Restored
tables get keys of their own, under the first root key that --key names, or that
--root-key does.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.discard {
				return a.discardStages(cmd.Context())
			}
			f.given.from, f.given.to = cmd.Flags().Changed("from"), cmd.Flags().Changed("to")
			o, err := f.options(first(args))
			if err != nil {
				return err
			}
			err = a.restore(cmd.Context(), f, o)
			if errors.Is(err, engine.ErrTableExists) {
				err = &failure{exitFailure, err, "--table NAME=NEWNAME restores it beside what is there"}
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
	switch f.at {
	case "":
	case backup.Latest:
		o.ToEnd = true
	default:
		if o.At, err = time.Parse(time.RFC3339Nano, f.at); err != nil {
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
	return o, nil
}

func (a *app) restore(ctx context.Context, f *restoreFlags, o backup.RestoreOptions) error {
	if a.store == "" {
		return &usageError{errors.New("no store named: use --store DIR or COFRE_STORE")}
	}
	return a.withRepository(ctx, &f.repo, false, func(r *backup.Repository) error {
		absent, err := storeAbsent(a.store)
		if err != nil {
			return err
		}
		if !absent {
			return a.withStore(ctx, engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
				return a.restoreInto(ctx, r, s, roots, f, o)
			})
		}
		roots, err := a.rootKeys(ctx, false)
		if err != nil {
			return err
		}
		defer roots.close()
		// Before a store is made: whether it would have anything.
		dry := o
		dry.DryRun = true
		if o.DryRun {
			return a.restoreInto(ctx, r, nil, roots, f, o)
		}
		dry.Roots = roots.all()
		if _, err := r.Restore(ctx, nil, dry); err != nil {
			return err
		}
		s, err := engine.Open(ctx, a.store, engine.Options{RootKey: roots.RootKey, Roots: roots.others()})
		if err != nil {
			return err
		}
		return errors.Join(a.restoreInto(ctx, r, s, roots, f, o), s.Close())
	})
}

func (a *app) restoreInto(ctx context.Context, r *backup.Repository, s *engine.Store, roots *rootKeys, f *restoreFlags, o backup.RestoreOptions) error {
	o.Roots = roots.all()
	if f.root != "" {
		if o.RootKey = roots.byName(f.root); o.RootKey == nil {
			return &usageError{fmt.Errorf("--root-key %s is not among the root keys that --key names", f.root)}
		}
	}
	var done func()
	o.Progress, done = a.moving("restore")
	rep, err := r.Restore(ctx, s, o)
	done()
	if rep == nil {
		return err
	}
	return errors.Join(err, a.print(rep, func(w io.Writer) {
		verb := "restored"
		if rep.DryRun {
			verb = "would be"
		}
		fmt.Fprintf(w, "backup    %s\n", rep.Backup)
		for _, t := range rep.Tables {
			fmt.Fprintf(w, "%s  %s as %s, at %s: %s, %s\n", verb, t.Name, t.As, t.At.UTC().Format(time.RFC3339Nano), plural(t.Files, "file"), size(t.Bytes))
			if t.Segments > 0 {
				fmt.Fprintf(w, "  logs    %s of the archive\n", plural(t.Segments, "segment"))
			}
			if !t.Sealed {
				fmt.Fprintf(w, "  sealed  no: made without the table's key; every seal is opened\n")
			}
			fmt.Fprintf(w, "  keys    versions %v of the table's key open\n", t.KeyVersions)
		}
		if !rep.DryRun {
			fmt.Fprintf(w, "fetched   %s in %s; %s were there\n", size(rep.Fetched), rep.Elapsed.Round(time.Millisecond), size(rep.Reused))
		}
	}))
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
