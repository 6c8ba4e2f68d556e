package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/keyring/local"
)

// A kmsFile is the key service's file as it is printed.
type kmsFile struct {
	Location string `json:"location"`
	Sealed   bool   `json:"sealed"`
	Seal     string `json:"seal"`
	Version  int    `json:"version"`
	Revision uint64 `json:"revision"`
}

func (a *app) printKeyService(s *local.Service) error {
	info, err := s.Info()
	if err != nil {
		return err
	}
	f := kmsFile{info.Path, info.Sealed, info.SealedBy, info.Version, info.Revision}
	return a.print(f, func(w io.Writer) { fmt.Fprintf(w, "keys      %s (%s)\n", f.Location, f.Seal) })
}

func (a *app) kmsSealCommand() *cobra.Command {
	var to sealFlags
	c := &cobra.Command{
		Use:   "seal [--passphrase-file FILE | --key-file FILE | --credential NAME]",
		Short: "Seal the key service's file",
		Long: `Seals the key service's file, or seals it by something else than now: by the
passphrase in a file, by a key file, which holds 32 random bytes or more
(head -c 32 /dev/urandom > FILE), or by a credential of the systemd unit that it
runs in, a file in $CREDENTIALS_DIRECTORY. With none of these it asks for a
passphrase, on a terminal.

A file that is sealed is opened first, by what --keys-passphrase-file and its
like name. For one that is unsealed, these say what to seal it by.

From then on each verb needs what the file is sealed by. Without it nothing
opens the keys, and no store that they are the root keys of. Programs that have
the file open are refused until they are started with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, was, err := a.openToSeal(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			by, err := to.sealing()
			if err == nil && by == nil && !was.Sealed {
				by, err = a.keysSeal.sealing()
			}
			if err == nil && by == nil {
				if !isTerminal(a.stdin) {
					return &usageError{errors.New("name what to seal the file by: --passphrase-file, --key-file or --credential")}
				}
				by, err = a.askNewSealing(was.Path)
			}
			if err != nil {
				return kmsError(err)
			}
			if err := s.Seal(cmd.Context(), by); err != nil {
				return kmsError(err)
			}
			a.explainSeal(was, to)
			return a.printKeyService(s)
		},
	}
	f := c.Flags()
	f.StringVar(&to.passphraseFile, "passphrase-file", "", "seal by the passphrase in this file")
	f.StringVar(&to.keyFile, "key-file", "", "seal by this key file")
	f.StringVar(&to.credential, "credential", "", "seal by this credential")
	return c
}

// openToSeal opens the file as it is: what is named to open a sealed file may
// be meant to seal this one.
func (a *app) openToSeal(cmd *cobra.Command) (*local.Service, local.Info, error) {
	if err := a.checkKMSFlags(cmd); err != nil {
		return nil, local.Info{}, err
	}
	s, err := a.keyService(true)
	if errors.Is(err, local.ErrNotSealed) {
		var path string
		if path, err = a.keysPath(); err == nil {
			s, err = local.Open(path, local.Options{MustExist: true, Principal: a.principal})
		}
	}
	if err != nil {
		return nil, local.Info{}, kmsOpenError(err)
	}
	info, err := s.Info()
	if err != nil {
		return nil, local.Info{}, errors.Join(kmsError(err), s.Close())
	}
	return s, info, nil
}

// explainSeal says what to look after.
func (a *app) explainSeal(was local.Info, to sealFlags) {
	if !was.Sealed {
		a.note("%s was unsealed until now. Copies of it stay unsealed; so may what the disk keeps of it.\n"+
			"If others may have read it: \"cofre kms rotate\" and \"cofre keys rotate-root\", or a new key and \"cofre keys rotate-root --to\".", was.Path)
	} else {
		a.note("copies of %s that were made before open with what sealed them then.", was.Path)
	}
	a.note("keep what it is sealed by: without it nothing opens these keys, nor a store that has them as root keys.")
	if to.keyFile != "" && sameDevice(to.keyFile, was.Path) {
		a.note("warning: the key file and the key service's file lie on the same device: who takes that device has both.")
	}
}

func (a *app) kmsUnsealCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unseal",
		Short: "Write the key service's file in the clear",
		Long: `Writes the key service's file in the clear. Whoever can read the file, or a copy
of it, then has every root key in it, and with them every store that they open:
a stolen disk or backup that holds both is open. The file's mode is all that
guards it, and its notes, grants and states can be edited unnoticed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyService(cmd, func(s *local.Service) error {
				if err := s.Unseal(cmd.Context()); err != nil {
					return err
				}
				a.note("%s is in the clear: whoever can read it, or a copy of it, has every root key in it.\n"+
					"Its mode is all that guards it. Other commands now refuse --keys-passphrase-file and its like.", s.Path())
				return a.printKeyService(s)
			})
		},
	}
}
