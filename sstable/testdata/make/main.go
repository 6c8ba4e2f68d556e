// Command make writes the golden files of package sstable, and the seeds of
// its fuzz target, below testdata. They are random (keys, nonces, IVs), so a
// run makes other ones:
//
//	go run ./sstable/testdata/make -out sstable/testdata
//
// It was run once for format version 1. What it wrote must open for ever, so it
// does not write over it.
package main

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
)

var files = []struct {
	name string
	kind keyring.FileKind
	unit uint32
	size int
}{
	{"v1-empty", keyring.KindSSTable, 2048, 0},
	{"v1-short", keyring.KindSSTable, 2048, 5},
	{"v1-default", keyring.KindSSTable, 2048, 3*2016 + 77},
	{"v1-aligned", keyring.KindSSTable, 256, 6 * 224},
	{"v1-tiny-units", keyring.KindSSTable, 64, 1000},
	{"v1-blob", keyring.KindBlob, 512, 1500},
}

// A golden is what golden.json tells of a file.
type golden struct {
	Name        string
	Key         string // hexadecimal
	Kind        keyring.FileKind
	UnitSize    uint32
	StoreID     keyring.ID
	TableID     keyring.ID
	FileID      keyring.ID
	Number      uint64
	Incarnation keyring.ID
	CreatedAt   time.Time
	KeyVersion  uint32
	Wrapped     string // hexadecimal
}

func main() {
	out := flag.String("out", "sstable/testdata", "directory")
	flag.Parse()
	if err := run(*out); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	dir := filepath.Join(out, "golden")
	if _, err := os.Stat(filepath.Join(dir, "golden.json")); err == nil {
		return fmt.Errorf("%s holds golden files already", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var index []golden
	for i, c := range files {
		plain := make([]byte, c.size)
		for j := range plain {
			plain[j] = byte(j*7 + j>>8 + i)
		}
		g, err := seal(filepath.Join(dir, c.name), plain, keyring.Identity{
			Kind: c.kind, StoreID: id(1), TableID: id(2), FileID: id(byte(16 + i)), Number: uint64(100 + i),
			Incarnation: id(3), CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		}, c.unit)
		if err != nil {
			return err
		}
		g.Name = c.name
		index = append(index, *g)
	}
	b, err := json.MarshalIndent(index, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "golden.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	return seeds(filepath.Join(dir, "v1-tiny-units.sst"), filepath.Join(out, "fuzz", "FuzzReader"))
}

func id(b byte) (id keyring.ID) {
	for i := range id {
		id[i] = b + byte(i)<<4
	}
	return id
}

func seal(path string, plain []byte, id keyring.Identity, unit uint32) (*golden, error) {
	key := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 7}
	for i := range key.Wrapped {
		key.Wrapped[i] = byte(i)
	}
	f, err := os.Create(path + ".sst")
	if err != nil {
		return nil, err
	}
	w, err := sstable.NewWriter(f, id, key, sstable.Options{UnitSize: unit})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".bin", plain, 0o644); err != nil {
		return nil, err
	}
	return &golden{
		Key: hex.EncodeToString(key.Key.Expose()), Kind: id.Kind, UnitSize: unit,
		StoreID: id.StoreID, TableID: id.TableID, FileID: id.FileID, Number: id.Number, Incarnation: id.Incarnation,
		CreatedAt: id.CreatedAt, KeyVersion: key.Version, Wrapped: hex.EncodeToString(key.Wrapped[:]),
	}, nil
}

// seeds writes variations of a golden file as seeds. A seed is whether the
// fuzz target puts the golden header in front, and the bytes.
func seeds(golden, dir string) error {
	b, err := os.ReadFile(golden)
	if err != nil {
		return err
	}
	const h, unit = keyring.HeaderLen, 64
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(b)) }
	all := []struct {
		name   string
		header bool
		data   []byte
	}{
		{"whole", false, b},
		{"body", true, b[h:]},
		{"empty", false, nil},
		{"no-body", true, nil},
		{"cut-at-border", true, b[h : h+5*unit]},
		{"cut-inside", true, b[h : h+5*unit+40]},
		{"flipped", true, change(func(b []byte) []byte { b[h+3*unit+20] ^= 4; return b[h:] })},
		{"swapped", true, change(func(b []byte) []byte {
			return slices.Concat(b[h+unit:h+2*unit], b[h:h+unit], b[h+2*unit:])
		})},
		{"appended", true, append(slices.Clone(b[h:]), b[h:h+unit]...)},
		{"header-unit-size", false, change(func(b []byte) []byte { b[12] = 0xFF; return b })},
		{"header-kind", false, change(func(b []byte) []byte { b[10] = byte(keyring.KindWAL); return b })},
		{"header-version", false, change(func(b []byte) []byte { b[9]++; return b })},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range all {
		text := fmt.Sprintf("go test fuzz v1\nbool(%t)\n[]byte(%q)\n", s.header, s.data)
		if err := os.WriteFile(filepath.Join(dir, s.name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
