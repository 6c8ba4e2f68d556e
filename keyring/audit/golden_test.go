package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestGolden verifies the log of each version of records, as it was made by
// testdata/golden/make.go of that time, and goes on with it.
func TestGolden(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/golden/v*")
	require.NoError(t, err)
	newest, err := strconv.Atoi(recordVersion)
	require.NoError(t, err)
	require.Len(t, dirs, newest)
	for _, golden := range dirs {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS(golden)))
		var want struct {
			Store    keyring.ID
			RootKey  string
			State    keyring.AuditHead
			File     uint64
			End      int64
			StateKey string
			Middle   string
			Records  uint64
			Events   []string
		}
		b, err := os.ReadFile(filepath.Join(dir, "want.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &want))
		s := newTestStore(t)
		s.id, s.root = want.Store, &testRoot{uri: "golden:root", key: must(keyring.NewSecret(must(hex.DecodeString(want.RootKey))))}
		s.state = &keyring.AuditState{AuditHead: want.State, File: want.File, End: want.End, Key: must(keyring.NewSecret(must(hex.DecodeString(want.StateKey))))}
		p := Place{FS: vfs.Default, Dir: filepath.Join(dir, "audit"), Store: s.id}
		verify := func() *Report {
			rep, err := Verify(t.Context(), p, VerifyOptions{
				State: s.state, Heads: []Head{must(ParseHead(want.Middle))},
				Unwrap: func(ctx context.Context, w Wrap, ec keyring.Context) (*keyring.Secret, error) {
					return s.root.Unwrap(ctx, w.Blob, ec)
				},
				Report: func(f Finding) { require.True(t, f.Warning, "%+v", f) },
			})
			require.NoError(t, err)
			require.Equal(t, rep.Records, rep.Verified)
			return rep
		}
		rep := verify()
		require.Equal(t, want.Records, rep.Records)
		require.Equal(t, 2, rep.Chains)
		var events []string
		for r, err := range Records(p.FS, p.Dir) {
			require.NoError(t, err)
			events = append(events, r.Event+" "+r.Outcome)
			require.Equal(t, "golden", r.Actor.Name)
		}
		require.Equal(t, want.Events, events)
		l := New(Options{})
		st := *s.state
		require.NoError(t, l.Open(t.Context(), p, OpenOptions{State: &st}))
		require.NoError(t, l.Record(EventWrap, Request{}, nil))
		require.NoError(t, l.Close())
		require.Equal(t, want.Records+2, verify().Records, "with what was provisional")
	}
}

// TestVector compares the chain with the vector of the format's page.
func TestVector(t *testing.T) {
	t.Parallel()
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(i)
	}
	key, err := keyring.NewSecret(b)
	require.NoError(t, err)
	mac, err := tag(key, [macLen]byte{}, []byte(`{"eventVersion":"1","sequence":1`))
	require.NoError(t, err)
	next, err := ratchet(key)
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/format.md")
	require.NoError(t, err)
	for what, value := range map[string][]byte{"MAC": mac[:], "next K": next.Expose()} {
		row := "| " + what + " | `" + hex.EncodeToString(value) + "` |"
		require.True(t, strings.Contains(string(page), row), row)
	}
}
