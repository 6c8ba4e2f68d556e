package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

func (a *app) backupForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget REPOSITORY [TABLE...]",
		Short: "Have tables forget a repository that is gone",
		Long: `Has the tables named, or all, forget the backups that they have in a repository, which is
given by its place or its id as "keys status" and "keys retire" show it. It is for one that
is gone for good: versions of a table's key that only its backups needed can be retired
then, and what is left of such backups opens no more. The repository itself is not touched,
and need not be there. The next backup into it, if there is one, is noted again.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, n := range args[1:] {
				if err := checkTableName(n); err != nil {
					return err
				}
			}
			return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				names := args[1:]
				if len(names) == 0 {
					for _, info := range s.Tables() {
						names = append(names, info.Name)
					}
				}
				found := false
				var errs []error
				for _, n := range names {
					t, err := s.Table(n)
					if err != nil {
						return err
					}
					forgot, err := a.forget(cmd.Context(), t, args[0])
					if err != nil {
						errs = append(errs, of(n, err)) // the others go on
					}
					found = found || forgot
				}
				if !found && len(errs) == 0 {
					return &failure{exitNotFound, fmt.Errorf("no table has backups in a repository %s", args[0]), `"cofre keys status" shows which backups need a version of a key`}
				}
				return errors.Join(errs...)
			})
		},
	}
}

// forget has a table forget the repository of a place or an id.
func (a *app) forget(ctx context.Context, t *engine.Table, repository string) (forgot bool, err error) {
	notes, err := t.Backups(ctx)
	if err != nil {
		return false, err
	}
	id, _ := keyring.ParseID(repository)
	place, _ := filepath.Abs(repository)
	for _, n := range notes {
		if n.Repository != id && n.Location != repository && n.Location != place {
			continue
		}
		if err := t.NoteBackups(ctx, engine.BackupNote{Repository: n.Repository}); err != nil {
			return forgot, err
		}
		forgot = true
		if err := a.print(struct {
			Table      string     `json:"table"`
			Repository keyring.ID `json:"repository"`
			Location   string     `json:"location"`
			Versions   []uint32   `json:"versions"`
		}{t.Name(), n.Repository, n.Location, n.Versions}, func(w io.Writer) {
			fmt.Fprintf(w, "table     %s has forgotten repository %s in %s\n", t.Name(), n.Repository, safeLine(n.Location))
		}); err != nil {
			return forgot, err
		}
	}
	return forgot, nil
}
