package seals

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A sealed file as this test needs it: a header, and units of 64 bytes in which
// nothing is secret.
func file(t *testing.T, id keyring.ID, wrap byte, units ...byte) []byte {
	identity := keyring.Identity{Kind: keyring.KindSSTable, FileID: id, Number: 1, UnitSize: 64, CreatedAt: time.Unix(1, 0).UTC()}
	key := &keyring.DataKey{Version: 1}
	for i := range key.Wrapped {
		key.Wrapped[i] = wrap
	}
	b := keyring.EncodeHeader(&identity, key, [floe.HeaderLen]byte{})
	require.Len(t, b, keyring.HeaderLen)
	for _, u := range units {
		unit := make([]byte, 64)
		for i := range unit {
			unit[i] = u
		}
		b = append(b, unit...)
	}
	return b
}

func TestLedger(t *testing.T) {
	t.Parallel()
	a, b := keyring.NewID(), keyring.NewID()
	for _, tc := range []struct {
		name  string
		files [][]byte
		fault string
	}{
		{"two files", [][]byte{file(t, a, 1, 1, 2), file(t, b, 2, 1, 2)}, ""},
		{"a copy", [][]byte{file(t, a, 1, 1, 2), file(t, a, 1, 1, 2)}, ""},
		{"one that grows", [][]byte{file(t, a, 1, 1), file(t, a, 1, 1, 2)}, ""},
		{"no header", [][]byte{nil, []byte("hello"), make([]byte, 4096)}, ""},
		{"one key", [][]byte{file(t, a, 1, 1), file(t, b, 1, 2)}, "have one data key"},
		{"two keys", [][]byte{file(t, a, 1, 1), file(t, a, 2, 1)}, "has two data keys"},
		{"a unit anew", [][]byte{file(t, a, 1, 1, 2), file(t, a, 1, 1, 3)}, "was sealed twice"},
		{"one nonce", [][]byte{file(t, a, 1, 1, 1)}, "has the nonce of"},
	} {
		var l Ledger
		for _, f := range tc.files {
			l.Take(tc.name, f)
		}
		if tc.fault == "" {
			require.Empty(t, l.Faults(), tc.name)
			continue
		}
		require.Len(t, l.Faults(), 1, tc.name)
		require.Contains(t, l.Faults()[0], tc.fault)
	}
}

func TestLedgerOfARecovery(t *testing.T) {
	t.Parallel()
	a, b := keyring.NewID(), keyring.NewID()
	// Of a torn header there may be anything, an id of zeros too.
	before := map[string][]byte{"a": file(t, a, 1, 1, 2), "torn": file(t, keyring.ID{}, 1)}
	for fault, after := range map[string]map[string][]byte{
		"":              {"a": file(t, a, 1, 1), "b": file(t, b, 2, 1), "c": make([]byte, 10_000)},
		"another life":  {"a": file(t, a, 1, 1, 2, 3)},
		"in the clear":  {"c": []byte("and a secret word")},
		"secret has \"": {"a secret": nil},
		"the nonce of":  {"b": file(t, b, 2, 1, 1)},
	} {
		l := Ledger{Canaries: [][]byte{[]byte("secret")}}
		l.Recovered(before, after)
		if fault == "" {
			require.Empty(t, l.Faults())
			continue
		}
		require.Len(t, l.Faults(), 1, fault)
		require.Contains(t, l.Faults()[0], fault)
	}
}
