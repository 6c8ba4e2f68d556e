// Command make writes the golden audit log of the present format:
//
//	go run ./keyring/audit/testdata/golden DIR
//
// DIR is that of the version of records, and must not exist. It holds the log, in
// two files and with two chains, a file of provisional records, and want.json: the
// root key that unwraps the chains' first keys (a test key), what the keyring would
// say of the log, a head from its midst, and what was recorded.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// Want is the content of want.json.
type Want struct {
	Store    keyring.ID
	RootKey  string // hexadecimal; it seals with AES-256-GCM in the context
	State    keyring.AuditHead
	File     uint64
	End      int64
	StateKey string // hexadecimal
	Middle   audit.Head
	Records  uint64 // in the chains
	Events   []string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: make DIR")
	}
	dir, ctx := os.Args[1], context.Background()
	check(os.Mkdir(dir, 0o755))
	root := keyring.RandomSecret()
	wrap := func(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]audit.Wrap, error) {
		b, err := must(aead.Suite(nil).New(root.Expose())).Seal(nil, key.Expose(), ec.Canonical())
		return []audit.Wrap{{Key: "golden:root", Blob: b}}, err
	}
	now := time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)
	opts := audit.Options{Actor: "golden", FileSize: 4 << 10, Now: func() time.Time { now = now.Add(time.Second); return now }}
	place := audit.Place{FS: vfs.Default, Dir: filepath.Join(dir, "audit"), Store: keyring.NewID()}
	want := Want{Store: place.Store, RootKey: hex.EncodeToString(root.Expose())}
	ec := keyring.Context{Store: place.Store, Table: keyring.ID{1}, Purpose: keyring.PurposeTableKey, Version: 1}

	// The first opening is lost: no keyring names its record.
	l := audit.New(opts)
	check(l.Open(ctx, place, audit.OpenOptions{Wrap: wrap}))
	check(l.Close())
	var st *keyring.AuditState
	for round := range 3 {
		l = audit.New(opts)
		check(l.Note(audit.EventUnwrap, audit.Request{Key: "golden:root", Context: ec.Map()}, nil))
		check(l.Open(ctx, place, audit.OpenOptions{Wrap: wrap, State: st}))
		check(l.Record(audit.EventWrap, audit.Request{Key: "golden:root", Context: ec.Map()}, keyring.ErrKeyDenied))
		l.Later(audit.EventNote, audit.Request{Key: "golden:root", Generation: 7, Digest: "00ff"}, nil)
		check(l.Note(audit.EventRotateRoot, audit.Request{Table: ec.Table, Version: 2, Roots: []string{"golden:root"}}, nil))
		st = must(l.State(ctx))
		if round == 0 {
			want.Middle = audit.Head{Seq: st.Seq, MAC: st.MAC}
		}
		check(l.Close())
		l = audit.New(opts)
		check(l.Note(audit.EventUnwrap, audit.Request{Key: "golden:root", Context: ec.Map()}, keyring.ErrKeyUnreachable))
		check(l.KeepProvisional(place))
		check(l.Close())
	}
	want.State, want.File, want.End, want.StateKey = st.AuditHead, st.File, st.End, hex.EncodeToString(st.Key.Expose())
	for r, err := range audit.Records(place.FS, place.Dir) {
		check(err)
		want.Events = append(want.Events, r.Event+" "+r.Outcome)
		if r.Seq > 0 {
			want.Records++
		}
	}
	check(os.WriteFile(filepath.Join(dir, "want.json"), append(must(json.MarshalIndent(want, "", "  ")), '\n'), 0o644))
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
