package keyring

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// thousand makes a keyring of 1,000 tables.
func thousand(b *testing.B) (*vfs.MemFS, *fakeRoot, *Keyring) {
	b.Helper()
	mem, root := newTestFS(b), newFakeRoot("a")
	k := mustCreate(b, mem, root)
	for i := range 1000 {
		if _, err := k.CreateTable(b.Context(), fmt.Sprintf("shop.table%04d", i), root, make([]byte, 200)); err != nil {
			b.Fatal(err)
		}
	}
	return mem, root, k
}

func BenchmarkOpen1000Tables(b *testing.B) {
	mem, root, _ := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		k, err := Open(b.Context(), testDir, []RootKey{root}, true, Options{FS: mem})
		if err != nil {
			b.Fatal(err)
		}
		k.Close()
	}
}

// BenchmarkChange1000Tables is a change without the disk's part.
func BenchmarkChange1000Tables(b *testing.B) {
	_, _, k := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := k.SetStates(b.Context(), ID{1}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenTable(b *testing.B) {
	_, _, k := thousand(b)
	id := k.Tables()[0].ID
	b.ReportAllocs()
	for b.Loop() {
		tk, err := k.OpenTable(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		tk.Wipe()
	}
}

func BenchmarkNewDataKey(b *testing.B) {
	tk := &TableKeys{version: 1, open: &openKeys{keys: map[uint32]*Secret{1: RandomSecret()}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tk.NewDataKey(ID{1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDataKey(b *testing.B) {
	tk := &TableKeys{version: 1, open: &openKeys{keys: map[uint32]*Secret{1: RandomSecret()}}}
	dk, err := tk.NewDataKey(ID{1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tk.DataKey(ID{1}, 1, dk.Wrapped[:]); err != nil {
			b.Fatal(err)
		}
	}
}
