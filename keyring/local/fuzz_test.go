package local

import (
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

// fuzzKeys is a file that is the same in every process that fuzzes.
func fuzzKeys(t testing.TB) *keyFile {
	t.Helper()
	f := &keyFile{version: fileVersion, revision: 3, notes: []note{{store: keyring.ID{1}, generation: 2}}}
	for i, name := range []string{"a", "b"} {
		k := &rootKey{name: name, id: keyring.ID{1, byte(i)}, state: keyring.StateEnabled, createdAt: unixNano(1)}
		for n := uint32(1); n <= 2; n++ {
			key, err := keyring.NewSecret(make([]byte, 32))
			require.NoError(t, err)
			k.versions = append(k.versions, version{number: n, createdAt: unixNano(2), key: key})
		}
		f.add(k)
	}
	return f
}

// TestSeeds: a corpus that is not found is no corpus.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for dir, n := range map[string]int{"FuzzFile": 5, "FuzzUnwrap": 4} {
		seeds, err := os.ReadDir("testdata/fuzz/" + dir)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(seeds), n, dir)
	}
}

// FuzzFile: whatever parses has one encoding, and of version 1 one that holds
// the same; whatever does not is a *corrupt.Error, or sealed. The checksum is
// made to fit, or nothing would get past it.
func FuzzFile(f *testing.F) {
	f.Add(encoded(f, fuzzKeys(f)))
	for _, v := range fileVectors(f) {
		f.Add([]byte(v.In.File))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parse(t.Context(), b, nil)
		if err != nil && len(b) >= minFileLen {
			b = withChecksum(b)
			got, err = parse(t.Context(), b, nil)
		}
		if err != nil {
			require.True(t, errors.Is(err, corrupt.ErrCorrupt) || errors.Is(err, ErrSealed), "%v", err)
			return
		}
		again := encoded(t, got)
		if got.version == fileVersion {
			require.Equal(t, b, again)
			return
		}
		same, err := parse(t.Context(), again, nil)
		require.NoError(t, err)
		same.version = got.version
		require.Equal(t, got, same)
	})
}

// FuzzSealed: a sealed file opens as it was made, and no other opens.
func FuzzSealed(f *testing.F) {
	var good []byte
	var by *Sealing
	for _, v := range fileVectors(f) {
		f.Add([]byte(v.In.File))
		if v.Name == "2-key-file" {
			good, by = v.In.File, &Sealing{byKeyFile, &keyFileKey{content: v.In.KeyFile}}
		}
	}
	_, err := parse(f.Context(), good, []*Sealing{by})
	require.NoError(f, err)
	f.Add(encoded(f, fuzzKeys(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= minFileLen {
			b = withChecksum(b)
		}
		_, err := parse(t.Context(), b, []*Sealing{by})
		if err == nil {
			require.Equal(t, good, b)
			return
		}
		require.True(t, keyringtest.Classified(err), "%v", err)
	})
}

// fuzzWrap is what key "a" of fuzzKeys has wrapped for testContext.
const fuzzWrap = "01010000000000000000000000000000000000000251c8d2f9449e677f18b9c162d2eba9f02eb91ba6c1cdb97d5379078fe444100c4a692263c11eea79bc56009a8d647f1af49c28b94e6ef1519ffe2b758e1c0268dacee980c2309369967dc79a"

// FuzzUnwrap: a wrap opens for the context it was made for, and no other does.
func FuzzUnwrap(f *testing.F) {
	rk := fuzzKeys(f).keys[0]
	k := &Key{s: new(Service), name: rk.name}
	wrap, err := hex.DecodeString(fuzzWrap)
	require.NoError(f, err)
	_, err = k.unwrap(rk, wrap, testContext())
	require.NoError(f, err)
	f.Add(wrap)
	for _, v := range wrapVectors(f) {
		f.Add([]byte(v.In.Wrap))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := k.unwrap(rk, b, testContext())
		if err == nil {
			require.Equal(t, wrap, b)
		} else {
			require.True(t, keyringtest.Classified(err), "%v", err)
		}
	})
}
