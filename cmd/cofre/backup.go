package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

func (a *app) backupCommand() *cobra.Command {
	f := &repoFlags{}
	c := group("backup", "Make, list, verify and prune backups",
		a.backupCreateCommand(f), a.backupListCommand(f), a.backupShowCommand(f), a.backupVerifyCommand(f),
		a.backupDiffCommand(f), a.backupPruneCommand(f), a.backupRemoveCommand(f), a.backupPinCommand(f, true),
		a.backupPinCommand(f, false), a.backupCopyCommand(f), a.backupRewrapCommand(f), a.backupStatsCommand(f), a.backupForgetCommand(), a.backupArchiveCommand(f),
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
						return ofCreate(cmd.Context(), err)
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

// ofCreate says how a backup goes on that was interrupted.
func ofCreate(ctx context.Context, err error) error {
	if code, _ := judge(ctx, err); code == exitInterrupted {
		return &failure{code, err, `there is no new backup; the next "cofre backup create" sends what is missing`}
	}
	return err
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
				name := backup.Latest
				if len(args) > 0 {
					name = args[0]
				}
				b, err := r.Find(cmd.Context(), name)
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
							fmt.Fprintf(w, "  keys    %s of the table's key\n", versions(t.Needed()))
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
		names[i] = nameIn(ctx, r, t, roots.all())
	}
	return names
}

// nameIn is the name of a backup's table, "" where no root key tells.
func nameIn(ctx context.Context, r *backup.Repository, t backup.BackupTable, roots []keyring.RootKey) string {
	keys, err := r.Keys(ctx, t.Table, t.Needed(), roots)
	if err != nil {
		return ""
	}
	defer keys.Wipe()
	name, _ := engine.TableName(keys)
	return name
}

// versions names versions of a table's key.
func versions(list []uint32) string {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
	if len(list) == 1 {
		return "version " + text
	}
	return "versions " + text
}

func (a *app) backupDiffCommand(f *repoFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "diff BACKUP BACKUP",
		Short: "List the files that two backups do not share",
		Long: `Lists the files that only one of two backups has: "-" is the first, "+" the second.
Tables are named where the root keys that --key names open their lockboxes.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepository(cmd.Context(), f, false, func(r *backup.Repository) error {
				list, err := r.Diff(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				names := make(map[keyring.ID]string)
				for _, name := range args {
					b, err := r.Find(cmd.Context(), name)
					if err != nil {
						return err
					}
					for i, n := range a.tableNames(cmd.Context(), r, b) {
						names[b.Tables[i].Table] = cmp.Or(n, b.Tables[i].Table.String())
					}
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
					fmt.Fprintf(out, "%s %s %s  %s\n", sign, names[d.Table], d.File, size(d.Bytes))
				}
				return out.Flush()
			})
		},
	}
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
