package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/engine"
)

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
							fmt.Fprintf(w, "table     %s: its backups open with %s\n", t.Table, strings.Join(t.RootKeys, ", "))
							if len(t.Removed) > 0 {
								fmt.Fprintf(w, "  removed %s from before\n", plural(len(t.Removed), "lockbox"))
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
