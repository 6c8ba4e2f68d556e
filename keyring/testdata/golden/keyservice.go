package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// KeyService is the content of a key service's want.json: what its files must
// show, each of them the same.
type KeyService struct {
	Now        time.Time // when the files are opened
	Keys       []local.KeyInfo
	Aliases    []local.Alias
	Grants     []local.Grant
	Notes      []local.StoreNote
	Context    keyring.Context
	Wrap, Key  string // hexadecimal, by "default"
	Text, Seal string // Text sealed by "default" for the context {"golden": "yes"}
}

// keyService writes the key-service files of the present format: unsealed, by
// the passphrase "golden passphrase", by the key file "key".
func keyService(dir string) {
	ctx := context.Background()
	check(os.Mkdir(dir, 0o755))
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	path := filepath.Join(dir, "unsealed.cofre")
	svc := must(local.Open(path, local.Options{Now: func() time.Time { return now }}))
	key := must(svc.CreateKey(ctx, "default"))
	for _, name := range []string{"disabled", "gone", "going"} {
		must(svc.CreateKey(ctx, name))
	}
	check(svc.Disable(ctx, "disabled"))
	must(svc.EnableRotation(ctx, "default", 365))
	must(svc.ScheduleDeletion(ctx, "gone", 7))
	now = now.Add(7 * 24 * time.Hour)
	want := KeyService{
		Context: keyring.Context{Store: keyring.NewID(), Table: keyring.NewID(), Purpose: keyring.PurposeTableKey, Version: 3},
		Text:    "golden text",
	}
	check(svc.CreateAlias(ctx, "prod", "default"))
	check(svc.CreateAlias(ctx, "old", "disabled"))
	must(svc.CreateGrant(ctx, "default", local.Grant{Grantee: "reports", Operations: local.OpWrap | local.OpUnwrap}))
	must(svc.CreateGrant(ctx, "default", local.Grant{
		Grantee: "importer", Retiring: "operator", Operations: local.OpEncrypt, ContextEquals: local.EncryptionContext{"golden": "yes", "empty": ""},
	}))
	must(svc.CreateGrant(ctx, "disabled", local.Grant{
		Grantee: "reports", Operations: local.OpDescribeKey, ContextSubset: local.EncryptionContext{"cofre:store": want.Context.Store.String()},
	}))
	check(key.NoteGeneration(ctx, want.Context.Store, 7, [32]byte{1, 2, 3}))
	secret := keyring.RandomSecret()
	want.Key = hex.EncodeToString(secret.Expose())
	want.Wrap = hex.EncodeToString(must(key.Wrap(ctx, secret, want.Context)))
	want.Seal = hex.EncodeToString(must(key.Encrypt(ctx, []byte(want.Text), local.EncryptionContext{"golden": "yes"})))
	must(svc.Rotate(ctx, "default"))
	must(svc.ScheduleDeletion(ctx, "going", 30))

	keyFile := filepath.Join(dir, "key")
	check(os.WriteFile(keyFile, keyring.RandomSecret().Expose(), 0o600))
	for name, by := range map[string]*local.Sealing{
		"passphrase.cofre": must(local.ByPassphrase([]byte("golden passphrase"), passphrase.Cost{KDF: passphrase.PBKDF2, Time: 600_000})),
		"argon2id.cofre":   must(local.ByPassphrase([]byte("golden passphrase"), passphrase.Cost{KDF: passphrase.Argon2id, Time: 3, Memory: 64 << 10, Lanes: 4})),
		"key-file.cofre":   must(local.ByKeyFile(keyFile)),
	} {
		copied := filepath.Join(dir, name)
		check(os.WriteFile(copied, must(os.ReadFile(path)), 0o600))
		s := must(local.Open(copied, local.Options{MustExist: true, Now: func() time.Time { return now }}))
		check(s.Seal(ctx, by))
		check(s.Close())
		check(os.Remove(copied + ".lock"))
	}
	want.Now, want.Keys, want.Aliases, want.Grants, want.Notes = now, must(svc.List()), must(svc.Aliases()), must(svc.ListGrants("")), must(svc.Notes())
	check(svc.Close())
	check(os.Remove(path + ".lock"))
	check(os.WriteFile(filepath.Join(dir, "want.json"), append(must(json.MarshalIndent(want, "", "  ")), '\n'), 0o644))
}
