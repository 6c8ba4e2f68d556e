package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

func (a *app) keysCommand() *cobra.Command {
	c := group("keys", "Show, rotate, renew and retire the keys of tables; what root keys are",
		a.keysStatusCommand(), a.rotateRootCommand(), a.rotateTableCommand(), a.reencryptCommand(),
		a.retireCommand(), a.lockCommand(), a.unlockCommand(), a.scheduleCommand())
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

Tables of a store may have different root keys of one key service. --key then
names all that are needed, and the first is the one that a new store or a new
table gets: --key default,other. "keys rotate-root --to" gives a table another.
Root keys that are not named are never used: who can write the store's files
cannot have a table's key wrapped by a root key of his own. The list of tables
stays wrapped by the root key that the store was made with.`
	return c
}

func (a *app) rotateRootCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "rotate-root TABLE",
		Short: "Wrap a table's key anew, by the same root key or another",
		Long: `Wraps a table's key anew: one unwrap, one wrap, whatever the size of the table;
no file of it is read or written. Snapshots stay readable.

With --to NAME the table gets another root key of the local key service, and a
new version of its own key: who holds the former root key, and a copy of the
store, cannot open what is written from then on, unless his copy of the key
service's file has the new root key too. Files that exist stay open to him until
"cofre keys reencrypt". From then on --key must name the new root key as well.

Without --to the table keeps its root key, whose newest material then wraps the
table's key, after "cofre kms rotate". The table's key is the same: that keeps
nobody out who could open it before. "cofre keys rotate-table" does, for files
that are made from then on.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			moves := cmd.Flags().Changed("to")
			if moves && !slices.Contains(a.keyNames, to) {
				a.keyNames = append(a.keyNames, to)
			}
			return a.withKeysOf(cmd, args[0], func(t *engine.Table, info engine.TableInfo, roots *rootKeys) error {
				root := roots.byURI(info.RootKeys)
				if moves {
					root = roots.byName(to)
				}
				if root == nil {
					return fmt.Errorf("%w: %s", keyring.ErrRootNotPinned, strings.Join(info.RootKeys, ", "))
				}
				if err := t.RotateRoot(ctx, root); err != nil {
					return err
				}
				if first := roots.named[0]; moves && root.URI() != first.URI() {
					a.note("%s has the root key %s: from now on name it too, as in --key %s,%s", t.Name(), root.URI(), first.name, to)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the name of the root key that the table gets")
	return c
}

func (a *app) rotateTableCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-table TABLE",
		Short: "Give a table a new version of its key",
		Long: `Gives a table a new version of its key, under the same root key and its newest
material. What is written from then on is sealed under it: who has the former
version of the table's key does not open that. Files that exist stay as they are,
and stay readable. The data keys of all of them are wrapped by the new version as
well, so that "cofre keys retire" can destroy the former one.`,
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
			return of(name, err)
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
