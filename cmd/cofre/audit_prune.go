package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

func (a *app) auditPruneCommand() *cobra.Command {
	var days int
	var bytes int64
	c := &cobra.Command{
		Use:   "prune --keep-days DAYS | --keep-bytes BYTES",
		Short: "Remove the oldest files of the log",
		Long: `Removes the files of the log whose records are all older than --keep-days, and, the
oldest first, those that make it longer than --keep-bytes. The file that is being
written stays.

What goes is verified first; a log that was changed is not pruned. A record says
where the log begins from then on, so that "cofre audit verify" authenticates all
that is kept, and misses what somebody else removes. It takes the root key that the
store had when what goes was recorded. A head from before can no longer be found.

A program that has the store open prunes the log by itself, to 1 GiB unless it says
otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const most = 100 * 365
			switch {
			case days < 0 || days > most:
				return &usageError{fmt.Errorf("records are kept for 0 to %d days", most)}
			case bytes < 0:
				return &usageError{errors.New("a log has at least 0 bytes")}
			case days == 0 && bytes == 0:
				return &usageError{errors.New("nothing bounds the log: use --keep-days or --keep-bytes, or both")}
			}
			opts := engine.Options{Mode: engine.MustExist, Audit: engine.AuditOptions{KeepBytes: -1}}
			return a.withStoreAs(cmd.Context(), opts, func(s *engine.Store, _ *rootKeys) error {
				rep, err := s.PruneAudit(cmd.Context(), time.Duration(days)*day, bytes)
				if err != nil {
					return err
				}
				return a.print(rep, func(w io.Writer) {
					if rep.Files == 0 {
						fmt.Fprintln(w, "nothing is removed")
						return
					}
					fmt.Fprintf(w, "removed   %s, %s: records 1 to %s\n", plural(rep.Files, "file"), size(rep.Bytes), thousands(int64(rep.Records)))
				})
			})
		},
	}
	c.Flags().IntVar(&days, "keep-days", 0, "keep records for so many days (0: age does not count)")
	c.Flags().Int64Var(&bytes, "keep-bytes", 0, "keep so many bytes (0: size does not count)")
	return c
}
