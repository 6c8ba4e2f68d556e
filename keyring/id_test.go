package keyring_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

func TestIDText(t *testing.T) {
	t.Parallel()
	id := keyring.ID{0x00, 0x01, 0xAB, 0xFF}
	const text = "0001abff000000000000000000000000"
	require.Equal(t, text, id.String())
	for _, s := range []string{text, strings.ToUpper(text)} {
		got, err := keyring.ParseID(s)
		require.NoError(t, err)
		require.Equal(t, id, got)
	}
	for _, s := range []string{"", "00", text[1:], text + "0", "0x" + text[2:], " " + text[1:], text[:31] + "g", strings.Repeat("é", 16)} {
		got, err := keyring.ParseID(s)
		require.ErrorContains(t, err, "is no id", "%q", s)
		require.True(t, got.IsZero(), "%q", s)
	}
}

func TestIDMarshals(t *testing.T) {
	t.Parallel()
	type record struct {
		ID  keyring.ID
		Map map[keyring.ID]int
	}
	id := keyring.NewID()
	b, err := json.Marshal(record{id, map[keyring.ID]int{id: 1}})
	require.NoError(t, err)
	require.Contains(t, string(b), `"`+id.String()+`":1`)
	var got record
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, id, got.ID)
	require.Equal(t, 1, got.Map[id])
	require.Error(t, json.Unmarshal([]byte(`{"ID":"00"}`), &got))
}

func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[keyring.ID]bool{}
	for range 1000 {
		id := keyring.NewID()
		require.False(t, id.IsZero())
		seen[id] = true
	}
	require.Len(t, seen, 1000)
	require.True(t, keyring.ID{}.IsZero())
}
