// Command make writes the golden keyring of the present format:
//
//	go run ./keyring/testdata/golden DIR
//
// DIR is that of the file's version, and must not exist. It holds the keyring, the key-service
// file with its root keys (test keys), and want.json, which says what the
// keyring must show when it is opened.
//
//	go run ./keyring/testdata/golden key-service DIR
//
// writes the key-service files of the present format alone, unsealed and
// sealed, with what they must show. DIR is key-service-v2 here.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// Want is the content of want.json.
type Want struct {
	Store, Journal keyring.ID
	Generation     uint64
	Tables         []Table
	Tombstones     []keyring.Tombstone
	StoreKey       DataKey
	Audit          keyring.AuditHead
	AuditKey       string // hexadecimal
}

// Table is a table of Want.
type Table struct {
	keyring.TableRecord
	Metadata string
	Closed   string // the clean-close record
	Key      DataKey
}

// DataKey is a data key and its wrap.
type DataKey struct {
	File         keyring.ID
	Wrapped, Key string // hexadecimal
}

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "key-service" {
		keyService(os.Args[2])
		return
	}
	if len(os.Args) != 2 {
		log.Fatal("usage: make [key-service] DIR")
	}
	dir, ctx := os.Args[1], context.Background()
	check(os.Mkdir(dir, 0o755))

	svc := must(local.Open(filepath.Join(dir, "keys.cofre"), local.Options{}))
	first := must(svc.CreateKey(ctx, "default"))
	second := must(svc.CreateKey(ctx, "second"))
	argon := must(passphrase.New([]byte("golden passphrase"), passphrase.Options{Label: "argon2id"}))
	pbkdf := must(passphrase.New([]byte("golden passphrase"), passphrase.Options{
		Label: "pbkdf2", Cost: passphrase.Cost{KDF: passphrase.PBKDF2, Time: 600_000},
	}))
	now := time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)
	audit := keyring.AuditState{
		AuditHead: keyring.AuditHead{Chain: keyring.ID{0x61, 0x75, 0x64}, Seq: 42, MAC: [keyring.AuditMACLen]byte{1, 2, 3}}, File: 2, End: 1234,
	}
	auditKey := keyring.RandomSecret()
	opts := keyring.Options{
		Now: func() time.Time { now = now.Add(time.Second); return now },
		Audit: func(context.Context) (*keyring.AuditState, error) {
			a := audit
			a.Key = auditKey.Clone()
			return &a, nil
		},
	}
	path := filepath.Join(dir, "keyring")
	check(must(keyring.Create(ctx, path, first, opts)).Close())
	k := must(keyring.Open(ctx, path, []keyring.RootKey{first, second, argon, pbkdf}, false, opts))

	var want Want
	states := make(map[keyring.ID][]byte)
	for _, t := range []struct {
		name string
		root keyring.RootKey
	}{
		{"golden.default", first}, {"golden.second", second}, {"golden.argon2id", argon}, {"golden.pbkdf2", pbkdf},
		{"golden.dropped", second}, {"golden.creating", first},
	} {
		tk := must(k.CreateTable(ctx, t.name, t.root, []byte("first metadata")))
		if t.name != "golden.creating" {
			check(k.FinishCreate(ctx, tk.ID()))
			states[tk.ID()] = []byte("closed " + t.name)
		}
		check(k.SetMetadata(ctx, tk, []byte("metadata of "+t.name)))
		if t.name == "golden.default" {
			// What follows is wrapped by the second version of its root key.
			must(svc.Rotate(ctx, "default"))
		}
		want.Tables = append(want.Tables, Table{
			TableRecord: keyring.TableRecord{ID: tk.ID()}, Metadata: string(tk.Metadata()),
			Closed: string(states[tk.ID()]), Key: dataKey(tk),
		})
	}
	check(k.SetStates(ctx, keyring.ID{0x6a, 0x6f, 0x75, 0x72}, states))
	for _, r := range k.Tables() {
		for i := range want.Tables {
			if want.Tables[i].ID == r.ID {
				want.Tables[i].TableRecord = r
			}
		}
		if r.Name == "golden.dropped" {
			must(k.DropTable(ctx, r.ID))
		}
	}
	want.Tables = append(want.Tables[:4], want.Tables[5:]...)
	want.Store, want.Journal, want.Generation = k.StoreID(), k.Journal(), k.Generation()
	want.Tombstones, want.StoreKey = k.Tombstones(), dataKey(k.StoreKeys())
	want.Audit, want.AuditKey = audit.AuditHead, hex.EncodeToString(auditKey.Expose())
	check(k.Close())
	check(os.WriteFile(filepath.Join(dir, "want.json"), append(must(json.MarshalIndent(want, "", "  ")), '\n'), 0o644))
	check(os.Remove(filepath.Join(dir, "keys.cofre.lock")))
}

func dataKey(keys keyring.DataKeys) DataKey {
	file := keyring.NewID()
	dk := must(keys.NewDataKey(file))
	return DataKey{file, hex.EncodeToString(dk.Wrapped[:]), hex.EncodeToString(dk.Key.Expose())}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
