package system

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A system's directory holds a file that names its kind, its store, and the
// root key of one that takes a key as bytes.
const (
	kindName  = "KIND"
	keyName   = "key"
	storeName = "store"
)

// claim takes a directory for systems of a kind, and refuses one that holds
// anything else.
func claim(dir, kind string) error {
	found, err := os.ReadFile(filepath.Join(dir, kindName))
	switch {
	case err == nil && string(found) == kind:
		return nil
	case err == nil:
		return fmt.Errorf("open %s: the directory %s holds %q", kind, dir, clip(found))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open %s: %w", kind, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", kind, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("open %s: the directory %s holds other files (%s)", kind, dir, entries[0].Name())
	}
	return writeSynced(filepath.Join(dir, kindName), []byte(kind))
}

func clip(b []byte) []byte { return b[:min(len(b), 40)] }

// loadKey returns the key of n random bytes that the directory keeps, and makes
// it with the store.
func loadKey(dir string, n int) ([]byte, error) {
	path := filepath.Join(dir, keyName)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, storeName)); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("%s: the key of the store is gone", path), err)
		}
		key = make([]byte, n)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		return key, writeSynced(path, key)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != n {
		return nil, fmt.Errorf("%s: a key of %d bytes, not of %d", path, len(key), n)
	}
	return key, nil
}

// writeSynced writes a new file that no other user can read.
func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
