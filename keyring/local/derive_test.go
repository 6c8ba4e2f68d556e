package local

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/keyring"
)

// TestDerivations compares this package's derivations with the table of the
// format's page.
func TestDerivations(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 0x30)
	for i := range raw {
		raw[i] = byte(i)
	}
	key, err := keyring.NewSecret(raw[:32])
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/keyring-format.md")
	require.NoError(t, err)
	row := func(label string, got []byte) {
		t.Helper()
		found := false
		for line := range strings.Lines(string(page)) {
			found = found || strings.HasPrefix(line, "| `"+label+"`") && strings.Contains(line, hex.EncodeToString(got))
		}
		require.True(t, found, "%s: %x", label, got)
	}
	for _, v := range []struct {
		label   string
		context []byte
		n       int
	}{
		{wrapForm.label, raw[0x20:], 32}, {textForm.label, raw[0x20:], 32}, {labelFile, raw[0x20:], 32},
		{labelKeyFileCheck, nil, keyFileCheckLen}, {labelKeyFileWrap, raw[0x20:], 32},
	} {
		got, err := derive.Bytes(key, v.label, v.context, v.n)
		require.NoError(t, err)
		row(v.label, got)
	}
	own, _, err := (&keyFileKey{content: raw[:32]}).derive(raw[0x20:])
	require.NoError(t, err)
	row(labelKeyFile, own.Expose())
}
