package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// maxPassphrase bounds the passphrase file, in bytes.
const maxPassphrase = 4096

// rootKeys are the root keys that the flags choose. The first is the one that a
// new store or table gets.
type rootKeys struct {
	keyring.RootKey // the first
	named           []namedRoot
	recovery        []keyring.RootKey // recovery keys, which wrap alone
	close           func() error
}

type namedRoot struct {
	name string
	keyring.RootKey
}

// others are all but the first.
func (k *rootKeys) others() (others []keyring.RootKey) {
	for _, n := range k.named[1:] {
		others = append(others, n.RootKey)
	}
	return append(others, k.recovery...)
}

// all are the root keys, the first first.
func (k *rootKeys) all() []keyring.RootKey {
	return append([]keyring.RootKey{k.RootKey}, k.others()...)
}

// pins tells whether a root key of that URI may be used.
func (k *rootKeys) pins(uri string) bool {
	return slices.ContainsFunc(k.all(), func(r keyring.RootKey) bool { return r.URI() == uri })
}

// byName returns a key that the flags name, or nil.
func (k *rootKeys) byName(name string) keyring.RootKey {
	if i := slices.IndexFunc(k.named, func(n namedRoot) bool { return n.name == name }); i >= 0 {
		return k.named[i].RootKey
	}
	return nil
}

// byURI returns the first key of those URIs, or nil.
func (k *rootKeys) byURI(uris []string) keyring.RootKey {
	if i := slices.IndexFunc(k.named, func(n namedRoot) bool { return slices.Contains(uris, n.URI()) }); i >= 0 {
		return k.named[i].RootKey
	}
	return nil
}

// rootName is the rule for names of root keys, in the local key service and of
// passphrases. The key service has aliases too.
var rootName = regexp.MustCompile(`^(alias/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkRootNames looks at the names that --key gives.
func (a *app) checkRootNames() error {
	for i, name := range a.keyNames {
		if !rootName.MatchString(name) {
			return fmt.Errorf("%w: %q", local.ErrName, name)
		}
		if slices.Contains(a.keyNames[:i], name) {
			return &usageError{fmt.Errorf("--key names %q twice", name)}
		}
	}
	switch {
	case len(a.keyNames) == 0:
		return &usageError{errors.New("--key names no root key")}
	case a.passphraseFile != "" && len(a.keyNames) > 1:
		return &usageError{errors.New("a passphrase is one root key, whatever its name: with --passphrase-file, --key names one")}
	case a.passphraseFile != "" && strings.HasPrefix(a.keyNames[0], local.AliasPrefix):
		return fmt.Errorf("%w: %q: a passphrase has no alias", local.ErrName, a.keyNames[0])
	case a.passphraseFile != "" && a.keys != "" && os.Getenv("COFRE_KEYS") != a.keys:
		return &usageError{errors.New("--keys and --passphrase-file exclude each other")}
	}
	return nil
}

// rootKeys finds the root keys that the flags choose. Only with create, which is
// for new stores, is the first made where there is none.
func (a *app) rootKeys(ctx context.Context, create bool) (_ *rootKeys, err error) {
	if err := a.checkRootNames(); err != nil {
		return nil, err
	}
	recipients, err := a.recipients()
	if err != nil {
		return nil, err
	}
	keys := &rootKeys{named: make([]namedRoot, len(a.keyNames))}
	if a.identity != nil {
		keys.recovery = append(keys.recovery, a.identity) // first: it is the pin of its URI
	}
	for _, r := range recipients {
		keys.recovery = append(keys.recovery, r)
	}
	if a.passphraseFile != "" {
		return keys, a.passphraseKey(keys, create)
	}
	service, err := a.keyService(!create)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, service.Close())
		}
	}()
	keys.close = service.Close
	for i, name := range slices.Backward(a.keyNames) { // before one is made, the others are there
		if i == 0 && create {
			key, created, err := service.Ensure(ctx, name)
			if err != nil {
				return nil, err
			}
			if created {
				a.explainKey(ctx, key)
			}
			keys.named[i] = namedRoot{name, key}
			continue
		}
		key, err := service.Key(name)
		if i > 0 && errors.Is(err, keyring.ErrKeyNotFound) {
			return nil, &failure{exitNotFound, err, `"cofre kms list" shows the keys, "cofre kms create NAME" makes one`}
		}
		if err != nil {
			return nil, err
		}
		keys.named[i] = namedRoot{name, key}
	}
	for i, key := range keys.named {
		for _, other := range keys.named[:i] {
			if other.URI() == key.URI() { // two of its names
				return nil, &usageError{fmt.Errorf("--key names %s twice, as %q and as %q", key.URI(), other.name, key.name)}
			}
		}
	}
	keys.RootKey = keys.named[0].RootKey
	return keys, nil
}

// passphraseKey derives the root key from the passphrase in a file.
func (a *app) passphraseKey(keys *rootKeys, create bool) error {
	secret, err := readPassphrase(a.passphraseFile)
	if err != nil {
		return &failure{exitKey, err, "the passphrase file holds the passphrase alone, and only its owner may read it (chmod 600)"}
	}
	defer clear(secret)
	key, err := passphrase.New(secret, passphrase.Options{Label: a.keyNames[0]})
	if err != nil {
		return err
	}
	if create {
		a.note("the root key of the new store is derived from the passphrase in %s. Whoever has both the store and the passphrase can read it; without the passphrase nobody can.", a.passphraseFile)
	}
	keys.RootKey, keys.named[0], keys.close = key, namedRoot{a.keyNames[0], key}, key.Close
	return nil
}

// keyService opens the local key service, with what its file is sealed by.
// For a passphrase that no flag and no variable names it asks, on a terminal.
func (a *app) keyService(mustExist bool) (*local.Service, error) {
	path, err := a.keysPath()
	if err != nil {
		return nil, err
	}
	if !mustExist && a.store != "" && inside(path, a.store) {
		return nil, &usageError{fmt.Errorf("the key service's file %s lies in the store %s: who copies the store has its keys; --keys names another place", path, a.store)}
	}
	by, err := a.keysSeal.sealing()
	if err != nil {
		return nil, err
	}
	s, err := local.Open(path, local.Options{MustExist: mustExist, Sealing: by, Principal: a.principal})
	var sealed *local.SealedError
	if by != nil || !errors.As(err, &sealed) || !sealed.Passphrase || !isTerminal(a.stdin) {
		return s, err
	}
	if by, err = a.askSealing("passphrase of " + path); err != nil {
		return nil, err
	}
	return local.Open(path, local.Options{MustExist: mustExist, Sealing: by, Principal: a.principal})
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
	if d.Sealed {
		a.note("made the root key %s\nin %s (sealed).\n"+
			"It protects a store that is copied or stolen, with this file too, from whoever does not have\n"+
			"what the file is sealed by. It does not protect against root while a store is open.\n"+
			"Keep copies of the file, and of what seals it, elsewhere: without both nothing opens the store.", d.URI, d.Location)
		return
	}
	a.note("made the root key %s\nin %s (unsealed).\n"+
		"It protects a store that is copied or stolen without this file, and against other users.\n"+
		"It does not protect a stolen disk that holds both, and not against root.\n"+
		"Keep a copy of the file elsewhere: without it nothing opens the store.", d.URI, d.Location)
	if d.Location != "" && a.store != "" && sameDevice(d.Location, a.store) {
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
