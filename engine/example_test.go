package engine_test

import (
	"context"
	"fmt"
	"os"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring/local"
)

// A store, a table, two rows and a scan. README.md shows the same.
func ExampleOpen() {
	ctx, dir := context.Background(), tempDir()
	defer os.RemoveAll(dir)

	keys, err := local.Open(dir+"/keys.cofre", local.Options{}) // outside of the store
	must(err)
	defer keys.Close()
	root, _, err := keys.Ensure(ctx, "default") // made on first use
	must(err)
	store, err := engine.Open(ctx, dir+"/store", engine.Options{RootKey: root})
	must(err)
	orders, err := store.CreateTable(ctx, "shop.orders", engine.TableOptions{})
	must(err)
	must(orders.Put([]byte("2026-07/0001"), []byte("three lamps"), nil)) // durable on return
	must(orders.Put([]byte("2026-07/0002"), []byte("a ladder"), nil))
	for row, err := range orders.Scan(engine.ScanOptions{Prefix: []byte("2026-07/")}) {
		must(err)
		fmt.Printf("%s: %s\n", row.Key, row.Value)
	}
	must(store.Close())
	// Output:
	// 2026-07/0001: three lamps
	// 2026-07/0002: a ladder
}

// must keeps the examples short.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func tempDir() string {
	dir, err := os.MkdirTemp("", "cofre")
	must(err)
	return dir
}
