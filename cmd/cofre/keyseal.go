package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// sealFlags say what the key service's file is sealed by. At most one of them
// is given.
type sealFlags struct {
	passphraseFile string
	keyFile        string
	credential     string

	set *pflag.FlagSet // where variables may stand for flags; nil where not
}

// The flags of all verbs, and the variables that stand for them.
const (
	keysPassphraseFile = "keys-passphrase-file"
	keysKeyFile        = "keys-key-file"
	keysCredential     = "keys-credential"

	envKeysPassphraseFile = "COFRE_KEYS_PASSPHRASE_FILE"
	envKeysKeyFile        = "COFRE_KEYS_KEY_FILE"
	envKeysCredential     = "COFRE_KEYS_CREDENTIAL"
)

// register adds the flags of all verbs.
func (s *sealFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.passphraseFile, keysPassphraseFile, "", "the key service's file is sealed by the passphrase in this file ("+envKeysPassphraseFile+")")
	f.StringVar(&s.keyFile, keysKeyFile, "", "the key service's file is sealed by this key file ("+envKeysKeyFile+")")
	f.StringVar(&s.credential, keysCredential, "", "the key service's file is sealed by this credential of the systemd unit ("+envKeysCredential+")")
	s.set = f
}

// chosen are the flags, or the variables where no flag is given.
func (s *sealFlags) chosen() sealFlags {
	if s.set == nil || s.set.Changed(keysPassphraseFile) || s.set.Changed(keysKeyFile) || s.set.Changed(keysCredential) {
		return *s
	}
	return sealFlags{
		passphraseFile: os.Getenv(envKeysPassphraseFile), keyFile: os.Getenv(envKeysKeyFile), credential: os.Getenv(envKeysCredential),
	}
}

// sealing reads what is named; nil where nothing is.
func (s *sealFlags) sealing() (by *local.Sealing, err error) {
	c, named := s.chosen(), 0
	for _, v := range []string{c.passphraseFile, c.keyFile, c.credential} {
		if v != "" {
			named++
		}
	}
	switch {
	case named > 1:
		return nil, &usageError{errors.New("the key service's file is sealed by one thing: name a passphrase file, a key file or a credential")}
	case c.passphraseFile != "":
		phrase, err := readPassphrase(c.passphraseFile)
		if err != nil {
			return nil, &failure{exitKey, err, "the passphrase file holds the passphrase alone, and only its owner may read it (chmod 600)"}
		}
		defer clear(phrase)
		return local.ByPassphrase(phrase, passphrase.Cost{})
	case c.keyFile != "":
		return local.ByKeyFile(c.keyFile)
	case c.credential != "":
		return local.ByCredential(c.credential)
	}
	return nil, nil
}

// askSealing asks for a passphrase on the terminal that standard input is.
func (a *app) askSealing(prompt string) (*local.Sealing, error) {
	phrase, err := a.askPassphrase(prompt)
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	return local.ByPassphrase(phrase, passphrase.Cost{})
}

// askNewSealing asks twice.
func (a *app) askNewSealing(path string) (*local.Sealing, error) {
	phrase, err := a.askPassphrase("new passphrase of " + path)
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	again, err := a.askPassphrase("again")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(phrase, again) {
		return nil, &usageError{errors.New("the two passphrases differ")}
	}
	return local.ByPassphrase(phrase, passphrase.Cost{})
}

// askPassphrase reads a line without showing it. An interruption leaves the
// terminal as it was.
func (a *app) askPassphrase(prompt string) ([]byte, error) {
	f, ok := a.stdin.(*os.File)
	if !ok {
		return nil, errors.New("standard input is no terminal")
	}
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.stderr, "%s: ", safeLine(prompt))
	defer fmt.Fprintln(a.stderr)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() { // ends with the line, or with the process
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case <-a.interrupted:
		return nil, errors.Join(context.Canceled, term.Restore(fd, before))
	case l := <-read:
		if l.err == nil && len(l.text) == 0 {
			l.err = errors.New("the passphrase is empty")
		}
		return l.text, l.err
	}
}
