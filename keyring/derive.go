package keyring

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
)

// The labels of derived keys: one use, one label. They are wire constants.
const (
	labelDataKey    = "cofre/v1/data-key"    // wraps a data key; context: file id
	labelOlderKey   = "cofre/v1/older-key"   // wraps an older version; context: its number
	labelOverlay    = "cofre/v1/overlay"     // seals a data-key overlay; context: salt
	labelRecord     = "cofre/v1/record"      // seals a record outside the store; context: salt
	labelMetadata   = "cofre/v1/metadata"    // seals metadata; context: salt
	labelEntryMAC   = "cofre/v1/entry-mac"   // authenticates a key's entry
	labelList       = "cofre/v1/list"        // seals the list of tables; context: salt
	labelAudit      = "cofre/v1/audit-state" // seals the state of the audit log; context: salt
	labelKeyringMAC = "cofre/v1/keyring-mac" // authenticates the keyring file
	labelCommitment = "cofre/v1/commitment"  // commits to key and encryption context
)

const (
	macLen        = sha512.Size384
	commitmentLen = 32
	saltLen       = 16
	sealOverhead  = saltLen + aead.Overhead
)

// sealSalted seals text under a key derived with a random salt, so that the
// derived key seals once however often the record is rewritten:
//
//	salt (16) ‖ nonce (12) ‖ text ‖ tag (16)
func sealSalted(suite aead.Suite, key *Secret, label string, text, additional []byte) ([]byte, error) {
	out := make([]byte, saltLen, len(text)+sealOverhead)
	rand.Read(out)
	s, err := derive.Sealer(suite, key, label, out[:saltLen])
	if err != nil {
		return nil, err
	}
	return s.Seal(out, text, additional)
}

// openSalted opens what sealSalted made, or fails with aead.ErrOpen.
func openSalted(suite aead.Suite, key *Secret, label string, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, aead.ErrOpen
	}
	s, err := derive.Sealer(suite, key, label, sealed[:saltLen])
	if err != nil {
		return nil, err
	}
	return s.Open(nil, sealed[saltLen:], additional)
}

// mac is HMAC-SHA-384 over the parts, which together must be unambiguous,
// under a key derived from key.
func mac(key *Secret, label string, parts ...[]byte) ([]byte, error) {
	k, err := derive.Bytes(key, label, nil, macLen)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	h := hmac.New(sha512.New384, k)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil), nil
}

// commit binds a key to its encryption context: the value is stored beside
// the wraps and compared after each unwrap. GCM does not commit to its key, and
// a key service may carry no context; this does both.
func commit(key *Secret, ec Context) ([]byte, error) {
	return derive.Bytes(key, labelCommitment, ec.Canonical(), commitmentLen)
}

// committed tells whether want is the commitment of key and ec.
func committed(key *Secret, ec Context, want []byte) (bool, error) {
	got, err := commit(key, ec)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// dataKeyAAD is the additional data of a data key's wrap.
func dataKeyAAD(store, table, file ID, version uint32) []byte {
	var w codec.Writer
	w.Raw(store[:])
	w.Raw(table[:])
	w.Raw(file[:])
	w.U32(version)
	return w.B
}

// wrapDataKey makes and seals the data key of a file. The wrapping key is
// derived for that file and version alone, and so seals once or, where an overlay
// is made again after a crash, a few times.
func wrapDataKey(suite aead.Suite, key *Secret, store, table, file ID, version uint32) (*DataKey, error) {
	dk := &DataKey{Key: RandomSecret(), Version: version}
	var err error
	if dk.Wrapped, err = rewrapDataKey(suite, key, dk.Key, store, table, file, version); err != nil {
		dk.Key.Wipe()
		return nil, err
	}
	return dk, nil
}

// rewrapDataKey seals the data key of a file that exists under another version.
func rewrapDataKey(suite aead.Suite, key, dataKey *Secret, store, table, file ID, version uint32) (wrapped [WrappedKeyLen]byte, err error) {
	s, err := derive.Sealer(suite, key, labelDataKey, file[:])
	if err != nil {
		return wrapped, err
	}
	sealed, err := s.Seal(nil, dataKey.Expose(), dataKeyAAD(store, table, file, version))
	copy(wrapped[:], sealed)
	return wrapped, err
}

// unwrapDataKey opens what wrapDataKey sealed.
func unwrapDataKey(suite aead.Suite, key *Secret, store, table, file ID, version uint32, wrapped []byte) (*Secret, error) {
	s, err := derive.Sealer(suite, key, labelDataKey, file[:])
	if err != nil {
		return nil, err
	}
	return openKey(s, wrapped, dataKeyAAD(store, table, file, version), func() error {
		return corrupt.New(corrupt.ErrAuth, "", headerWrapOffset, "the data key does not open under table-key version %d", version)
	})
}

// headerWrapOffset is where a sealed file's header has the wrapped data key.
const headerWrapOffset = identityLen + 4

// openKey opens a wrapped 256-bit key.
func openKey(s aead.Sealer, wrapped, additional []byte, fault func() error) (*Secret, error) {
	if len(wrapped) != WrappedKeyLen {
		return nil, fault()
	}
	b, err := s.Open(make([]byte, 0, WrappedKeyLen), wrapped, additional)
	if err != nil {
		return nil, fault()
	}
	return secret.Take(b)
}

// wrapOlder seals an older version of a table key under the newest. The
// wrapping key is derived for that pair alone.
func wrapOlder(suite aead.Suite, newest, older *Secret, ec Context) ([]byte, error) {
	s, err := derive.Sealer(suite, newest, labelOlderKey, versionContext(ec.Version))
	if err != nil {
		return nil, err
	}
	return s.Seal(nil, older.Expose(), ec.Canonical())
}

func versionContext(v uint32) []byte {
	var w codec.Writer
	w.U32(v)
	return w.B
}
