package keyring

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/derive"
)

// TestVectors compares the derivations with the table of the format's page.
func TestVectors(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 0x50)
	for i := range raw {
		raw[i] = byte(i)
	}
	key, err := NewSecret(raw[:32])
	require.NoError(t, err)
	ec := Context{Store: ID(raw[0x30:0x40]), Table: ID(raw[0x40:0x50]), Purpose: PurposeTableKey, Version: 2}
	page, err := os.ReadFile("../docs/keyring-format.md")
	require.NoError(t, err)
	for _, v := range []struct {
		label   string
		context []byte
		n       int
	}{
		{labelDataKey, raw[0x20:0x30], 32},
		{labelOlderKey, versionContext(1), 32},
		{labelMetadata, raw[0x20:0x30], 32},
		{labelOverlay, raw[0x20:0x30], 32},
		{labelRecord, raw[0x20:0x30], 32},
		{labelList, raw[0x20:0x30], 32},
		{labelEntryMAC, nil, macLen},
		{labelKeyringMAC, nil, macLen},
		{labelCommitment, ec.Canonical(), commitmentLen},
		{"cofre/v1/local-wrap", raw[0x20:0x30], 32},
		{"cofre/v1/passphrase-wrap", raw[0x20:0x30], 32},
		{"cofre/v1/passphrase-check", nil, 16},
	} {
		got, err := derive.Bytes(key, v.label, v.context, v.n)
		require.NoError(t, err)
		row := ""
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "| `"+v.label+"`") && strings.Contains(line, hex.EncodeToString(got)) {
				row = line
			}
		}
		require.NotEmpty(t, row, "%s: %x", v.label, got)
	}
	ok, err := committed(key, ec, must(hex.DecodeString("2f76a53afd7b7ec5be01bb7da7658f96fa2a3105cd3e41dc0474f089afd4a723")))
	require.NoError(t, err)
	require.True(t, ok)
}
