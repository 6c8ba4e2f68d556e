package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A kmsKey is a key of the local key service as it is printed.
type kmsKey struct {
	Name         string       `json:"name"`
	ID           keyring.ID   `json:"id"`
	URI          string       `json:"uri"`
	State        string       `json:"state"`
	CreatedAt    time.Time    `json:"created_at"`
	DeletionDate time.Time    `json:"deletion_date,omitzero"`
	RotationDays int          `json:"rotation_days,omitempty"`
	NextRotation time.Time    `json:"next_rotation,omitzero"`
	Aliases      []string     `json:"aliases,omitempty"`
	Versions     []kmsVersion `json:"versions"`
	Location     string       `json:"location"`
	Sealed       bool         `json:"sealed"`
}

type kmsVersion struct {
	Number    uint32    `json:"number"`
	CreatedAt time.Time `json:"created_at"`
}

func (k *kmsKey) write(w io.Writer) {
	seal := "unsealed"
	if k.Sealed {
		seal = "sealed"
	}
	fmt.Fprintf(w, "root key  %s (%s)\n          in %s (%s)\n", k.URI, k.State, k.Location, seal)
	if !k.DeletionDate.IsZero() {
		fmt.Fprintf(w, "deletion  %s\n", when(k.DeletionDate))
	}
	if len(k.Aliases) > 0 {
		fmt.Fprintf(w, "aliases   %s\n", strings.Join(k.Aliases, ", "))
	}
	if k.RotationDays > 0 {
		fmt.Fprintf(w, "rotation  every %d days, next %s\n", k.RotationDays, when(k.NextRotation))
	}
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
		a.kmsListCommand(), a.kmsCreateCommand(), a.kmsDescribeCommand(), a.kmsDisableCommand(), a.kmsEnableCommand(), a.kmsRotateCommand(),
		a.kmsScheduleDeletionCommand(), a.kmsCancelDeletionCommand(), a.kmsAliasCommand(),
		a.kmsGrantCommand(), a.kmsGrantsCommand(), a.kmsRevokeCommand(), a.kmsRetireGrantCommand(),
		a.kmsSealCommand(), a.kmsUnsealCommand())
	c.Long = `Works on the root keys of the local key service: the file that --keys names, or
` + defaultKeysHint() + `. It needs no store.

NAME is the name of a key, or alias/NAME.

The file is unsealed unless "cofre kms seal" has sealed it: its mode is what
guards it then. A sealed file opens with what it was sealed by, which each verb
takes, those on stores too:

  --keys-passphrase-file FILE, or COFRE_KEYS_PASSPHRASE_FILE
  --keys-key-file FILE, or COFRE_KEYS_KEY_FILE
  --keys-credential NAME, or COFRE_KEYS_CREDENTIAL

Where none is named, and standard input is a terminal, it asks for a passphrase.
A new file is sealed by what is named. Where something is named, a file that is
unsealed is refused: somebody may have put it there.

--principal NAME, or COFRE_PRINCIPAL, says who asks. Nobody named is the owner,
who may do all; others may do what "cofre kms grant" allows.

What the service says of a key, states and grants, binds those who use it. It
does not bind who can read an unsealed file, or has what a sealed one is sealed
by: he has the keys.`
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
				key, err := s.Key(args[0])
				if err != nil {
					return err
				}
				info, err := key.DescribeKey(cmd.Context())
				if err != nil {
					return err
				}
				file, err := s.Info()
				if err != nil {
					return err
				}
				k := kmsKeyOf(info, file)
				return a.print(k, k.write)
			})
		},
	}
}

// withKeyService opens the key service. Only "create" makes its file.
func (a *app) withKeyService(cmd *cobra.Command, fn func(s *local.Service) error) (err error) {
	if err := a.checkKMSFlags(cmd); err != nil {
		return err
	}
	s, err := a.keyService(cmd.Name() != "create")
	if err != nil {
		return kmsOpenError(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return kmsError(fn(s))
}

func (a *app) checkKMSFlags(cmd *cobra.Command) error {
	switch {
	case a.passphraseFile != "":
		return &usageError{errors.New("a passphrase is in no key service: --passphrase-file does not go with kms; --keys-passphrase-file is what its file is sealed by")}
	case cmd.Flags().Changed("key"):
		return &usageError{errors.New("kms takes the name of a key as its argument: --key does not go with it")}
	}
	return nil
}

// kmsOpenError is kmsError for what opening the file says.
func kmsOpenError(err error) error {
	if errors.Is(err, keyring.ErrKeyNotFound) {
		return &failure{exitNotFound, err, `"cofre kms create NAME" makes the file; --keys names another`}
	}
	return kmsError(err)
}

// kmsError gives errors the hints of those who work on keys, not on a store.
func kmsError(err error) error {
	var own *failure
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, local.ErrKeyExists), errors.Is(err, local.ErrAliasExists):
		return &failure{exitFailure, err, "choose another name"}
	case errors.Is(err, keyring.ErrKeyNotFound):
		return &failure{exitNotFound, err, `"cofre kms list" shows the keys, "cofre kms alias list" their aliases, which are named alias/NAME; --keys names another file`}
	case errors.Is(err, local.ErrGrantNotFound):
		return &failure{exitNotFound, err, `"cofre kms grants" shows the grants`}
	case errors.Is(err, local.ErrName):
		return &failure{exitUsage, err, "up to 64 letters, digits and . _ -, such as default or records-2026"}
	case errors.Is(err, local.ErrDays), errors.Is(err, local.ErrGrant), errors.Is(err, local.ErrContext):
		return &failure{exitUsage, err, ""}
	case errors.Is(err, local.ErrKeyState):
		return &failure{exitFailure, err, `"cofre kms enable NAME" and "cofre kms cancel-deletion NAME" change the state`}
	case errors.Is(err, engine.ErrCorruption):
		return &failure{exitCorruption, err, "is it a key service's file? If it is, restore it from a copy"}
	}
	return err
}

func kmsKeyOf(info local.KeyInfo, file local.Info) *kmsKey {
	k := &kmsKey{
		Name: info.Name, ID: info.ID, URI: info.URI, State: info.State.String(), CreatedAt: info.CreatedAt, DeletionDate: info.DeletionDate,
		RotationDays: info.RotationDays, NextRotation: info.NextRotation, Aliases: info.Aliases, Location: file.Path, Sealed: file.Sealed,
	}
	for _, v := range info.Versions {
		k.Versions = append(k.Versions, kmsVersion{v.Number, v.CreatedAt})
	}
	return k
}

func list(s *local.Service) ([]*kmsKey, error) {
	file, err := s.Info()
	if err != nil {
		return nil, err
	}
	infos, err := s.List()
	if err != nil {
		return nil, err
	}
	keys := make([]*kmsKey, len(infos))
	for i, info := range infos {
		keys[i] = kmsKeyOf(info, file)
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
				return printRows(a, "NAME\tSTATE\tCREATED\tVERSIONS\tROOT KEY", keys, func(k *kmsKey) string {
					state := k.State
					if !k.DeletionDate.IsZero() {
						state += " until " + when(k.DeletionDate)
					}
					return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", k.Name, state, when(k.CreatedAt), len(k.Versions), k.URI)
				})
			})
		},
	}
}

// printRows prints a table, or a JSON object a row.
func printRows[T any](a *app, title string, rows []T, text func(T) string) error {
	out := bufio.NewWriter(a.stdout)
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if !a.json {
		fmt.Fprintln(tw, title)
	}
	for _, row := range rows {
		if a.json {
			if err := a.writeJSON(out, row); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(tw, text(row))
	}
	return errors.Join(tw.Flush(), out.Flush())
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
	var every int
	var never bool
	var c *cobra.Command
	c = a.keyVerb("rotate", "Give a root key new material, now or at intervals", `Gives a root key a new version, which wraps from then on; the older ones unwrap
what they have wrapped, and stay needed for it. "cofre keys rotate-table TABLE"
then gives a table a new key under it.

With --every DAYS (90 to 2560) it does so from now on each so many days, and
not at once: with the first change of the file after the date, or the first use
of the key that wraps. --never ends that. An older copy of the file has no newer
versions, so copies have to be renewed after each rotation.`,
		func(ctx context.Context, s *local.Service, name string) error {
			given := c.Flags().Changed("every")
			switch {
			case given && never:
				return &usageError{errors.New("--every and --never exclude each other")}
			case never:
				return s.DisableRotation(ctx, name)
			case given && every == 0: // which is the default to the service
				return &local.DaysError{What: "between rotations", Min: local.MinRotationDays, Max: local.MaxRotationDays}
			case given:
				_, err := s.EnableRotation(ctx, name, every)
				return err
			}
			number, err := s.Rotate(ctx, name)
			if err == nil {
				a.note("renew your copies of %s: an older copy has no version %d of %s, and does not open what that wraps from now on.", s.Path(), number, name)
			}
			return err
		})
	c.Flags().IntVar(&every, "every", 0, "rotate each so many days from now on; a year is 365")
	c.Flags().BoolVar(&never, "never", false, "rotate by command alone")
	return c
}
