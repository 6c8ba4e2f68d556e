package main

import (
	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

func (a *app) keepCommand() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use:   "keep TABLE",
		Short: "Keep a table whose key is lost from being archived and dropped",
		Long: `Stops the clock of a table whose key is lost. A program that opens the store with a
policy for lost keys archives such a table after a while, and drops it later; "keys
status" tells when. This command has no such policy, and takes no step itself. What
it marks binds the programs that open the store afterwards, until the key is back or
"keys keep --undo". Then the clock goes on, and a day is left at least.

The table's key is not needed, the store's is; and no program may have the store open.
To end it all, have the key service allow the key again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, state := args[0], "kept"
			if undo {
				state = "not kept any more"
			}
			if err := checkTableName(name); err != nil {
				return err
			}
			return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				return a.said(s.KeepTable(cmd.Context(), name, !undo), name, state)
			})
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "let the clock go on")
	return c
}
