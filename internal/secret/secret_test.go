package secret

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33, 64} {
		_, err := New(make([]byte, n))
		require.Error(t, err)
	}
	b := bytes.Repeat([]byte{7}, Size)
	k, err := New(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, bytes.Repeat([]byte{7}, Size), k.Expose(), "New copies")

	b = bytes.Repeat([]byte{8}, Size)
	k, err = Take(b)
	require.NoError(t, err)
	require.Equal(t, make([]byte, Size), b, "Take wipes what it was handed")
	require.Equal(t, bytes.Repeat([]byte{8}, Size), k.Expose())
	b = []byte{1, 2, 3}
	_, err = Take(b)
	require.Error(t, err)
	require.Equal(t, []byte{0, 0, 0}, b, "also where it refuses it")
}

func TestRandom(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		seen[string(Random().Expose())] = true
	}
	require.Len(t, seen, 100)
}

func TestEqualAndClone(t *testing.T) {
	t.Parallel()
	a := Random()
	b := a.Clone()
	require.True(t, a.Equal(b))
	require.False(t, a.Equal(Random()))
	a.Wipe()
	require.False(t, a.Equal(b), "a clone has a life of its own")
	require.False(t, b.Wiped())
}

func TestWipe(t *testing.T) {
	t.Parallel()
	k := Random()
	require.False(t, k.Wiped())
	exposed := k.Expose()
	k.Wipe()
	k.Wipe()
	require.True(t, k.Wiped())
	require.Equal(t, make([]byte, Size), exposed)
	(*Key)(nil).Wipe()
	require.True(t, new(Key).Wiped())
	require.Equal(t, make([]byte, Size), new(Key).Expose())
	new(Key).Wipe()
	require.True(t, new(Key).Clone().Wiped())
	require.True(t, (*Key)(nil).Wiped())
}

// TestDoesNotLeak prints and encodes a key in every way that happens by
// accident, alone and inside other values, and looks for it in the output.
func TestDoesNotLeak(t *testing.T) {
	t.Parallel()
	k := Random()
	type holder struct {
		Name  string
		Key   *Key
		Value Key

		key   *Key // fmt calls no methods of unexported fields
		value Key
	}
	h := holder{"h", k, *k, k, *k}
	var out bytes.Buffer
	for _, v := range []any{k, *k, h, &h, []*Key{k}, []Key{*k}, map[string]*Key{"k": k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%T", "%p", "%w", "%10.3v"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v, fmt.Sprint(v), fmt.Errorf("key %v", v))
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "key", v)

		b, err := json.Marshal(v)
		require.ErrorIs(t, err, ErrMarshal)
		out.Write(b)
		require.ErrorIs(t, gob.NewEncoder(&out).Encode(v), ErrMarshal)
	}
	_, err := encoding.TextMarshaler(k).MarshalText()
	require.ErrorIs(t, err, ErrMarshal)
	_, err = encoding.BinaryMarshaler(k).MarshalBinary()
	require.ErrorIs(t, err, ErrMarshal)
	require.Equal(t, "REDACTED", k.String())

	text := out.String()
	require.Contains(t, text, "REDACTED")
	raw := k.Expose()
	numbers := strings.Trim(fmt.Sprint(raw[:4]), "[]")
	for _, form := range []string{
		string(raw), hex.EncodeToString(raw)[:16], strings.ToUpper(hex.EncodeToString(raw))[:16],
		base64.StdEncoding.EncodeToString(raw)[:16], numbers, strings.ReplaceAll(numbers, " ", ","),
		strings.Trim(fmt.Sprintf("%#v", raw[:4]), "[]byte{}"),
	} {
		require.False(t, strings.Contains(text, form), "the key is in the output as %q", form)
	}
}
