package seals

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/keyring"
)

// Tree reads all files below dir, by path.
func Tree(fs vfs.FS, dir string) (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := walk(fs, dir, files)
	return files, err
}

func walk(fs vfs.FS, dir string, files map[string][]byte) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err == nil && info.IsDir() {
			err = walk(fs, path, files)
		} else if err == nil {
			files[path], err = read(fs, path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func read(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// Recovered takes in what a recovery has made of a store, before and after,
// which is what Tree read. It took over the files that were there: no seal
// may have been added to one, since its writer may have used the place for
// something that the power cut has taken.
func (l *Ledger) Recovered(before, after map[string][]byte) {
	old := make(map[keyring.ID]int)
	for name, b := range before {
		l.Look(name, b)
		if id, ok := fileID(b); ok {
			old[id] = max(old[id], len(b))
		}
	}
	for name, b := range after {
		id, sealed := fileID(b)
		was, ok := old[id]
		if !sealed || !ok {
			l.Take(name, b)
		} else if len(b) > was {
			l.mu.Lock()
			l.fault("%s: file %s was written on by another life", name, id)
			l.mu.Unlock()
		}
	}
}

func fileID(b []byte) (keyring.ID, bool) {
	h, err := keyring.ParseHeader(b)
	if err != nil {
		return keyring.ID{}, false
	}
	return h.Identity.FileID, true
}
