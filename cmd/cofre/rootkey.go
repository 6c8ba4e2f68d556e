package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// maxPassphrase bounds the passphrase file, in bytes.
const maxPassphrase = 4096

// A rootKey is the root key that the flags choose, with what releases it.
type rootKey struct {
	keyring.RootKey
	close func() error
}

// rootKey finds the root key that the flags choose. Only with create, which is
// for new stores, is one made where there is none.
func (a *app) rootKey(ctx context.Context, create bool) (*rootKey, error) {
	if a.passphraseFile != "" {
		if a.keys != "" && os.Getenv("COFRE_KEYS") != a.keys {
			return nil, &usageError{errors.New("--keys and --passphrase-file exclude each other")}
		}
		return a.passphraseKey(ctx, create)
	}
	path, err := a.keysPath()
	if err != nil {
		return nil, err
	}
	service, err := local.Open(path, local.Options{MustExist: !create})
	if err != nil {
		return nil, err
	}
	var key *local.Key
	var created bool
	if create {
		key, created, err = service.Ensure(ctx, a.keyName)
	} else {
		key, err = service.Key(a.keyName)
	}
	if err != nil {
		return nil, errors.Join(err, service.Close())
	}
	if created {
		a.explainKey(ctx, key)
	}
	return &rootKey{key, service.Close}, nil
}

// keysPath is the key service's file.
func (a *app) keysPath() (string, error) {
	if a.keys != "" {
		return a.keys, nil
	}
	return local.DefaultPath()
}

func defaultKeysHint() string {
	path, err := local.DefaultPath()
	if err != nil {
		return "in the user's configuration directory"
	}
	return path
}

// passphraseKey derives the root key from the passphrase in a file.
func (a *app) passphraseKey(ctx context.Context, create bool) (*rootKey, error) {
	secret, err := readPassphrase(a.passphraseFile)
	if err != nil {
		return nil, &failure{exitKey, err, "the passphrase file holds the passphrase alone, and only its owner may read it (chmod 600)"}
	}
	defer clear(secret)
	key, err := passphrase.New(secret, passphrase.Options{Label: a.keyName})
	if err != nil {
		return nil, err
	}
	if create {
		a.note("the root key of the new store is derived from the passphrase in %s. Whoever has both the store and the passphrase can read it; without the passphrase nobody can.", a.passphraseFile)
	}
	return &rootKey{key, key.Close}, nil
}

// readPassphrase reads a file that only its owner may read, without the
// newline at its end. A pipe is private to who holds it.
func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("passphrase file %s: others may read it (mode %04o)", path, mode.Perm())
	}
	b := make([]byte, maxPassphrase+1)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(b)
		return nil, fmt.Errorf("passphrase file: %w", err)
	}
	text := bytes.TrimSuffix(bytes.TrimSuffix(b[:n], []byte("\n")), []byte("\r"))
	switch {
	case n > maxPassphrase:
		clear(b)
		return nil, fmt.Errorf("passphrase file %s: longer than %d bytes", path, maxPassphrase)
	case len(text) == 0:
		return nil, fmt.Errorf("passphrase file %s: empty", path)
	}
	return text, nil
}

// explainKey says where a new root key lies, and what it is good for.
func (a *app) explainKey(ctx context.Context, key keyring.RootKey) {
	d, err := key.Describe(ctx)
	if err != nil {
		d = keyring.Description{URI: key.URI()}
	}
	seal := "unsealed"
	if d.Sealed {
		seal = "sealed"
	}
	a.note("made the root key %s\nin %s (%s).\n"+
		"It protects a store that is copied or stolen without this file, and against other users.\n"+
		"It does not protect a stolen disk that holds both, and not against root.\n"+
		"Keep a copy of the file elsewhere: without it nothing opens the store.", d.URI, d.Location, seal)
	if d.Location != "" && sameDevice(d.Location, a.store) {
		a.note("warning: the root key's file and the store lie on the same device: who takes that device has both.")
	}
}

// sameDevice tells whether two paths lie on one device. A path that does not
// exist yet will lie where its nearest ancestor does. In doubt it says no.
func sameDevice(a, b string) bool {
	da, oka := deviceOf(a)
	db, okb := deviceOf(b)
	return oka && okb && da == db
}

func deviceOf(path string) (string, bool) {
	path, err := filepath.Abs(path)
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil {
			return device(path, info)
		}
		parent := filepath.Dir(path)
		if !os.IsNotExist(err) || parent == path {
			return "", false
		}
		path, err = parent, nil
	}
	return "", false
}
