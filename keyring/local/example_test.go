package local_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A service whose file is sealed by a key file, and a program that may use its
// key for one store only.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cofre")
	must(err)
	defer os.RemoveAll(dir)
	path, keyFile := filepath.Join(dir, "keys.cofre"), filepath.Join(dir, "key")
	must(os.WriteFile(keyFile, []byte(rand.Text()+rand.Text()), 0o600)) // on another device

	by, err := local.ByKeyFile(keyFile)
	must(err)
	owner, err := local.Open(path, local.Options{Sealing: by})
	must(err)
	defer owner.Close()
	_, err = owner.CreateKey(ctx, "default")
	must(err)
	store := keyring.NewID()
	_, err = owner.CreateGrant(ctx, "default", local.Grant{
		Grantee:       "reports",
		Operations:    local.OpWrap | local.OpUnwrap,
		ContextSubset: local.EncryptionContext{"cofre:store": store.String()},
	})
	must(err)

	_, err = local.Open(path, local.Options{})
	fmt.Println("without the key file:", errors.Is(err, local.ErrSealed))

	by, err = local.ByKeyFile(keyFile)
	must(err)
	reports, err := local.Open(path, local.Options{MustExist: true, Sealing: by, Principal: "reports"})
	must(err)
	defer reports.Close()
	key, err := reports.Key("default")
	must(err)
	_, err = key.Wrap(ctx, keyring.RandomSecret(), keyring.Context{Store: store, Purpose: keyring.PurposeStoreKey, Version: 1})
	fmt.Println("its store:", err)
	_, err = key.Wrap(ctx, keyring.RandomSecret(), keyring.Context{Store: keyring.NewID(), Purpose: keyring.PurposeStoreKey, Version: 1})
	fmt.Println("another store denied:", errors.Is(err, keyring.ErrKeyDenied))
	// Output:
	// without the key file: true
	// its store: <nil>
	// another store denied: true
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
