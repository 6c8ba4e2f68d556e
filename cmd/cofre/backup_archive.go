package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/engine"
)

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
					switch list, err := r.Archiver(o).Ship(cmd.Context(), s); {
					case err == nil && len(list) == 0:
						return noneArchived
					case errors.Is(err, engine.ErrNotArchiving):
						return err
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
