package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/locate"
	"github.com/cofredb/cofre/engine"
)

// A repoFlags is what says where a repository is, and how fast it is used.
type repoFlags struct {
	location    string
	wait        time.Duration
	mib         int64
	concurrency int
}

func (f *repoFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.location, "repo", os.Getenv("COFRE_REPO"), "the repository: a directory, or s3://bucket/prefix?endpoint=…&region=… (COFRE_REPO)")
	fs.Lookup("repo").DefValue = ""
	fs.DurationVar(&f.wait, "wait", time.Minute, "wait so long for another that writes to the repository")
}

// speed registers what bounds a copy.
func (f *repoFlags) speed(fs *pflag.FlagSet) {
	fs.Int64Var(&f.mib, "mib-per-second", 0, "move at most so much (0: as fast as it goes)")
	fs.IntVar(&f.concurrency, "concurrency", 0, "files moved at once (0: 4, or 16 into a directory)")
}

func (f *repoFlags) check() error {
	switch {
	case f.location == "":
		return &usageError{errors.New("no repository named: use --repo or COFRE_REPO")}
	case f.mib < 0:
		return &usageError{errors.New("--mib-per-second is negative")}
	case f.concurrency < 0:
		return &usageError{errors.New("--concurrency is negative")}
	}
	return nil
}

// withRepository opens the repository, hands it to fn and closes it.
func (a *app) withRepository(ctx context.Context, f *repoFlags, create bool, fn func(r *backup.Repository) error) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if create && a.store != "" && insideStore(f.location, a.store) {
		return &usageError{fmt.Errorf("the repository %s lies in the store: who loses the one loses the other", f.location)}
	}
	return a.withRepositoryAt(ctx, f.location, f.wait, create, fn)
}

func (a *app) withRepositoryAt(ctx context.Context, location string, wait time.Duration, create bool, fn func(r *backup.Repository) error) (err error) {
	st, err := locate.Open(ctx, location, locate.Options{Create: create})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r, err := backup.Open(ctx, st, backup.Options{Create: create, LockWait: wait, Logger: slog.New(notes{a})})
	if err != nil {
		return err
	}
	if r.Created() && !a.quiet {
		a.note("made the repository %s in %s", r.ID(), r.Location())
	}
	return fn(r)
}

// insideStore tells whether a location is the store's directory, or lies in it.
func insideStore(location, store string) bool {
	if strings.Contains(location, "://") {
		return false
	}
	at, err := filepath.Abs(location)
	dir, derr := filepath.Abs(store)
	if err != nil || derr != nil {
		return false
	}
	rel, err := filepath.Rel(dir, at)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// moving draws the progress of a copy.
func (a *app) moving(name string) (report func(backup.Progress), done func()) {
	var bar *progress
	report = func(p backup.Progress) {
		if bar == nil {
			bar = a.progress(name, &input{files: p.Files, total: p.Bytes})
		}
		bar.total(p.Files, p.Bytes)
		bar.set(int64(p.Done), p.Moved)
	}
	return report, func() {
		if bar != nil {
			bar.done()
		}
	}
}

func (a *app) backupCommand() *cobra.Command {
	f := &repoFlags{}
	c := group("backup", "Make, list, verify and prune backups",
		a.backupCreateCommand(f), a.backupListCommand(f), a.backupShowCommand(f), a.backupVerifyCommand(f),
		a.backupDiffCommand(f), a.backupPruneCommand(f), a.backupRemoveCommand(f), a.backupPinCommand(f, true),
		a.backupPinCommand(f, false), a.backupCopyCommand(f), a.backupRewrapCommand(f), a.backupStatsCommand(f), a.backupArchiveCommand(f),
		a.checkStorageCommand(f))
	c.Long = `Backups are ciphertext that is copied, never sealed again: the keys of the store open
them, and no others. A repository is a directory or an S3 bucket. What it takes to
restore is the repository and a root key.

    cofre backup create --store ./clinic --repo /backups
    cofre backup list --repo /backups
    cofre backup verify --repo /backups --read-data 1
    cofre backup prune --repo /backups --keep-daily 7 --keep-monthly 12
    cofre restore --repo /backups --store ./restored

After a rotation of root keys "cofre backup rewrap" makes the backups open with the
new one.`
	f.register(c.PersistentFlags())
	return c
}

func (a *app) backupCreateCommand(f *repoFlags) *cobra.Command {
	var o backup.CreateOptions
	c := &cobra.Command{
		Use:   "create [TABLE...]",
		Short: "Back up the store, or some of its tables",
		Long: `Backs up the store's tables, or those named, each as it is at one moment, with all that
was acknowledged before. Only files that the repository has not are sent; after an
interruption the next call sends what was missing. The repository is made where there is
none, in an empty directory or prefix.

A table whose own root key is disabled or out of reach is backed up without it and marked
"unsealed": what belongs to it is checked when it is restored, which takes --unsealed. The
store's root key, which opens the list of tables, is needed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, n := range args {
				if err := checkTableName(n); err != nil {
					return err
				}
			}
			if len(args) > 0 {
				o.Tables = args
			}
			if err := f.check(); err != nil {
				return err
			}
			return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				return a.withRepository(cmd.Context(), f, true, func(r *backup.Repository) error {
					var done func()
					o.Progress, done = a.moving("backup")
					o.BytesPerSecond, o.Concurrency = f.mib<<20, f.concurrency
					rep, err := r.Create(cmd.Context(), s, o)
					done()
					if err != nil {
						return err
					}
					for _, w := range rep.Warnings {
						a.note("warning: %s", w)
					}
					return a.print(rep, func(w io.Writer) {
						fmt.Fprintf(w, "backup    %s of %s in %s\n", rep.Backup.Name, plural(len(rep.Backup.Tables), "table"), r.Location())
						fmt.Fprintf(w, "sent      %s in %s, %s\n", size(rep.Sent), plural(rep.New, "file"), rep.Elapsed.Round(time.Millisecond))
						fmt.Fprintf(w, "reused    %s that the repository had\n", size(rep.Reused))
						for _, n := range rep.Unsealed {
							fmt.Fprintf(w, "unsealed  %s\n", n)
						}
					})
				})
			})
		},
	}
	f.speed(c.Flags())
	c.Flags().StringVar(&o.Label, "label", "", "a text beside the backup's name, which anybody who has the repository can read")
	c.Flags().BoolVar(&o.OtherStore, "other-store", false, "the repository has backups of another store, and gets this one's too")
	return c
}

func (a *app) backupListCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the backups",
		Long:  "Lists the backups, oldest first, without reading their data and without a key.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				list, fault := r.Backups(cmd.Context())
				out := bufio.NewWriter(a.stdout)
				tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
				several := slices.ContainsFunc(list, func(b *backup.Backup) bool { return b.Store != list[0].Store })
				if !a.json && len(list) > 0 {
					fmt.Fprintln(tw, "BACKUP\tTIME\tTABLES\tSIZE\tNEW\tNOTE")
				}
				for _, b := range list {
					if a.json {
						if err := a.writeJSON(out, b); err != nil {
							return err
						}
						continue
					}
					note := backupNote(b)
					if several {
						note = strings.TrimSuffix("store "+b.Store.String()+", "+note, ", ")
					}
					fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\n", b.Name, when(b.Time), len(b.Tables), size(b.Bytes()), size(b.NewBytes()), note)
				}
				return errors.Join(tw.Flush(), out.Flush(), fault)
			})
		},
	}
}

// backupNote is what a list says of a backup besides figures.
func backupNote(b *backup.Backup) string {
	note := safeLine(b.Label)
	add := func(s string) {
		if note != "" {
			note += ", "
		}
		note += s
	}
	if b.Pinned {
		add("pinned")
	}
	unsealed := 0
	for _, t := range b.Tables {
		if !t.Sealed {
			unsealed++
		}
	}
	if unsealed > 0 {
		add(plural(unsealed, "table") + " unsealed")
	}
	return note
}

func (a *app) backupShowCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show [BACKUP]",
		Short: "Show a backup: its tables, and the keys that they need",
		Long: `Shows a backup; "latest", or none named, is the newest. Where the root keys that --key
names open its lockboxes, it shows the names of the tables too.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				b, err := r.Find(cmd.Context(), first(args))
				if err != nil {
					return err
				}
				names := a.tableNames(cmd.Context(), r, b)
				type table struct {
					backup.BackupTable
					Name     string   `json:"name,omitempty"`
					RootKeys []string `json:"root_keys"`
				}
				doc := struct {
					*backup.Backup
					Pinned bool    `json:"pinned"`
					Tables []table `json:"tables"`
				}{Backup: b, Pinned: b.Pinned}
				for i, t := range b.Tables {
					uris, err := r.RootKeys(cmd.Context(), t.Table)
					if err != nil {
						return err
					}
					doc.Tables = append(doc.Tables, table{t, names[i], uris})
				}
				return a.print(doc, func(w io.Writer) {
					fmt.Fprintf(w, "backup    %s\n", b.Name)
					fmt.Fprintf(w, "time      %s\n", when(b.Time))
					fmt.Fprintf(w, "store     %s\n", b.Store)
					if note := backupNote(b); note != "" {
						fmt.Fprintf(w, "note      %s\n", note)
					}
					fmt.Fprintf(w, "size      %s, %s of it new\n", size(b.Bytes()), size(b.NewBytes()))
					for i, t := range doc.Tables {
						fmt.Fprintf(w, "table     %s\n", t.Table)
						if names[i] != "" {
							fmt.Fprintf(w, "  name    %s\n", names[i])
						}
						fmt.Fprintf(w, "  at      %s\n", t.At.UTC().Format(time.RFC3339Nano))
						fmt.Fprintf(w, "  files   %d, %s\n", t.Files, size(t.Bytes))
						if t.Sealed {
							fmt.Fprintf(w, "  keys    versions %v of the table's key\n", t.Needed())
						} else {
							fmt.Fprintf(w, "  keys    unsealed: made without the table's key\n")
						}
						fmt.Fprintf(w, "  opens   with any of %s\n", strings.Join(t.RootKeys, ", "))
					}
				})
			})
		},
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// tableNames are the names of a backup's tables, "" where no root key tells.
func (a *app) tableNames(ctx context.Context, r *backup.Repository, b *backup.Backup) []string {
	names := make([]string, len(b.Tables))
	roots, err := a.rootKeys(ctx, false)
	if err != nil {
		return names
	}
	defer roots.close()
	for i, t := range b.Tables {
		keys, err := r.Keys(ctx, t.Table, t.Needed(), roots.all())
		if err != nil {
			continue
		}
		names[i], _ = engine.TableName(keys)
		keys.Wipe()
	}
	return names
}

func (a *app) backupVerifyCommand(f *repoFlags) *cobra.Command {
	var o backup.VerifyOptions
	var noKeys bool
	c := &cobra.Command{
		Use:   "verify [BACKUP...]",
		Short: "Compare the repository with what it should have",
		Long: `Compares manifests with indexes, indexes with lockboxes and with the objects that there
are, of the backups named or of all. With the root keys that --key names the indexes are
authenticated. --read-data 1 reads every object and opens every seal; 0.1 does so with a
tenth of them, chosen by chance. Of archived logs it finds parts that are missing in
between, or with --read-data changed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.ReadData < 0 || o.ReadData > 1 {
				return &usageError{errors.New("--read-data is a share, 0 to 1")}
			}
			if len(args) > 0 {
				o.Backups = args
			}
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				if !noKeys {
					roots, err := a.rootKeys(cmd.Context(), false)
					if err != nil {
						return fmt.Errorf("--no-keys verifies what needs no key; for all else: %w", err)
					}
					defer roots.close()
					o.Roots = roots.all()
				}
				var done func()
				o.Progress, done = a.moving("verify")
				o.BytesPerSecond, o.Concurrency = f.mib<<20, f.concurrency
				rep, err := r.Verify(cmd.Context(), o)
				done()
				if err != nil {
					return err
				}
				return a.verified(rep, noKeys)
			})
		},
	}
	f.speed(c.Flags())
	c.Flags().Float64Var(&o.ReadData, "read-data", 0, "read this share of the data, 0 to 1")
	c.Flags().BoolVar(&noKeys, "no-keys", false, "verify what needs no key, and name none")
	return c
}

// verified prints a report. Faults make the run fail.
func (a *app) verified(rep *backup.VerifyReport, noKeys bool) error {
	for _, w := range rep.Warnings {
		a.note("warning: %s", w)
	}
	err := a.print(rep, func(w io.Writer) {
		for _, f := range rep.Faults {
			fmt.Fprintf(w, "fault     %s\n", safeLine(f.Message))
			for _, b := range f.Backups {
				fmt.Fprintf(w, "  in      %s\n", b)
			}
		}
		fmt.Fprintf(w, "backups   %d, with %s: %d authenticated, %d unsealed\n", rep.Backups, plural(rep.Tables, "table"), rep.Authenticated, rep.Unsealed)
		fmt.Fprintf(w, "objects   %s, %s\n", thousands(int64(rep.Objects)), size(rep.Bytes))
		fmt.Fprintf(w, "read      %s, %s; every seal of %s opened\n", thousands(int64(rep.Read)), size(rep.ReadBytes), thousands(int64(rep.Opened)))
		fmt.Fprintf(w, "%s\n", plural(len(rep.Faults), "fault"))
	})
	if err == nil && len(rep.Faults) == 0 && !noKeys && rep.Authenticated == 0 && rep.Tables > rep.Unsealed {
		return &failure{exitKey, errors.New("no root key that --key names opens any of it: nothing was authenticated"), "--no-keys verifies what needs no key"}
	}
	if err == nil && len(rep.Faults) > 0 {
		err = &failure{exitCorruption, fmt.Errorf("the repository has %s", plural(len(rep.Faults), "fault")), `"cofre backup create" sends again what is missing or cut, and what is damaged once its object is removed, if the store has it still`}
	}
	return err
}

func (a *app) backupDiffCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "diff BACKUP BACKUP",
		Short: "List the files that two backups do not share",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				list, err := r.Diff(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				out := bufio.NewWriter(a.stdout)
				for _, d := range list {
					if a.json {
						if err := a.writeJSON(out, d); err != nil {
							return err
						}
						continue
					}
					sign := "-"
					if d.Added {
						sign = "+"
					}
					fmt.Fprintf(out, "%s %s %s  %s\n", sign, d.Table, d.File, size(d.Bytes))
				}
				return out.Flush()
			})
		},
	}
}

func (a *app) backupPruneCommand(f *repoFlags) *cobra.Command {
	var o backup.PruneOptions
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove backups that no rule keeps",
		Long: `Removes backups that none of the --keep rules wants, but for pinned ones. The rules count
the backups of each table by themselves. What no backup needs any more is removed by a
later prune, when --grace is over: so who reads meanwhile loses nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Keep == (backup.Retention{}) {
				return &usageError{errors.New("nothing says which backups to keep: name a --keep rule")}
			}
			if cmd.Flags().Changed("grace") && o.Grace == 0 {
				o.Grace = -1
			}
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				rep, err := r.Prune(cmd.Context(), o)
				if err != nil {
					return err
				}
				return a.print(rep, func(w io.Writer) {
					for _, k := range rep.Kept {
						fmt.Fprintf(w, "keep      %s  %s  %v\n", k.Backup.Name, when(k.Backup.Time), k.Reasons)
					}
					verb := "removed"
					if rep.DryRun {
						verb = "would go"
					}
					for _, b := range rep.Removed {
						fmt.Fprintf(w, "%-8s  %s  %s\n", verb, b.Name, when(b.Time))
					}
					fmt.Fprintf(w, "freed     %s, %s\n", plural(rep.Deleted, "object"), size(rep.DeletedBytes))
					if rep.Condemned > 0 {
						fmt.Fprintf(w, "to go     %s, %s, with a prune after %s\n", plural(rep.Condemned, "object"), size(rep.CondemnedBytes), when(rep.Due))
					}
				})
			})
		},
	}
	fl := c.Flags()
	fl.IntVar(&o.Keep.Last, "keep-last", 0, "keep the newest N")
	fl.IntVar(&o.Keep.Hourly, "keep-hourly", 0, "keep the newest of each of the last N hours that have one")
	fl.IntVar(&o.Keep.Daily, "keep-daily", 0, "keep the newest of each of the last N days that have one")
	fl.IntVar(&o.Keep.Weekly, "keep-weekly", 0, "keep the newest of each of the last N weeks that have one")
	fl.IntVar(&o.Keep.Monthly, "keep-monthly", 0, "keep the newest of each of the last N months that have one")
	fl.DurationVar(&o.Keep.Within, "keep-within", 0, "keep all that are at most so much older than the newest, such as 72h")
	fl.DurationVar(&o.Grace, "grace", backup.DefaultGrace, "how long what no backup needs stays; 0 removes it at once")
	fl.BoolVarP(&o.DryRun, "dry-run", "n", false, "show what would be removed, and remove nothing")
	return c
}

func (a *app) backupRemoveCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove BACKUP",
		Short: "Remove one backup",
		Long:  `Removes one backup at once. Its data goes with the next "cofre backup prune".`,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				b, err := r.Remove(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.print(b, func(w io.Writer) { fmt.Fprintf(w, "backup    %s is removed\n", b.Name) })
			})
		},
	}
}

func (a *app) backupPinCommand(f *repoFlags, pin bool) *cobra.Command {
	use, short, state := "pin", "Keep a backup from prune and remove", "pinned"
	change := (*backup.Repository).Pin
	if !pin {
		use, short, state = "unpin", "Let prune and remove have a backup again", "not pinned"
		change = (*backup.Repository).Unpin
	}
	return &cobra.Command{
		Use: use + " BACKUP", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				b, err := change(r, cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.print(struct {
					Backup string `json:"backup"`
					Pinned bool   `json:"pinned"`
				}{b.Name, pin}, func(w io.Writer) { fmt.Fprintf(w, "backup    %s is %s\n", b.Name, state) })
			})
		},
	}
}

func (a *app) backupCopyCommand(f *repoFlags) *cobra.Command {
	var o backup.CopyOptions
	c := &cobra.Command{
		Use:   "copy DESTINATION [BACKUP...]",
		Short: "Copy backups to another repository",
		Long: `Copies the backups named, or all, to another repository, with their lockboxes and without
a key. What is there already is not sent again. Archived logs stay behind.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				o.Backups = args[1:]
			}
			return a.withRepository(cmd.Context(), f, false, func(from *backup.Repository) error {
				return a.withRepositoryAt(cmd.Context(), args[0], f.wait, true, func(to *backup.Repository) error {
					if from.ID() == to.ID() {
						return &usageError{errors.New("the destination is the repository itself")}
					}
					var done func()
					o.Progress, done = a.moving("copy")
					o.BytesPerSecond, o.Concurrency = f.mib<<20, f.concurrency
					rep, err := from.CopyTo(cmd.Context(), to, o)
					done()
					if err != nil {
						return err
					}
					return a.print(rep, func(w io.Writer) {
						fmt.Fprintf(w, "copied    %s to %s: %s sent, %s were there\n", plural(rep.Backups, "backup"), to.Location(), size(rep.Sent), size(rep.Reused))
					})
				})
			})
		},
	}
	f.speed(c.Flags())
	return c
}

func (a *app) backupRewrapCommand(f *repoFlags) *cobra.Command {
	var o backup.RewrapOptions
	c := &cobra.Command{
		Use:   "rewrap [TABLE...]",
		Short: "Make the backups open with the root keys of now",
		Long: `Puts the tables' keys, as they are wrapped now, beside their backups: after "keys
rotate-root" the backups open with the new root key too. A few hundred bytes a table are
sent. With --remove-old the lockboxes of before are removed, and in this repository the
backups open with the root keys of now alone; whoever has a copy of the repository, or a
former root key and a former lockbox, is not kept out. Tables that the store has not any
more are listed as gone: keep the root keys that their backups have.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Tables = args
			}
			return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
					list, err := r.Rewrap(cmd.Context(), s, o)
					if err != nil {
						return err
					}
					return a.print(list, func(w io.Writer) {
						for _, t := range list {
							if t.Gone {
								fmt.Fprintf(w, "gone      %s: its backups open with the root keys of their time, and no others\n", t.ID)
								continue
							}
							fmt.Fprintf(w, "table     %s: its backups open with %v\n", t.Table, t.RootKeys)
							if len(t.Removed) > 0 {
								fmt.Fprintf(w, "  removed %s\n", plural(len(t.Removed), "older lockbox"))
							}
						}
					})
				})
			})
		},
	}
	c.Flags().BoolVar(&o.RemoveOld, "remove-old", false, "remove the lockboxes of before")
	return c
}

func (a *app) backupStatsCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show figures of the repository",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				s, err := r.Stats(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(s, func(w io.Writer) {
					fmt.Fprintf(w, "repository  %s in %s\n", s.Repository, s.Location)
					fmt.Fprintf(w, "backups     %d of %s, %d pinned\n", s.Backups, plural(s.Tables, "table"), s.Pinned)
					if s.Backups > 0 {
						fmt.Fprintf(w, "from        %s\nto          %s\n", when(s.Oldest), when(s.Newest))
					}
					fmt.Fprintf(w, "backed up   %s\n", size(s.Backed))
					fmt.Fprintf(w, "data        %s in %s\n", size(s.Data.Bytes), plural(s.Data.Objects, "object"))
					fmt.Fprintf(w, "unneeded    %s of it, which a prune removes\n", size(s.Unneeded.Bytes))
					fmt.Fprintf(w, "archive     %s in %s\n", size(s.Archive.Bytes), plural(s.Archive.Objects, "object"))
				})
			})
		},
	}
}

func (a *app) checkStorageCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check-storage",
		Short: "Find out whether a storage keeps its promises",
		Long: `Tries what a repository relies on: that what was written is read, listed and gone when it
is removed, that of two who make one object exactly one does, that ranges and large objects
come back as they were. It makes objects of its own below check-storage/ and removes them;
what else lies there is not touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := f.check(); err != nil {
				return err
			}
			st, err := locate.Open(cmd.Context(), f.location, locate.Options{Create: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			return storage.Check(cmd.Context(), st, storage.CheckOptions{Report: func(p storage.Finding) {
				kept, fault := "kept", ""
				if p.Err != nil {
					kept, fault = "BROKEN", p.Err.Error()
				}
				if a.json {
					a.writeJSON(a.stdout, struct {
						Promise string `json:"promise"`
						Matters string `json:"matters_to"`
						Kept    bool   `json:"kept"`
						Error   string `json:"error,omitempty"`
						Took    int64  `json:"took_ns"`
					}{p.Promise, p.Matters, p.Err == nil, fault, int64(p.Took)})
					return
				}
				fmt.Fprintf(a.stdout, "%-7s %s (%s)\n", kept, p.Promise, p.Took.Round(time.Millisecond))
				if p.Err != nil {
					fmt.Fprintf(a.stdout, "        matters to %s: %s\n", p.Matters, safeLine(fault))
				}
			}})
		},
	}
}

// notes hands what a library logs to the user.
type notes struct{ a *app }

func (n notes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (n notes) WithAttrs([]slog.Attr) slog.Handler           { return n }
func (n notes) WithGroup(string) slog.Handler                { return n }
func (n notes) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(at slog.Attr) bool {
		text += fmt.Sprintf("; %s: %s", at.Key, at.Value)
		return true
	})
	n.a.note("warning: %s", text)
	return nil
}

func (a *app) backupArchiveCommand(f *repoFlags) *cobra.Command {
	var on, off, once bool
	var o backup.ArchiveOptions
	c := &cobra.Command{
		Use:   "archive [TABLE...]",
		Short: "Send the logs of tables, so that a restore can go to any moment",
		Long: `Sends the logs of tables to the repository, every so often until it is interrupted, so that
"cofre restore --at" can go to any moment since a backup. A table takes part once
"--on" was said for it: its logs wait in the store then until they are sent. Make a backup
after that; it is what a restore begins with.

    cofre backup archive --store ./clinic --on clinic.patients
    cofre backup create --store ./clinic --repo /backups
    cofre backup archive --store ./clinic --repo /backups

A store has one user at a time. A program that has it open archives by itself
(engine.Options.Background); between others, --once sends what waits and ends.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, n := range args {
				if err := checkTableName(n); err != nil {
					return err
				}
			}
			switch {
			case on && off, (on || off) && once:
				return &usageError{errors.New("--on, --off and --once exclude each other")}
			case (on || off) && len(args) == 0:
				return &usageError{errors.New("name the tables")}
			case o.Every < 0:
				return &usageError{errors.New("--every is negative")}
			}
			return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				if on || off {
					return a.setArchiving(cmd.Context(), s, args, on)
				}
				if len(args) > 0 {
					o.Tables = args
				}
				return a.withRepository(cmd.Context(), f, true, func(r *backup.Repository) error {
					if once {
						list, err := r.Archiver(o).Ship(cmd.Context(), s)
						if err == nil && len(list) == 0 {
							err = noneArchived
						}
						return errors.Join(a.archived(list, true), err)
					}
					if list, err := r.Archiver(o).Ship(cmd.Context(), s); err == nil && len(list) == 0 {
						return noneArchived
					}
					o.Report = func(list []backup.ArchiveStatus) { _ = a.archived(list, false) }
					err := r.Archiver(o).Run(cmd.Context(), s)
					if cmd.Context().Err() != nil {
						return nil // it was asked to end
					}
					return err
				})
			})
		},
	}
	fl := c.Flags()
	fl.BoolVar(&on, "on", false, "have the tables keep their logs from now on")
	fl.BoolVar(&off, "off", false, "have them keep none any more; what waits goes")
	fl.BoolVar(&once, "once", false, "send what waits, and end")
	fl.DurationVar(&o.Every, "every", backup.DefaultArchiveEvery, "how often, and so how much may be missing where the store is lost")
	return c
}

var noneArchived = &failure{exitNotFound, errors.New("no table keeps its logs"), `"cofre backup archive --on TABLE" has one do so`}

func (a *app) setArchiving(ctx context.Context, s *engine.Store, names []string, on bool) error {
	state := "keeps its logs for the archive"
	if !on {
		state = "keeps no logs"
	}
	for _, n := range names {
		t, err := s.Table(n)
		if err != nil {
			return err
		}
		if err := t.SetArchiving(ctx, on); err != nil {
			return of(n, err)
		}
		if err := a.print(struct {
			Table     string `json:"table"`
			Archiving bool   `json:"archiving"`
		}{n, on}, func(w io.Writer) { fmt.Fprintf(w, "table     %s %s\n", n, state) }); err != nil {
			return err
		}
	}
	return nil
}

// archived prints a round: all of it, or where something was sent or went wrong.
func (a *app) archived(list []backup.ArchiveStatus, all bool) error {
	for _, s := range list {
		if !all && s.Sent == 0 && s.Err == nil && s.Dropped == 0 || a.quiet && s.Err == nil {
			continue
		}
		if err := a.print(s, func(w io.Writer) {
			fmt.Fprintf(w, "table     %s: %s sent, up to %s", s.Table, size(s.Sent), when(s.UpTo))
			if s.Waiting > 0 {
				fmt.Fprintf(w, ", %s wait", size(s.Waiting))
			}
			if s.Dropped > 0 {
				fmt.Fprintf(w, ", %s lost because too much waited: make a backup", plural(s.Dropped, "segment"))
			}
			fmt.Fprintln(w)
			if s.Err != nil {
				fmt.Fprintf(w, "  error   %s\n", safeLine(s.Message))
			}
		}); err != nil {
			return err
		}
	}
	return nil
}
