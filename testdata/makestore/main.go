// Makestore writes the golden stores of the format version that this build
// writes, for the tests of every later version:
//
//	go run ./testdata/makestore testdata/stores/v1
//
// It makes, below the directory named, which must not exist:
//
//	keys.cofre     the local key service's file, with the root key "golden"
//	clean/         a store that was closed
//	crashed/       the same store, copied while it was open
//	contents.json  what both hold: table, then key to value, in base64;
//	               "table@snapshot" for a snapshot
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring/local"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: makestore DIR")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "makestore:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "makestore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	keys := filepath.Join(work, "keys.cofre")
	service, err := local.Open(keys, local.Options{})
	if err != nil {
		return err
	}
	root, _, err := service.Ensure(ctx, "golden")
	if err != nil {
		return err
	}
	path := filepath.Join(work, "store")
	store, err := engine.Open(ctx, path, engine.Options{RootKey: root})
	if err != nil {
		return err
	}
	held, err := fill(ctx, store)
	if err != nil {
		return err
	}
	if err := copyTree(filepath.Join(dir, "crashed"), path); err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	if err := copyTree(filepath.Join(dir, "clean"), path); err != nil {
		return err
	}
	b, err := os.ReadFile(keys)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "keys.cofre"), b, 0o600); err != nil {
		return err
	}
	if b, err = json.MarshalIndent(held, "", " "); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "contents.json"), append(b, '\n'), 0o644)
}

type entries map[string]string // of a table, in base64

// fill makes two tables of every kind of content: values inline, separated and
// empty, removed keys and ranges, a snapshot, sorted files and a log.
func fill(ctx context.Context, store *engine.Store) (map[string]entries, error) {
	held := make(map[string]entries)
	for name, opts := range map[string]engine.TableOptions{
		"golden.inline":    {},
		"golden.separated": {SeparateValuesFrom: 256, NoCompression: true},
	} {
		t, err := store.CreateTable(ctx, name, opts)
		if err != nil {
			return nil, err
		}
		model := make(entries)
		b64 := base64.StdEncoding.EncodeToString
		put := func(from, to int) error {
			for i := from; i < to; i++ {
				sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", name, i))
				key, value := fmt.Appendf(nil, "k%05d", i), bytes.Repeat(sum[:], i%20)
				if err := t.Put(key, value, nil); err != nil {
					return err
				}
				model[b64(key)] = b64(value)
			}
			return nil
		}
		if err := put(0, 100); err != nil {
			return nil, err
		}
		if err := t.Flush(); err != nil {
			return nil, err
		}
		if err := put(80, 130); err != nil {
			return nil, err
		}
		if _, err := t.Snapshot(ctx, "early"); err != nil {
			return nil, err
		}
		held[name+"@early"] = maps.Clone(model)
		if err := t.DeleteRange([]byte("k00010"), []byte("k00020"), nil); err != nil {
			return nil, err
		}
		for i := 10; i < 20; i++ {
			delete(model, b64(fmt.Appendf(nil, "k%05d", i)))
		}
		if err := t.Delete([]byte("k00000"), nil); err != nil {
			return nil, err
		}
		delete(model, b64([]byte("k00000")))
		if err := t.Compact(ctx, nil, nil); err != nil {
			return nil, err
		}
		if err := put(130, 150); err != nil {
			return nil, err
		}
		held[name] = model
	}
	return held, nil
}

func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}
