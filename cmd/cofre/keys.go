package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
)

func (a *app) keysCommand() *cobra.Command {
	c := group("keys", "Show, rotate, renew and retire keys; add and remove root keys; what root keys are",
		a.keysStatusCommand(), a.rotateRootCommand(), a.rotateTableCommand(), a.reencryptCommand(), a.retireCommand(),
		a.addRootCommand(), a.removeRootCommand(), a.rootsCommand(), a.recoveryCommand(),
		a.lockCommand(), a.unlockCommand(), a.scheduleCommand(), a.keepCommand())
	c.Long = `Root keys

A store holds only wrapped keys. What unwraps them is its root key, and that
lies outside of the store.

By default it is a key of the local key service: a file that holds named keys,
` + defaultKeysHint() + `. --keys FILE or COFRE_KEYS
names another file, --key NAME another key of it ("default"). The file must be
readable by its owner alone. It protects a store that is copied or stolen
without it, and against other users of the machine. It does not protect a
disk that holds both, and not against root, unless it is sealed: see "cofre help
kms". Keep a copy of it where the store is not: without it nothing opens the
store. "cofre kms" works on it.

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
cannot have a table's key wrapped by a root key of his own.

A table may have several root keys, and so may the store itself, whose own key
opens the list of tables: "keys add-root", with --store-key for the store. Any one
of them that is named opens it. To rotate its keys all must be named.

A recovery key is a root key on paper. "keys recovery add" makes one and writes a
sheet to print; the store then wraps its keys for it, and cannot unwrap them. With
the sheet "keys recovery open" opens a copy of the store on a machine that has
nothing else. Its public key lies in recovery.pub beside the key service's file, or
where --recovery or COFRE_RECOVERY says; only its owner may write to that.`
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
		a.noteRecovery(name, before.RootKeys, roots)
		t, err := s.Table(name)
		if err == nil {
			err = change(t, before, roots)
		}
		if err != nil {
			return ofRecovery(of(name, err))
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
