package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/recovery"
)

// A holder has a key that root keys wrap: a table, or the store itself.
type holder interface {
	RotateRoot(ctx context.Context, root keyring.RootKey) error
	AddRoot(ctx context.Context, root keyring.RootKey) error
	ReplaceRoot(ctx context.Context, from string, root keyring.RootKey) error
	RemoveRoot(ctx context.Context, uris ...string) error
}

// storeKeyName is what the store's own key is called among the tables.
const storeKeyName = "store key"

// A rootsChange is a verb that changes the root keys of a table, or with --store-key
// those of the store.
type rootsChange struct {
	use, short, long string
	min, max         int  // of root keys among its arguments
	add              bool // they have to be there
	do               func(ctx context.Context, h holder, now []string, roots *rootKeys, args []string) error
}

func (a *app) rootsVerb(v rootsChange) *cobra.Command {
	var ofStore bool
	c := &cobra.Command{Use: v.use, Short: v.short, Long: v.long}
	c.Args = func(cmd *cobra.Command, args []string) error {
		tables := 1
		if ofStore {
			tables = 0
		}
		return cobra.RangeArgs(tables+v.min, tables+v.max)(cmd, args)
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		table := ""
		if !ofStore {
			table, args = args[0], args[1:]
			if err := checkTableName(table); err != nil {
				return err
			}
		}
		for _, root := range args {
			if v.add && !slices.Contains(a.keyNames, root) {
				a.keyNames = append(a.keyNames, root)
			}
		}
		return a.changeRoots(cmd, table, func(h holder, now []string, roots *rootKeys) error {
			return v.do(cmd.Context(), h, now, roots, args)
		})
	}
	c.Flags().BoolVar(&ofStore, "store-key", false, "the root keys of the store itself, which opens the list of tables; then no TABLE is named")
	return c
}

// changeRoots hands a table to change, or the store where none is named, and prints
// what root keys it has then.
func (a *app) changeRoots(cmd *cobra.Command, table string, change func(h holder, now []string, roots *rootKeys) error) error {
	if table != "" {
		return a.withKeysOf(cmd, table, func(t *engine.Table, info engine.TableInfo, roots *rootKeys) error {
			return change(t, info.RootKeys, roots)
		})
	}
	return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
		a.noteRecovery(storeKeyName, s.RootKeys(), roots)
		if err := change(s, s.RootKeys(), roots); err != nil {
			return ofRecovery(of(storeKeyName, err))
		}
		doc := struct {
			Store    string     `json:"store"`
			StoreID  keyring.ID `json:"store_id"`
			RootKeys []string   `json:"root_keys"`
		}{a.store, s.ID(), s.RootKeys()}
		return a.print(doc, func(w io.Writer) {
			fmt.Fprintf(w, "store key wrapped by %s\n", strings.Join(doc.RootKeys, ", "))
		})
	})
}

// noteRecovery tells of recovery keys that something has and that are not configured:
// no rotation can go on with them.
func (a *app) noteRecovery(what string, uris []string, roots *rootKeys) {
	for _, uri := range uris {
		if recovery.IsRecovery(uri) && !roots.pins(uri) {
			a.note("%s has the recovery key %s, and its public key is not configured: --recovery names the file that holds it. Until then its keys cannot be rotated; they can still be opened with its sheet.", what, uri)
		}
	}
}

// noteNewTable tells of recovery keys of the store that a new table was not wrapped for.
func (a *app) noteNewTable(s *engine.Store, table string, roots *rootKeys) {
	for _, uri := range s.RootKeys() {
		if recovery.IsRecovery(uri) && !roots.pins(uri) {
			a.note("%s is not wrapped for the store's recovery key %s, whose public key is not configured: --recovery names the file that holds it. Then \"cofre keys recovery add %s\" wraps it.", table, uri, table)
		}
	}
}

// ofRecovery gives an error that a recovery key is not pinned a hint of its own.
func ofRecovery(err error) error {
	var ke *keyring.KeyError
	if errors.As(err, &ke) && errors.Is(err, keyring.ErrRootNotPinned) && recovery.IsRecovery(ke.URI) {
		return &failure{exitKey, err, `the public key of this recovery key is not configured: name the file that has it with --recovery, a line for each where there are several, or take the key away with "cofre keys remove-root"`}
	}
	return err
}

// uriOf is the URI of a root key that is named, whether it exists or not.
func uriOf(name string, roots *rootKeys) string {
	if strings.Contains(name, ":") {
		return name
	}
	if root := roots.byName(name); root != nil {
		return root.URI()
	}
	return "cofre-local:" + name
}

func (a *app) addRootCommand() *cobra.Command {
	return a.rootsVerb(rootsChange{
		use: "add-root {TABLE | --store-key} NAME", min: 1, max: 1, add: true,
		short: "Have a further root key wrap the key of a table, or of the store",
		long: `Has the root key NAME of the local key service wrap the table's key too: one
unwrap, one wrap, whatever the size of the table. From then on any one of its root
keys opens the table, so that losing one loses no data. The table's key is the
same; new tables need an add-root of their own.

With --store-key it wraps the store's own key too, without which the store does
not open: a second root key of every table is of little use without one there.`,
		do: func(ctx context.Context, h holder, _ []string, roots *rootKeys, args []string) error {
			return h.AddRoot(ctx, roots.byName(args[0]))
		},
	})
}

func (a *app) removeRootCommand() *cobra.Command {
	return a.rootsVerb(rootsChange{
		use: "remove-root {TABLE | --store-key} ROOT...", min: 1, max: keyring.MaxWraps,
		short: "Take root keys away from a table, or from the store",
		long: `Takes root keys away, named as --key names them or by their URIs; they may be lost.
Several that are lost go at once or not at all. The table's key gets a new version,
wrapped by the root keys that stay, which --key and --recovery must name: files that
are made from then on do not open to who holds one that goes and a copy of the store.

Data that exists stays open to him until it is encrypted anew ("cofre keys
reencrypt TABLE"), and copies of the store that he has stay open for good.

The last root key cannot go, nor the last that is no recovery key.`,
		do: func(ctx context.Context, h holder, now []string, roots *rootKeys, args []string) error {
			var uris []string
			for _, name := range args {
				uris = append(uris, uriOf(name, roots))
			}
			if err := h.RemoveRoot(ctx, uris...); err != nil {
				return err
			}
			gone := strings.Join(uris, " and ")
			if _, ok := h.(*engine.Store); ok {
				a.note(`copies of the store that were made before stay open to %s. The tables have root keys of their own: "cofre keys roots" shows them.`, gone)
				return nil
			}
			a.note(`data that exists stays open to %s until it is encrypted anew: "cofre keys reencrypt TABLE". Copies of the store that were made before stay open to it for good.`, gone)
			return nil
		},
	})
}

func (a *app) rotateRootCommand() *cobra.Command {
	var to, from string
	var added bool // by --to, to what --key names
	var c *cobra.Command
	c = a.rootsVerb(rootsChange{
		use:   "rotate-root {TABLE | --store-key}",
		short: "Wrap a table's key anew, by the same root keys or another",
		long: `Wraps a table's key anew: one unwrap, and one wrap for each of its root keys,
whatever the size of the table; no file of it is read or written. Snapshots stay
readable. With --store-key it is the store's own key.

With --to NAME the table gets another root key of the local key service in place of
its own, or of the one that --from names where it has several, and a new version of
its own key: who holds the former root key, and a copy of the store, cannot open
files that are made from then on, unless his copy of the key service's file has the
new root key too. Files that exist stay open to him. From then on --key must name
the new root key as well. Backups open with the former one until "cofre backup
rewrap" was run: keep it until then.

Without --to the table keeps its root keys, whose newest material then wraps the
table's key, after "cofre kms rotate". The table's key is the same: that keeps
nobody out who could open it before. "cofre keys rotate-table" does, for files
that are made from then on.`,
		do: func(ctx context.Context, h holder, now []string, roots *rootKeys, _ []string) error {
			if !c.Flags().Changed("to") {
				root := roots.byURI(now)
				if root == nil {
					return fmt.Errorf("%w: %s", keyring.ErrRootNotPinned, strings.Join(now, ", "))
				}
				return h.RotateRoot(ctx, root)
			}
			root := roots.byName(to)
			var err error
			if from != "" {
				err = h.ReplaceRoot(ctx, uriOf(from, roots), root)
			} else {
				err = h.RotateRoot(ctx, root)
			}
			if err != nil {
				return err
			}
			name := storeKeyName
			if t, ok := h.(*engine.Table); ok {
				name = t.Name()
			}
			switch {
			case from == "" && slices.Contains(now, root.URI()):
				a.note(`%s had the root key %s before: it is wrapped by its newest material, and is the same key. "cofre keys rotate-table" makes another.`, name, root.URI())
			case added:
				a.note("%s has the root key %s: from now on name it too, as in --key %s", name, root.URI(), strings.Join(a.keyNames, ","))
			}
			return nil
		},
	})
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		moves := c.Flags().Changed("to")
		if from != "" && !moves {
			return &usageError{errors.New("--from says which root key --to replaces: it does not go alone")}
		}
		if added = moves && !slices.Contains(a.keyNames, to); added {
			a.keyNames = append(a.keyNames, to)
		}
		return run(cmd, args)
	}
	c.Flags().StringVar(&to, "to", "", "the name of the root key that the table gets")
	c.Flags().StringVar(&from, "from", "", "the root key that it replaces, by name or URI; needed where there are several")
	return c
}

// A rootRow is a root key of a table or of the store, as "keys roots" lists it.
type rootRow struct {
	Key        string `json:"key"` // a table, or "store key"
	RootKey    string `json:"root_key"`
	Configured bool   `json:"configured"`
	Recovery   bool   `json:"recovery"`
}

func (a *app) rootsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "roots",
		Short: "List the root keys of the store and of each table",
		Long: `Lists the root keys of the store's own key and of each table's. Any one that is
configured, by --key or as a recovery key with its sheet, opens it. One that is not
is never used, and keys that it wraps cannot be rotated before it is named or
removed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), engine.ReadOnly, func(s *engine.Store, roots *rootKeys) error {
				var rows []rootRow
				list := func(key string, uris []string) {
					for _, uri := range uris {
						rows = append(rows, rootRow{key, uri, roots.pins(uri), recovery.IsRecovery(uri)})
					}
				}
				list(storeKeyName, s.RootKeys())
				for _, t := range s.Tables() {
					list(t.Name, t.RootKeys)
				}
				out := bufio.NewWriter(a.stdout)
				if a.json {
					for _, r := range rows {
						if err := a.writeJSON(out, r); err != nil {
							return err
						}
					}
					return out.Flush()
				}
				tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
				fmt.Fprintln(tw, "KEY\tROOT KEY\t")
				for _, r := range rows {
					state := ""
					switch {
					case !r.Configured:
						state = "not configured"
					case r.Recovery:
						state = "recovery, offline"
					}
					fmt.Fprintf(tw, "%s\t%s\t%s\n", r.Key, r.RootKey, state)
				}
				return errors.Join(tw.Flush(), out.Flush())
			})
		},
	}
}
