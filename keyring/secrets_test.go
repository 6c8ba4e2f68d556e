package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shows tells whether text holds secret, or 8 bytes of it, in a form that a
// verb or an encoder would give it.
func shows(text string, secret []byte) bool {
	for i := 0; i+8 <= len(secret); i++ {
		part := secret[i : i+8]
		for _, form := range []string{
			string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
			base64.StdEncoding.EncodeToString(part[:6]), strings.Trim(fmt.Sprint(part), "[]"),
			strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"), fmt.Sprintf("%q", part),
		} {
			if strings.Contains(text, form) {
				return true
			}
		}
	}
	return false
}

// TestNoSecrets formats every exported type, and errors and log lines, and
// looks for the keys and the metadata.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	mem, root := newTestFS(t), newAnchoredRoot("a")
	opts := Options{FS: mem, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	k, err := Create(t.Context(), testDir, root, opts)
	require.NoError(t, err)
	tk := mustTable(t, k, "t", root, "canary-metadata-canary")
	dk, err := tk.NewDataKey(ID{1})
	require.NoError(t, err)
	root.fault = errors.New("anchor away")
	require.NoError(t, k.SetStates(t.Context(), NewID(), map[ID][]byte{tk.ID(): []byte("canary-of-the-state")}))
	require.NotEmpty(t, log.String())

	secrets := map[string][]byte{
		"store key": k.storeKey.open.keys[1].Expose(), "table key": tk.open.keys[1].Expose(), "data key": dk.Key.Expose(),
		"root key": root.key.Expose(), "metadata": tk.open.metadata, "clean-close record": []byte("canary-of-the-state"),
	}
	require.True(t, shows(fmt.Sprintf("%+v", struct{ b []byte }{secrets["table key"]}), secrets["table key"]), "the search finds what is there")

	_, wrong := tk.DataKey(ID{2}, 1, dk.Wrapped[:])
	_, unknown := tk.DataKey(ID{1}, 2, dk.Wrapped[:])
	root.fail(ErrKeyDenied)
	_, denied := k.OpenTable(t.Context(), tk.ID())
	desc, err := root.Describe(t.Context())
	require.NoError(t, err)
	values := map[string]any{
		"Keyring": k, "TableKeys": tk, "StoreKeys": k.StoreKeys(), "DataKey": dk, "DataKey value": *dk, "Secret": dk.Key, "Secret value": *dk.Key,
		"Tables": k.Tables(), "Tombstones": k.Tombstones(), "Context": Context{Store: k.StoreID()}, "Description": desc,
		"wrong": wrong, "unknown": unknown, "denied": denied, "KeyError": &KeyError{"op", "a:b", ErrKeyDenied}, "LimitError": &LimitError{"x", 2, 1},
		"in a struct": struct {
			K  *Keyring
			T  *TableKeys
			D  DataKey
			u  *TableKeys
			dk *DataKey
		}{k, tk, *dk, tk, dk},
		"in a map": map[string]any{"k": k, "t": tk, "d": dk},
	}
	texts := map[string]string{"log": log.String()}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			texts[name+" "+verb] = fmt.Sprintf(verb, v)
		}
		if b, err := json.Marshal(v); err == nil {
			texts[name+" json"] = string(b)
		}
		log.Reset()
		opts.Logger.Info("x", "v", v)
		texts[name+" slog"] = log.String()
	}
	for where, text := range texts {
		for what, secret := range secrets {
			require.False(t, shows(text, secret), "%s shows the %s: %s", where, what, text)
		}
	}
	for _, v := range []any{k, tk, dk, dk.Key} {
		_, err := json.Marshal(v)
		require.Error(t, err, "%T", v)
	}

	// Nor is any in the file, beyond what is wrapped.
	_, file := readFile(t, mem)
	for what, secret := range secrets {
		require.False(t, shows(string(file), secret), what)
	}
	require.NotContains(t, string(file), "canary")
}

// TestWipe looks at the keys after they have been wiped.
func TestWipe(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	tk := mustTable(t, k, "t", root, "metadata")
	store, table, metadata := k.storeKey.open.keys[1], tk.open.keys[1], tk.open.metadata
	tk.Wipe()
	tk.Wipe()
	require.True(t, table.Wiped())
	require.Equal(t, make([]byte, len(metadata)), metadata)
	require.Nil(t, tk.Metadata())
	require.False(t, store.Wiped())
	require.NoError(t, k.Close())
	require.True(t, store.Wiped())
	require.Equal(t, make([]byte, 32), store.Expose())
}
