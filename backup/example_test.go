package backup_test

import (
	"context"
	"fmt"
	"os"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage/locate"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A backup of a store, and what it holds in another store. README.md shows the same.
func ExampleRepository() {
	ctx, dir := context.Background(), tempDir()
	defer os.RemoveAll(dir)
	keys, err := local.Open(dir+"/keys.cofre", local.Options{})
	must(err)
	defer keys.Close()
	root, _, err := keys.Ensure(ctx, "default")
	must(err)
	store, err := engine.Open(ctx, dir+"/store", engine.Options{RootKey: root})
	must(err)
	orders, err := store.CreateTable(ctx, "shop.orders", engine.TableOptions{})
	must(err)
	must(orders.Put([]byte("2026-07/0001"), []byte("three lamps"), nil))

	place, err := locate.Open(ctx, dir+"/backups", locate.Options{Create: true}) // or s3://…
	must(err)
	defer place.Close()
	repo, err := backup.Open(ctx, place, backup.Options{Create: true})
	must(err)
	made, err := repo.Create(ctx, store, backup.CreateOptions{Label: "before the sale"})
	must(err)
	must(store.Close()) // and lose it

	again, err := engine.Open(ctx, dir+"/again", engine.Options{RootKey: root})
	must(err)
	roots := []keyring.RootKey{root} // that the tables had
	_, err = repo.Restore(ctx, again, backup.RestoreOptions{Backup: made.Backup.Name, Roots: roots})
	must(err)
	found, err := again.Table("shop.orders")
	must(err)
	value, err := found.Get([]byte("2026-07/0001"))
	must(err)
	fmt.Printf("%s\n", value)
	must(again.Close())
	// Output:
	// three lamps
}

// must keeps the example short.
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
