package keyring_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cofre")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// Root keys lie in a key service, outside the store.
	svc, err := local.Open(filepath.Join(dir, "elsewhere", "keys.cofre"), local.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	root, created, err := svc.Ensure(ctx, "default")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI(), "made:", created)

	// A keyring with one table, and the data key of one file.
	path := filepath.Join(dir, "keyring")
	k, err := keyring.Create(ctx, path, root, keyring.Options{})
	if err != nil {
		log.Fatal(err)
	}
	orders, err := k.CreateTable(ctx, "shop.orders", root, []byte("columns: id, total"))
	if err != nil {
		log.Fatal(err)
	}
	if err := k.FinishCreate(ctx, orders.ID()); err != nil {
		log.Fatal(err)
	}
	file := keyring.NewID()
	made, err := orders.NewDataKey(file)
	if err != nil {
		log.Fatal(err)
	}
	orders.Wipe()
	k.Close()

	// Later: the keyring is opened with the root keys that it may have.
	k, err = keyring.Open(ctx, path, []keyring.RootKey{root}, false, keyring.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	for _, t := range k.Tables() {
		fmt.Println(t.Name, "is", t.State, "and wrapped by", t.Roots)
		keys, err := k.OpenTable(ctx, t.ID)
		if err != nil {
			log.Fatal(err)
		}
		defer keys.Wipe()
		key, err := keys.DataKey(file, made.Version, made.Wrapped[:])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("metadata:", string(keys.Metadata()))
		fmt.Println("data key:", key, "the same:", key.Equal(made.Key))
	}
	// Output:
	// cofre-local:default made: true
	// shop.orders is live and wrapped by [cofre-local:default]
	// metadata: columns: id, total
	// data key: REDACTED the same: true
}
