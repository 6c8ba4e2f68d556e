package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// noArchive takes nothing.
type noArchive struct{}

func (noArchive) Archive(context.Context, *engine.Held) (string, error) {
	return "", errors.New("no archive")
}
func (noArchive) Verify(context.Context, string) error { return errors.New("no archive") }

// lose DIR KEY opens a store with a policy for lost keys, until it has found the loss of a
// key that is disabled.
func lose(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	keys, err := local.Open(ts.Getenv("KEYS"), local.Options{MustExist: true})
	ts.Check(err)
	root, err := keys.Key("default")
	ts.Check(err)
	own, err := keys.Key(args[1])
	ts.Check(err)
	found := make(chan engine.KeyLossEvent, 16)
	s, err := engine.Open(ctx, ts.MkAbs(args[0]), engine.Options{
		Mode: engine.MustExist, RootKey: root, Roots: []keyring.RootKey{own},
		KeyLoss: &engine.KeyLossPolicy{Archive: noArchive{}, Notify: func(e engine.KeyLossEvent) { found <- e }},
	})
	ts.Check(err)
	select {
	case e := <-found:
		if e.Step != engine.KeyLost {
			ts.Fatalf("%s", e.Step)
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("no loss found")
	}
	ts.Check(errors.Join(s.Close(), keys.Close()))
}

// TestLossText says each state of a lost key.
func TestLossText(t *testing.T) {
	t.Parallel()
	at := func(day int) *time.Time {
		d := time.Date(2026, 3, day, 12, 0, 0, 0, time.UTC)
		return &d
	}
	l := engine.KeyLoss{Since: *at(1), Seen: *at(2), Next: "archive", ArchiveAt: at(8), DropAt: at(31)}
	require.Equal(t, "KEY LOST since 2026-03-01 12:00:00Z, last found so 2026-03-02 12:00:00Z, "+
		"archive not before 2026-03-08 12:00:00Z, drop not before 2026-03-31 12:00:00Z", lossText(&l))
	l = engine.KeyLoss{Since: *at(1), Seen: *at(9), Next: "drop", DropAt: at(31), Archive: "s3://a\x1b[2Jb", ArchivedAt: at(8), VerifiedAt: at(9), Trouble: "disk\nfull"}
	text := lossText(&l)
	require.Contains(t, text, "archived 2026-03-08 12:00:00Z as s3://a")
	require.Contains(t, text, "verified 2026-03-09 12:00:00Z, drop not before 2026-03-31 12:00:00Z, the next step could not be done: disk")
	require.NotContains(t, text, "\x1b")
	require.NotContains(t, text, "\n")
	l.Kept, l.DropAt = true, nil
	require.Contains(t, lossText(&l), "kept by hand")
}
