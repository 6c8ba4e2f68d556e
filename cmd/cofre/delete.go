package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

func (a *app) deleteCommand() *cobra.Command {
	var keys keyArg
	var from, to string
	c := &cobra.Command{
		Use:   "delete TABLE {KEY... | --from KEY --to KEY}",
		Short: "Delete keys, or a range of keys",
		Long: `Deletes keys, all of them or none, durably. --from and --to delete the range
from the first key up to, and not with, the second. A key that is not there is
no error.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ranged := cmd.Flags().Changed("from") && cmd.Flags().Changed("to")
			if half := cmd.Flags().Changed("from") != cmd.Flags().Changed("to"); half || ranged == (len(args) > 1) {
				return &usageError{errors.New("give keys, or both --from and --to")}
			}
			if ranged {
				return a.deleteRange(cmd, args[0], &keys, from, to)
			}
			list := make([][]byte, 0, len(args)-1)
			for _, arg := range args[1:] {
				key, err := keys.bytes(arg)
				if err != nil {
					return err
				}
				list = append(list, key)
			}
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) (err error) {
				b := t.NewBatch()
				defer func() { err = errors.Join(err, b.Close()) }()
				for _, key := range list {
					if err := b.Delete(key); err != nil {
						return err
					}
				}
				if err := b.Commit(nil); err != nil || !a.json {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "{\"table\":%q,\"keys\":%d}\n", t.Name(), len(list))
				return err
			})
		},
	}
	keys.flag(c.Flags())
	c.Flags().StringVar(&from, "from", "", "the first key of the range")
	c.Flags().StringVar(&to, "to", "", "the key behind the range")
	return c
}

func (a *app) deleteRange(cmd *cobra.Command, table string, keys *keyArg, from, to string) error {
	first, err := keys.bytes(from)
	if err != nil {
		return err
	}
	end, err := keys.bytes(to)
	if err != nil {
		return err
	}
	if bytes.Compare(first, end) >= 0 {
		return &usageError{errors.New("the range is empty: --from must lie before --to")}
	}
	return a.withTable(cmd.Context(), engine.MustExist, table, func(t *engine.Table) error {
		if err := t.DeleteRange(first, end, nil); err != nil || !a.json {
			return err
		}
		line := records.AppendField(fmt.Appendf(nil, "{\"table\":%q,", t.Name()), "from", first)
		line = records.AppendField(append(line, ','), "to", end)
		_, err := a.stdout.Write(append(line, "}\n"...))
		return err
	})
}
