package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

func (a *app) tableCommand() *cobra.Command {
	return group("table", "Create, list, describe and drop tables",
		a.tableCreateCommand(), a.tableListCommand(), a.tableDescribeCommand(), a.tableDropCommand())
}

func (a *app) tableCreateCommand() *cobra.Command {
	var opts engine.TableOptions
	c := &cobra.Command{
		Use:   "create TABLE",
		Short: "Create a table, named keyspace.table",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if opts.SeparateValuesFrom < 0 {
				return &usageError{errors.New("--separate-values-from is negative")}
			}
			if err := checkTableName(args[0]); err != nil {
				return err
			}
			return a.withStore(ctx, engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
				if _, err := s.CreateTable(ctx, args[0], opts); err != nil {
					return err
				}
				a.noteNewTable(s, args[0], roots)
				t, err := findTable(s, args[0])
				if err != nil {
					return err
				}
				return a.print(t, func(w io.Writer) { fmt.Fprintf(w, "table %s (%s)\n", t.Name, t.ID) })
			})
		},
	}
	c.Flags().IntVar(&opts.SeparateValuesFrom, "separate-values-from", 0, "keep values of at least so many bytes in files of their own (0: none)")
	c.Flags().BoolVar(&opts.NoCompression, "no-compression", false, "do not compress: sizes then tell less about what is inside")
	return c
}

// findTable looks a table up in the list, which takes no key call.
func findTable(s *engine.Store, name string) (engine.TableInfo, error) {
	for _, t := range s.Tables() {
		if t.Name == name {
			return t, nil
		}
	}
	return engine.TableInfo{}, fmt.Errorf("%w: %s", engine.ErrTableNotFound, name)
}

func (a *app) tableListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tables of the store",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), engine.ReadOnly, func(s *engine.Store, _ *rootKeys) error {
				out := bufio.NewWriter(a.stdout)
				tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
				if !a.json {
					fmt.Fprintln(tw, "TABLE\tID\tCREATED\tKEY VERSION\tROOT KEY")
				}
				for _, t := range s.Tables() {
					if a.json {
						if err := a.writeJSON(out, t); err != nil {
							return err
						}
						continue
					}
					fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", t.Name, t.ID, when(t.CreatedAt), t.KeyVersion, strings.Join(t.RootKeys, ", "))
				}
				return errors.Join(tw.Flush(), out.Flush())
			})
		},
	}
}

func (a *app) tableDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe TABLE",
		Short: "Describe a table, its keys and its snapshots",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := checkTableName(args[0]); err != nil {
				return err
			}
			return a.withStore(ctx, engine.ReadOnly, func(s *engine.Store, roots *rootKeys) error {
				info, err := findTable(s, args[0])
				if err != nil {
					return err
				}
				own := roots.byURI(info.RootKeys)
				if own == nil {
					return of(info.Name, fmt.Errorf("%w: %s", keyring.ErrRootNotPinned, strings.Join(info.RootKeys, ", ")))
				}
				t, err := s.Table(args[0])
				if err != nil {
					return err
				}
				bytes, err := t.ApproximateSize(nil, nil)
				if err != nil {
					return err
				}
				snapshots, err := t.Snapshots(ctx)
				if err != nil {
					return err
				}
				opts, err := t.Options(ctx)
				if err != nil {
					return err
				}
				doc := struct {
					engine.TableInfo
					Separate  int                   `json:"separate_values_from"`
					Compress  bool                  `json:"compression"`
					Bytes     uint64                `json:"approximate_bytes"`
					RootKey   rootInfo              `json:"root_key"`
					Snapshots []engine.SnapshotInfo `json:"snapshots"`
				}{info, opts.SeparateValuesFrom, !opts.NoCompression, bytes, describeRoot(ctx, own), snapshots}
				return a.print(doc, func(w io.Writer) {
					fmt.Fprintf(w, "table     %s (%s)\n", info.Name, info.ID)
					fmt.Fprintf(w, "created   %s\n", when(info.CreatedAt))
					fmt.Fprintf(w, "size      about %s in sorted files\n", size(int64(bytes)))
					if opts.NoCompression {
						fmt.Fprintln(w, "options   no compression")
					}
					if n := opts.SeparateValuesFrom; n > 0 {
						fmt.Fprintf(w, "options   values of %s and more apart\n", size(int64(n)))
					}
					fmt.Fprintf(w, "table key version %d\n", info.KeyVersion)
					for _, uri := range info.RootKeys {
						if uri == doc.RootKey.URI {
							doc.RootKey.print(w)
							continue
						}
						fmt.Fprintf(w, "root key  %s\n", uri)
					}
					for _, n := range doc.Snapshots {
						fmt.Fprintf(w, "snapshot  %s, %s, %s, %s\n", n.Name, when(n.CreatedAt), plural(n.Files, "file"), size(n.Bytes))
					}
				})
			})
		},
	}
}

func (a *app) tableDropCommand() *cobra.Command {
	var yes bool
	var opts engine.DropOptions
	c := &cobra.Command{
		Use:   "drop TABLE",
		Short: "Drop a table: destroy its wrapped keys, then its files",
		Long: `Destroys the table's wrapped keys first and its files then, and says what
copies elsewhere could still open. It asks before it does; --yes answers.

Copies open as long as the table's root key lives. Where the table has one of its own
("keys rotate-root --to"), --destroy-root-key-after DAYS has the key service destroy
it too, which makes the drop final; until then "kms cancel-deletion" calls it off.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := checkTableName(args[0]); err != nil {
				return err
			}
			if n := opts.DestroyRootsAfter; n != 0 && (n < local.MinDeletionDays || n > local.MaxDeletionDays) {
				return &usageError{fmt.Errorf("a root key is destroyed after %d to %d days, not %d", local.MinDeletionDays, local.MaxDeletionDays, n)}
			}
			return a.withStore(ctx, engine.MustExist, func(s *engine.Store, _ *rootKeys) error {
				t, err := findTable(s, args[0])
				if err != nil {
					return err
				}
				if !yes {
					if err := a.confirm(fmt.Sprintf("Drop table %s for good?", t.Name)); err != nil {
						return err
					}
				}
				report, err := s.DropTable(ctx, args[0], opts)
				if report == nil {
					return err
				}
				return errors.Join(a.printDrop(report), err)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&opts.WithSnapshots, "with-snapshots", false, "drop the table's snapshots too")
	c.Flags().IntVar(&opts.DestroyRootsAfter, "destroy-root-key-after", 0, "have the table's own root key destroyed after so many days, 7 to 30 (0: leave it)")
	return c
}

// confirm asks on the terminal. Where there is none, the answer is no.
func (a *app) confirm(question string) error {
	if !isTerminal(a.stdin) {
		return &usageError{errors.New("standard input is no terminal to ask on: --yes drops without asking")}
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was dropped")
}

func (a *app) printDrop(r *engine.DropReport) error {
	return a.print(r, func(w io.Writer) {
		fmt.Fprintf(w, "dropped   %s (%s): %s, %s\n", r.Table, r.ID, plural(r.Files, "file"), size(r.Bytes))
		if len(r.Snapshots) > 0 {
			fmt.Fprintf(w, "with it   %s: %s\n", plural(len(r.Snapshots), "snapshot"), strings.Join(r.Snapshots, ", "))
		}
		fmt.Fprintf(w, "destroyed %s of its key, wrapped by %s\n", plural(len(r.KeyVersions), "version"), strings.Join(r.RootKeys, ", "))
		for _, d := range r.Destroyed {
			fmt.Fprintf(w, "root key  %s will be destroyed %s\n", d.URI, when(d.At))
		}
		if !r.ArchiveGrantsUntil.IsZero() {
			fmt.Fprintf(w, "grants    for its last archive stay until %s\n", when(r.ArchiveGrantsUntil))
		}
		if r.StillOpenable != "" {
			fmt.Fprintln(w, r.StillOpenable)
		}
	})
}
