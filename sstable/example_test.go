package sstable_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
)

// A file is written once and read at random. The data key comes from the
// table's keys (keyring.DataKeys); here it is made by hand, without a wrap.
func Example() {
	dir, err := os.MkdirTemp("", "sstable")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "000007.sst")
	key := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 1}

	out, err := os.Create(name)
	if err != nil {
		log.Fatal(err)
	}
	w, err := sstable.NewWriter(out, keyring.Identity{
		Kind: keyring.KindSSTable, StoreID: keyring.NewID(), TableID: keyring.NewID(),
		FileID: keyring.NewID(), Number: 7, Incarnation: keyring.NewID(), CreatedAt: time.Now(),
	}, key, sstable.Options{Path: name})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(w, "what nobody is to read")
	if err := w.Sync(); err != nil { // the file is whole and durable
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	in, err := os.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	head := make([]byte, keyring.HeaderLen)
	if _, err := in.ReadAt(head, 0); err != nil {
		log.Fatal(err)
	}
	h, err := keyring.ParseHeader(head)
	if err != nil {
		log.Fatal(err)
	}
	r, err := sstable.NewReader(in, w.PhysicalSize(), h, key.Key, sstable.Options{Path: name})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 6)
	if _, err := r.ReadAt(p, 5); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, of %d bytes in %d\n", p, r.Size(), w.PhysicalSize())
	// Output: nobody, of 22 bytes in 288
}
