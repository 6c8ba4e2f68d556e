package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

// storeStats are the figures of a store, with the root keys that were named.
type storeStats struct {
	*engine.Stats
	RootKeys []rootInfo `json:"root_keys"`
}

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show tables, files and keys of the store",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, roots *rootKeys) error {
				st, err := s.Stats(ctx)
				if err != nil {
					return err
				}
				doc := storeStats{Stats: st}
				for _, root := range roots.named {
					doc.RootKeys = append(doc.RootKeys, describeRoot(ctx, root))
				}
				return a.print(doc, doc.write)
			})
		},
	}
}

func (d *storeStats) write(w io.Writer) {
	fmt.Fprintf(w, "store     %s (%s), keyring generation %d\n", d.Dir, d.StoreID, d.KeyringGeneration)
	for _, root := range d.RootKeys {
		root.print(w)
	}
	fmt.Fprintf(w, "data keys %s\n\n", thousands(int64(d.DataKeys)))

	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "ENTRIES\tSIZE\tDATA KEYS\tKEY VERSION\tSNAPSHOTS\tOLDEST FILE\t  TABLE")
	for _, t := range d.Tables {
		fmt.Fprintf(tw, "~%s\t%s\t%d\t%d\t%d\t%s\t  %s\n", thousands(int64(t.Entries)), size(t.DiskBytes), t.DataKeys, t.KeyVersion, len(t.Snapshots), when(t.Oldest), t.Name)
	}
	tw.Flush()
	for _, t := range d.Tables {
		if t.Err != "" {
			fmt.Fprintf(w, "%s: %s\n", t.Name, safeLine(t.Err))
		}
	}
	fmt.Fprintln(w)
	writeFiles(w, d.Files)
}

// writeFiles is a table of files by kind.
func writeFiles(w io.Writer, files []engine.FileClass) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "FILES\tSIZE\t  KIND")
	for _, f := range files {
		fmt.Fprintf(tw, "%s\t%s\t  %s\n", thousands(int64(f.Files)), size(f.Bytes), f.Kind)
	}
	tw.Flush()
}
