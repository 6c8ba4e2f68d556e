package floe

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/stretchr/testify/require"
)

// katsVar names the file of FLOE's known answers, from the repository of its
// specification.
const katsVar = "COFRE_FLOE_KATS"

type kats struct {
	KeyHex string `json:"key_hex"`
	AAD    string `json:"aad_utf8"`
	Tests  []kat  `json:"tests"`
}

type kat struct {
	Name         string `json:"name"`
	SegmentLen   uint32 `json:"enc_seg_len"`
	Plaintext    string `json:"plaintext_hex"`
	Ciphertext   string `json:"ciphertext_hex"`
	RotationBits uint   `json:"aead_rotation_mask"`
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestKnownAnswers opens what other implementations of FLOE have sealed, and
// makes again what is not random: the header and its tag, and the marks. What
// it seals itself must open in their place.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	path := os.Getenv(katsVar)
	if path == "" {
		t.Logf("nothing tested: %s is not set", katsVar)
		return
	}
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var all kats
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all.Tests, 14)
	key, err := secret.New(unhex(t, all.KeyHex))
	require.NoError(t, err)
	for _, k := range all.Tests {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			known(t, k, key, []byte(all.AAD))
		})
	}
}

func known(t *testing.T, k kat, key *secret.Key, aad []byte) {
	want, message := unhex(t, k.Plaintext), unhex(t, k.Ciphertext)
	header, body := message[:HeaderLen], message[HeaderLen:]
	p := Params{SegmentLen: k.SegmentLen, RotationBits: k.RotationBits}
	m, err := Resume(p, key, aad, header)
	require.NoError(t, err)

	// The header anew, from its IV.
	enc := p.encode()
	iv := header[paramsLen : paramsLen+ivLen]
	again, tag, err := start(p, key, aad, iv)
	require.NoError(t, err)
	require.Equal(t, header, append(append(enc[:], iv...), tag...))

	var got []byte
	var scratch [AADLen]byte
	full := int(k.SegmentLen)
	for position := uint64(0); len(body) > 0; position++ {
		n := min(full, len(body))
		segment, final := body[:n], n == len(body)
		body = body[n:]
		before := len(got)
		got, err = m.OpenSegment(got, segment, position, final, &scratch)
		require.NoError(t, err, "segment %d", position)

		plain := got[before:]
		mine, err := again.SealSegment(nil, plain, position, final, &scratch)
		require.NoError(t, err)
		require.Len(t, mine, len(segment))
		require.Equal(t, segment[:4], mine[:4])
		require.NotEqual(t, segment[4:16], mine[4:16], "a nonce again")
		opened, err := m.OpenSegment(nil, mine, position, final, &scratch)
		require.NoError(t, err)
		require.Equal(t, string(plain), string(opened))

		// Under any other position, finality or epoch it is refused.
		for _, other := range []uint64{position + 1, position ^ 1<<k.RotationBits, position + 1<<39} {
			_, err = m.OpenSegment(nil, segment, other, final, &scratch)
			require.Equal(t, ErrSegment, err)
		}
		_, err = m.OpenSegment(nil, segment, position, !final, &scratch)
		require.Equal(t, ErrSegment, err)
	}
	require.Equal(t, string(want), string(got))

	// The rotation matters: with another the same message does not open,
	// where it is long enough to have rotated.
	if segments := (len(message) - HeaderLen + full - 1) / full; segments > 1<<k.RotationBits {
		p.RotationBits = 20
		m, err = Resume(p, key, aad, header)
		require.NoError(t, err)
		at := 1 << k.RotationBits
		_, err = m.OpenSegment(nil, message[HeaderLen+at*full:][:full], uint64(at), false, &scratch)
		require.Equal(t, ErrSegment, err)
	}
}
