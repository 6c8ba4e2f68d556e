package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A kmsAlias is an alias as it is printed.
type kmsAlias struct {
	Alias string `json:"alias"`
	Name  string `json:"name"`
}

func (a *app) kmsAliasCommand() *cobra.Command {
	c := group("alias", "Give root keys other names", a.aliasSetCommand(), a.aliasDeleteCommand(), a.aliasListCommand())
	c.Long = `Gives root keys other names. An alias stands wherever the name of a key does, as
alias/NAME: --key alias/NAME. A store never has the alias: it names the key that
the alias meant when the key wrapped. So when an alias goes to another key, the
stores that exist still need the former: --key alias/NAME,FORMER.`
	return c
}

func (a *app) aliasSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set ALIAS NAME",
		Short: "Make an alias of a key, or give it to another key",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				ctx := cmd.Context()
				err := s.CreateAlias(ctx, args[0], args[1])
				if errors.Is(err, local.ErrAliasExists) {
					err = s.UpdateAlias(ctx, args[0], args[1])
				}
				if err != nil {
					return err
				}
				all, err := aliases(s)
				if err != nil {
					return err
				}
				for _, al := range all {
					if al.Alias == args[0] || al.Alias == local.AliasPrefix+args[0] {
						return a.print(al, func(w io.Writer) { fmt.Fprintf(w, "alias     %s: %s\n", al.Alias, al.Name) })
					}
				}
				return fmt.Errorf("alias %q has gone again", args[0])
			})
		},
	}
}

func (a *app) aliasDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete ALIAS",
		Short: "Take an alias away; its key stays",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				err := s.DeleteAlias(cmd.Context(), args[0])
				if errors.Is(err, keyring.ErrKeyNotFound) {
					err = &failure{exitNotFound, err, `"cofre kms alias list" shows the aliases`}
				}
				return err
			})
		},
	}
}

func (a *app) aliasListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the aliases",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				all, err := aliases(s)
				if err != nil {
					return err
				}
				return printRows(a, "ALIAS\tKEY", all, func(al kmsAlias) string { return al.Alias + "\t" + al.Name })
			})
		},
	}
}

func aliases(s *local.Service) ([]kmsAlias, error) {
	all, err := s.Aliases()
	if err != nil {
		return nil, err
	}
	rows := make([]kmsAlias, len(all))
	for i, al := range all {
		rows[i] = kmsAlias{al.Name, al.Key}
	}
	return rows, nil
}
