package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "Create, list and drop snapshots of a table",
		a.snapshotCreateCommand(), a.snapshotListCommand(), a.snapshotDropCommand())
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "create TABLE NAME",
		Short: "Keep the table as it is now, under a name",
		Long: `Keeps the table as it is now, under a name. Files are linked, not copied.
"get", "scan" and "export" read it with --snapshot NAME.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				s, err := t.Snapshot(cmd.Context(), args[1])
				if err != nil {
					return err
				}
				return a.print(s, func(w io.Writer) {
					fmt.Fprintf(w, "snapshot %s of %s: %s, %s\n", s.Name, t.Name(), plural(s.Files, "file"), size(s.Bytes))
				})
			})
		},
	}
}

func (a *app) snapshotListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list TABLE",
		Short: "List the snapshots of a table",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTable(cmd.Context(), engine.ReadOnly, args[0], func(t *engine.Table) error {
				list, err := t.Snapshots(cmd.Context())
				if err != nil {
					return err
				}
				out := bufio.NewWriter(a.stdout)
				tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
				if !a.json {
					fmt.Fprintln(tw, "SNAPSHOT\tID\tCREATED\tFILES\tSIZE")
				}
				for _, s := range list {
					if a.json {
						if err := a.writeJSON(out, s); err != nil {
							return err
						}
						continue
					}
					fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", s.Name, s.ID, when(s.CreatedAt), s.Files, size(s.Bytes))
				}
				return errors.Join(tw.Flush(), out.Flush())
			})
		},
	}
}

func (a *app) snapshotDropCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drop TABLE NAME",
		Short: "Drop a snapshot",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				if err := t.DropSnapshot(cmd.Context(), args[1]); err != nil || !a.json {
					return err
				}
				return a.writeJSON(a.stdout, struct {
					Table    string `json:"table"`
					Snapshot string `json:"snapshot"`
				}{t.Name(), args[1]})
			})
		},
	}
}
