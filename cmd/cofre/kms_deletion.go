package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/keyring/local"
)

func (a *app) kmsScheduleDeletionCommand() *cobra.Command {
	var days int
	c := a.keyVerb("schedule-deletion", "Destroy a root key after some days", `Refuses every use of a root key from now on, and destroys it after --days, 7 to
30. "cofre kms cancel-deletion NAME" keeps it until then. The first change of
the file after that date is what destroys it.

What a destroyed key has wrapped opens no more: stores and tables of which it
is the only root key are lost, and backups that were made while it was:
"cofre backup rewrap" makes them open with the root keys of now. It says which
stores the service knows of, and not which keys they have: "cofre keys roots" on
each tells.
A copy of the file from before still has the key.`,
		func(ctx context.Context, s *local.Service, name string) error {
			if days == 0 { // which is the default to the service, and no answer here
				return &local.DaysError{What: "until a key is destroyed", Min: local.MinDeletionDays, Max: local.MaxDeletionDays}
			}
			date, err := s.ScheduleDeletion(ctx, name, days)
			if err != nil {
				return err
			}
			a.note("%s is refused from now on, and destroyed after %s; \"cofre kms cancel-deletion %s\" keeps it.", name, when(date), name)
			return a.warnOfStores(s, name)
		})
	c.Flags().IntVar(&days, "days", local.DefaultDeletionDays, "days until the key is destroyed")
	return c
}

// warnOfStores names the stores that may need a key.
func (a *app) warnOfStores(s *local.Service, name string) error {
	const most = 20
	notes, err := s.Notes()
	if err != nil || len(notes) == 0 {
		return err
	}
	var ids []string
	for _, n := range notes[:min(most, len(notes))] {
		ids = append(ids, n.Store.String())
	}
	more := ""
	if len(notes) > most {
		more = " and " + thousands(int64(len(notes)-most)) + " more"
	}
	which := "any of the " + plural(len(notes), "store")
	if len(notes) == 1 {
		which = "the store"
	}
	a.note("warning: %s may be a root key of %s that this key service has served: %s%s.\nWhat it alone has wrapped will be lost; \"cofre keys roots\" on a store shows what that is.",
		name, which, strings.Join(ids, ", "), more)
	return nil
}

func (a *app) kmsCancelDeletionCommand() *cobra.Command {
	return a.keyVerb("cancel-deletion", "Keep a root key that is to be destroyed", `Keeps a root key that is pending deletion. It is disabled then; "cofre kms
enable NAME" allows its use again.`,
		func(ctx context.Context, s *local.Service, name string) error { return s.CancelDeletion(ctx, name) })
}
