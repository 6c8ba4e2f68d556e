package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

func (a *app) keysCommand() *cobra.Command {
	c := group("keys", "Rotate the keys of tables; what root keys are", a.rotateRootCommand(), a.rotateTableCommand())
	c.Long = `Root keys

A store holds only wrapped keys. What unwraps them is its root key, and that
lies outside of the store.

By default it is a key of the local key service: a file that holds named keys,
` + defaultKeysHint() + `. --keys FILE or COFRE_KEYS
names another file, --key NAME another key of it ("default"). The file must be
readable by its owner alone. It protects a store that is copied or stolen
without it, and against other users of the machine. It does not protect a
disk that holds both, and not against root. Keep a copy of it where the store
is not: without it nothing opens the store. "cofre kms" works on it.

With --passphrase-file FILE the root key is derived from the passphrase in
FILE, without the newline at its end, and --key gives it a name. The file must
be readable by its owner alone (chmod 600); a pipe will do as well. A store
made with a passphrase needs the same one, and the same --key, each time.

"init" and "import" make the root key of a new store, if there is none of that
name yet. But for "kms create" no other verb makes a key.

A table begins with the store's own root key and can get another
("keys rotate-root --to"). From then on --key names both, the store's own first:
--key default,other. Root keys that are not named are never used: who can write
the store's files cannot have a table's key wrapped by a root key of his own.`
	return c
}

func (a *app) rotateRootCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "rotate-root TABLE",
		Short: "Wrap a table's key anew, by the same root key or another",
		Long: `Wraps a table's key anew: one unwrap, one wrap, whatever the size of the table;
no file of it is read or written. Snapshots stay readable.

Without --to it is for a root key that has got new material ("cofre kms rotate"):
the table's key is wrapped by that.

With --to NAME the table gets another root key, and a new version of its own
key: who holds the former root key, and an old copy of the store's keyring,
cannot open files that are made from then on. Files that exist stay open to
him. From then on --key must name the new root key as well.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if to != "" {
				a.nameKey(to)
			}
			return a.withKeysOf(cmd, args[0], func(t *engine.Table, info engine.TableInfo, roots *rootKeys) error {
				root := roots.find(func(n namedRoot) bool { return n.name == to })
				if to == "" {
					root = roots.find(func(n namedRoot) bool { return n.URI() == info.RootKeys[0] })
				}
				if root == nil {
					return fmt.Errorf("%w: %s", keyring.ErrRootNotPinned, strings.Join(info.RootKeys, ", "))
				}
				if err := t.RotateRoot(ctx, root); err != nil {
					return err
				}
				if root.URI() != info.RootKeys[0] && !a.quiet {
					a.note("from now on %s opens with --key %s", t.Name(), strings.Join(a.keyNames, ","))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the name of the root key that the table gets")
	return c
}

// nameKey adds to the root keys that --key names.
func (a *app) nameKey(name string) {
	for _, n := range a.keyNames {
		if n == name {
			return
		}
	}
	a.keyNames = append(a.keyNames, name)
}

func (a *app) rotateTableCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-table TABLE",
		Short: "Give a table a new version of its key",
		Long: `Gives a table a new version of its key, under the same root key. Files that are
made from then on are sealed under it; those that exist stay as they are, and
stay readable: the older versions hang below the newest.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeysOf(cmd, args[0], func(t *engine.Table, _ engine.TableInfo, _ *rootKeys) error {
				return t.RotateKey(cmd.Context())
			})
		},
	}
}

// withKeysOf hands a table to change, and prints what keys it has then.
func (a *app) withKeysOf(cmd *cobra.Command, name string, change func(*engine.Table, engine.TableInfo, *rootKeys) error) error {
	if err := checkTableName(name); err != nil {
		return err
	}
	return a.withStore(cmd.Context(), engine.MustExist, func(s *engine.Store, roots *rootKeys) error {
		before, err := findTable(s, name)
		if err != nil {
			return err
		}
		t, err := s.Table(name)
		if err == nil {
			err = change(t, before, roots)
		}
		if err != nil {
			return err
		}
		after, err := findTable(s, name)
		if err != nil {
			return err
		}
		return a.print(after, func(w io.Writer) {
			fmt.Fprintf(w, "table     %s: key version %d, wrapped by %s\n", after.Name, after.KeyVersion, strings.Join(after.RootKeys, ", "))
		})
	})
}
