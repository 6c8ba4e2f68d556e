package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make a store, and its root key if there is none",
		Long: `Makes an empty store in the directory that --store names. The root key is
made on first use; see "cofre help keys".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.store != "" {
				absent, err := storeAbsent(a.store)
				if err != nil {
					return err
				}
				if !absent {
					return fmt.Errorf("%s is a store already", a.store)
				}
			}
			ctx := cmd.Context()
			return a.withStore(ctx, engine.CreateIfMissing, func(s *engine.Store, root *rootKeys) error {
				key := describeRoot(ctx, root)
				return a.print(struct {
					Store   string     `json:"store"`
					StoreID keyring.ID `json:"store_id"`
					RootKey rootInfo   `json:"root_key"`
				}{a.store, s.ID(), key}, func(w io.Writer) {
					fmt.Fprintf(w, "store     %s (%s)\n", a.store, s.ID())
					key.print(w)
				})
			})
		},
	}
}
