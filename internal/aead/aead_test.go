package aead

import (
	"bytes"
	"encoding/hex"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func newSealer(t testing.TB, fill byte) Sealer {
	s, err := Suite(nil).New(bytes.Repeat([]byte{fill}, 32))
	require.NoError(t, err)
	return s
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := newSealer(t, 1)
	for _, n := range []int{0, 1, 15, 16, 17, 1000, 100_000} {
		plain, additional := bytes.Repeat([]byte{9}, n), []byte("where")
		sealed, err := s.Seal([]byte("before"), plain, additional)
		require.NoError(t, err)
		require.Equal(t, "before", string(sealed[:6]))
		sealed = sealed[6:]
		require.Len(t, sealed, n+Overhead)
		opened, err := s.Open([]byte("before"), sealed, additional)
		require.NoError(t, err)
		require.Equal(t, append([]byte("before"), plain...), opened)
	}
}

// TestKnownAnswer opens test case 16 of the GCM specification (McGrew, Viega).
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	b := func(s string) []byte {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	s, err := Suite(nil).New(b("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))
	require.NoError(t, err)
	sealed := b("cafebabefacedbaddecaf888" +
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
		"76fc6ece0f4e1768cddf8853bb2d551b")
	opened, err := s.Open(nil, sealed, b("feedfacedeadbeeffeedfacedeadbeefabaddad2"))
	require.NoError(t, err)
	require.Equal(t, b("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"), opened)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	s := newSealer(t, 1)
	sealed, err := s.Seal(nil, []byte("plaintext"), []byte("where"))
	require.NoError(t, err)
	refuse := func(s Sealer, sealed []byte, additional string) {
		t.Helper()
		dst := []byte("kept")
		out, err := s.Open(dst, sealed, []byte(additional))
		require.Equal(t, ErrOpen, err)
		require.Equal(t, "kept", string(out))
	}
	for i := range sealed {
		for bit := range 8 {
			c := bytes.Clone(sealed)
			c[i] ^= 1 << bit
			refuse(s, c, "where")
		}
		refuse(s, sealed[:i], "where")
	}
	refuse(s, append(bytes.Clone(sealed), 0), "where")
	refuse(s, sealed, "elsewhere")
	refuse(s, sealed, "")
	refuse(newSealer(t, 2), sealed, "where")
}

func TestKeyLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 24, 31, 33} {
		_, err := Suite(nil).New(make([]byte, n))
		require.Error(t, err, "a key of %d bytes", n)
	}
}

// TestNonces seals one message many times, from several goroutines.
func TestNonces(t *testing.T) {
	t.Parallel()
	s := newSealer(t, 1)
	const each = 2000
	nonces := make([][each][NonceLen]byte, 4)
	var wg sync.WaitGroup
	for i := range nonces {
		wg.Go(func() {
			for j := range each {
				sealed, err := s.Seal(nil, []byte("x"), nil)
				if err != nil {
					t.Error(err)
				}
				copy(nonces[i][j][:], sealed)
			}
		})
	}
	wg.Wait()
	seen := map[[NonceLen]byte]bool{}
	for i := range nonces {
		for _, n := range nonces[i] {
			require.False(t, seen[n], "a nonce twice")
			seen[n] = true
		}
	}
}

// TestExhausted: the seal after the last that SP 800-38D allows is refused,
// and the one after it. Opening goes on.
func TestExhausted(t *testing.T) {
	t.Parallel()
	s := newSealer(t, 1).(*sealer)
	s.seals.Store(MaxSeals - 1)
	sealed, err := s.Seal(nil, []byte("the last"), nil)
	require.NoError(t, err)
	for range 2 {
		out, err := s.Seal([]byte("kept"), []byte("too many"), nil)
		require.Equal(t, ErrExhausted, err)
		require.Equal(t, "kept", string(out))
	}
	_, err = s.Open(nil, sealed, nil)
	require.NoError(t, err)
}

// TestSealsIntoRoom: room in dst is used, and nothing behind the message is
// touched.
func TestSealsIntoRoom(t *testing.T) {
	t.Parallel()
	s := newSealer(t, 1)
	room := bytes.Repeat([]byte{0xAA}, 100)
	sealed, err := s.Seal(room[:10], make([]byte, 20), nil)
	require.NoError(t, err)
	require.Same(t, &room[0], &sealed[0])
	require.Equal(t, bytes.Repeat([]byte{0xAA}, 100-10-20-Overhead), room[10+20+Overhead:])
}
