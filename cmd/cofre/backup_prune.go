package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
)

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
			for _, n := range []int{o.Keep.Last, o.Keep.Hourly, o.Keep.Daily, o.Keep.Weekly, o.Keep.Monthly, int(o.Keep.Within), int(o.Grace)} {
				if n < 0 {
					return &usageError{errors.New("a --keep rule or --grace is negative")}
				}
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
						fmt.Fprintf(w, "keep      %s  %s  %s\n", k.Backup.Name, when(k.Backup.Time), strings.Join(k.Reasons, ", "))
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
