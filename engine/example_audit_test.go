package engine_test

import (
	"context"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/keyring/local"
)

// The head of the audit log is kept elsewhere, the log read and verified against it.
func ExampleStore_VerifyAudit() {
	ctx, dir := context.Background(), tempDir()
	defer os.RemoveAll(dir)

	keys, err := local.Open(dir+"/keys.cofre", local.Options{})
	must(err)
	defer keys.Close()
	root, _, err := keys.Ensure(ctx, "default")
	must(err)
	store, err := engine.Open(ctx, dir+"/store", engine.Options{RootKey: root, Audit: engine.AuditOptions{Actor: "shop"}})
	must(err)
	_, err = store.CreateTable(ctx, "shop.orders", engine.TableOptions{})
	must(err)
	head, _, err := store.AuditHead(ctx) // kept where nobody can change it
	must(err)
	must(store.Close())

	for r, err := range audit.Records(vfs.Default, dir+"/store/audit") { // takes no key
		must(err)
		if r.Event == audit.EventCreateTable {
			fmt.Println(r.Actor.Name, r.Event, r.Outcome)
		}
	}
	store, err = engine.Open(ctx, dir+"/store", engine.Options{RootKey: root, Mode: engine.ReadOnly})
	must(err)
	report, err := store.VerifyAudit(ctx, []audit.Head{head}, nil)
	must(err)
	fmt.Println("faults:", report.Faults)
	must(store.Close())
	// Output:
	// shop CreateTable success
	// faults: 0
}
