package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A kmsKey is a key of the local key service as it is printed.
type kmsKey struct {
	Name      string       `json:"name"`
	URI       string       `json:"uri"`
	State     string       `json:"state"`
	CreatedAt time.Time    `json:"created_at"`
	Versions  []kmsVersion `json:"versions"`
	Location  string       `json:"location"`
}

type kmsVersion struct {
	Number    uint32    `json:"number"`
	CreatedAt time.Time `json:"created_at"`
}

func (k *kmsKey) write(w io.Writer) {
	fmt.Fprintf(w, "root key  %s (%s)\n          in %s (unsealed)\n", k.URI, k.State, k.Location)
	for i, v := range k.Versions {
		newest := ""
		if i == len(k.Versions)-1 {
			newest = ", wraps"
		}
		fmt.Fprintf(w, "version   %d, %s%s\n", v.Number, when(v.CreatedAt), newest)
	}
}

func (a *app) kmsCommand() *cobra.Command {
	c := group("kms", "Work on the root keys of the local key service",
		a.kmsListCommand(), a.kmsCreateCommand(), a.kmsDescribeCommand(), a.kmsDisableCommand(), a.kmsEnableCommand(), a.kmsRotateCommand())
	c.Long = `Works on the root keys of the local key service: the file that --keys names, or
` + defaultKeysHint() + `.

It needs no store. The file is unsealed: what it says of a key binds those who
use this file, not those who have a copy of it.`
	return c
}

// keyVerb is a verb that does something to a key of the service, and shows it.
func (a *app) keyVerb(use, short, long string, do func(ctx context.Context, s *local.Service, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				if err := do(cmd.Context(), s, args[0]); err != nil {
					return err
				}
				keys, err := list(s)
				if err != nil {
					return err
				}
				for _, k := range keys {
					if k.Name == args[0] {
						return a.print(k, k.write)
					}
				}
				return fmt.Errorf("%w: no key is named %q", keyring.ErrKeyNotFound, args[0])
			})
		},
	}
}

// withKeyService opens the key service. Only "create" makes its file.
func (a *app) withKeyService(cmd *cobra.Command, fn func(s *local.Service) error) (err error) {
	switch {
	case a.passphraseFile != "":
		return &usageError{errors.New("a passphrase is in no key service: --passphrase-file does not go with kms")}
	case cmd.Flags().Changed("key"):
		return &usageError{errors.New("kms takes the name of a key as its argument: --key does not go with it")}
	}
	s, err := a.keyService(cmd.Name() != "create")
	if errors.Is(err, keyring.ErrKeyNotFound) {
		return &failure{exitNotFound, err, `"cofre kms create NAME" makes the file; --keys names another`}
	}
	if err != nil {
		return kmsError(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return kmsError(fn(s))
}

// kmsError gives errors the hints of those who work on keys, not on a store.
func kmsError(err error) error {
	switch {
	case errors.Is(err, local.ErrKeyExists):
		return &failure{exitFailure, err, "choose another name"}
	case errors.Is(err, keyring.ErrKeyNotFound):
		return &failure{exitNotFound, err, `"cofre kms list" shows the keys; --keys names another file`}
	case errors.Is(err, local.ErrName):
		return &failure{exitUsage, err, "up to 64 letters, digits and . _ -, such as default or records-2026"}
	case errors.Is(err, local.ErrPermissions):
		return &failure{exitKey, err, "the error says what to do"}
	case errors.Is(err, engine.ErrCorruption):
		return &failure{exitCorruption, err, "is it a key service's file? If it is, restore it from a copy"}
	}
	return err
}

func list(s *local.Service) ([]*kmsKey, error) {
	infos, err := s.List()
	if err != nil {
		return nil, err
	}
	keys := make([]*kmsKey, len(infos))
	for i, info := range infos {
		k := &kmsKey{Name: info.Name, URI: info.URI, State: info.State.String(), CreatedAt: info.CreatedAt, Location: s.Path()}
		for _, v := range info.Versions {
			k.Versions = append(k.Versions, kmsVersion{v.Number, v.CreatedAt})
		}
		keys[i] = k
	}
	return keys, nil
}

func (a *app) kmsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys of the service",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				keys, err := list(s)
				if err != nil {
					return err
				}
				out := bufio.NewWriter(a.stdout)
				tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
				if !a.json {
					fmt.Fprintln(tw, "NAME\tSTATE\tCREATED\tVERSIONS\tROOT KEY")
				}
				for _, k := range keys {
					if a.json {
						if err := a.writeJSON(out, k); err != nil {
							return err
						}
						continue
					}
					fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", k.Name, k.State, when(k.CreatedAt), len(k.Versions), k.URI)
				}
				return errors.Join(tw.Flush(), out.Flush())
			})
		},
	}
}

func (a *app) kmsCreateCommand() *cobra.Command {
	return a.keyVerb("create", "Make a root key", `Makes a root key, and the service's file if there is none. Keep a copy of the
file where the store is not: without it nothing opens the store.`,
		func(ctx context.Context, s *local.Service, name string) error {
			key, err := s.CreateKey(ctx, name)
			if err == nil {
				a.explainKey(ctx, key)
			}
			return err
		})
}

func (a *app) kmsDescribeCommand() *cobra.Command {
	return a.keyVerb("describe", "Show a root key and its versions", "",
		func(context.Context, *local.Service, string) error { return nil })
}

func (a *app) kmsDisableCommand() *cobra.Command {
	return a.keyVerb("disable", "Refuse every use of a root key", `Refuses every use of a root key until it is enabled again: a store or a table
with that root key does not open. A program that has it open goes on with the
keys that it has unwrapped, until it next asks: when it opens a table anew, which
it may have closed when nobody used it, makes or drops a snapshot, or rotates.`,
		func(ctx context.Context, s *local.Service, name string) error { return s.Disable(ctx, name) })
}

func (a *app) kmsEnableCommand() *cobra.Command {
	return a.keyVerb("enable", "Allow the use of a root key again", "",
		func(ctx context.Context, s *local.Service, name string) error { return s.Enable(ctx, name) })
}

func (a *app) kmsRotateCommand() *cobra.Command {
	return a.keyVerb("rotate", "Give a root key new material", `Gives a root key a new version, which wraps from then on; the older ones unwrap
what they have wrapped, and stay needed for it. "cofre keys rotate-table TABLE"
then gives a table a new key under it.`,
		func(ctx context.Context, s *local.Service, name string) error {
			number, err := s.Rotate(ctx, name)
			if err == nil {
				a.note("renew your copies of %s: an older copy has no version %d of %s, and does not open what that wraps from now on.", s.Path(), number, name)
			}
			return err
		})
}
