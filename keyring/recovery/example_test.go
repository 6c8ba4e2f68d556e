package recovery_test

import (
	"context"
	"fmt"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/recovery"
)

// A program has the public key alone, and wraps; the sheet unwraps.
func Example() {
	ctx := context.Background()
	id, err := recovery.Generate()
	must(err)
	sheet, err := id.Sheet(recovery.About{Tables: []string{"shop.orders"}}) // to print
	must(err)
	public, err := id.Recipient().MarshalText() // into the program's configuration
	must(err)
	must(id.Close())

	recipient, err := recovery.ParseRecipient(public)
	must(err)
	key, ec := keyring.RandomSecret(), keyring.Context{Store: keyring.NewID(), Purpose: keyring.PurposeStoreKey, Version: 1}
	wrap, err := recipient.Wrap(ctx, key, ec)
	must(err)
	_, err = recipient.Unwrap(ctx, wrap, ec)
	fmt.Println(err)

	found, err := recovery.ParseSheet(sheet)
	must(err)
	defer found.Close()
	got, err := found.Unwrap(ctx, wrap, ec)
	must(err)
	fmt.Println(found.Fingerprint() == recipient.Fingerprint(), got.Equal(key))
	// Output:
	// key service unreachable: recovery key is offline: its sheet opens it
	// true true
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
