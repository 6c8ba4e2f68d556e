package local

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	// credentialsDirectory is where systemd says that a unit's credentials
	// lie (systemd.exec(5), LoadCredential=).
	credentialsDirectory = "CREDENTIALS_DIRECTORY"

	labelKeyFile      = "cofre/v1/key-file"
	labelKeyFileCheck = "cofre/v1/key-file-check"
	labelKeyFileWrap  = "cofre/v1/key-file-wrap"

	minKeyFileLen = 32
	maxKeyFileLen = 64 << 10

	keyFileFormat   = 1
	keyFileCheckLen = 16
	keyFileHeadLen  = 1 + saltLen + keyFileCheckLen
	keyFileWrapLen  = keyFileHeadLen + keyring.WrappedKeyLen
)

// A keyFileKey wraps by the content of a key file:
//
//	 1  format, 1
//	16  salt
//	16  check value, that of a key derived from content and salt
//	60  nonce ‖ key ‖ tag
//
// The content is no passphrase: it is as hard to guess as a key, so deriving
// is cheap (HKDF-SHA-384, RFC 5869, extract and expand). The check value tells
// another file from a changed wrap. It is safe for concurrent use.
type keyFileKey struct {
	suite aead.Suite // nil outside tests

	mu      sync.Mutex // guards content
	content []byte     // nil after Close
}

// readKeyFile reads a private regular file. It follows no link.
func readKeyFile(path string, check func(string, fs.FileMode) error) (*keyFileKey, error) {
	f, size, err := openPrivate(path, check)
	if err != nil {
		return nil, sealingKeyError(path, err)
	}
	defer f.Close()
	if size < minKeyFileLen || size > maxKeyFileLen {
		return nil, sealingKeyError(path, fmt.Errorf("it is %d bytes long, not %d to %d", size, minKeyFileLen, maxKeyFileLen))
	}
	b := make([]byte, size)
	if err := readAt(f, path, b, 0); err != nil {
		clear(b)
		return nil, sealingKeyError(path, err)
	}
	if len(bytes.TrimLeft(b, string(b[:1]))) == 0 {
		return nil, sealingKeyError(path, errors.New("all of its bytes are the same: that is no key"))
	}
	return &keyFileKey{content: b}, nil
}

// sealingKeyError gives an error ErrSealingKey, and keyring.ErrKeyDenied. A
// key file that is none is no corruption of a store.
func sealingKeyError(path string, err error) error {
	if errors.Is(err, corrupt.ErrCorrupt) {
		return fmt.Errorf("%w: %w: %v", keyring.ErrKeyDenied, ErrSealingKey, err)
	}
	return fmt.Errorf("%w: %w: %s: %w", keyring.ErrKeyDenied, ErrSealingKey, path, err)
}

func credentialPath(name string) (string, error) {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\\x00") {
		return "", sealingKeyError(fmt.Sprintf("credential %q", name), errors.New("it is not the name of a file"))
	}
	dir := os.Getenv(credentialsDirectory)
	if !filepath.IsAbs(dir) {
		return "", sealingKeyError(fmt.Sprintf("credential %q", name), errors.New("$"+credentialsDirectory+" names no directory: is this a systemd unit that loads credentials?"))
	}
	return filepath.Join(dir, name), nil
}

// derive makes the key of the file for a salt, and its check value.
func (k *keyFileKey) derive(salt []byte) (*secret.Key, []byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.content == nil {
		return nil, nil, keyring.ErrClosed
	}
	b, err := hkdf.Key(sha512.New384, k.content, salt, labelKeyFile, secret.Size)
	if err != nil {
		return nil, nil, err
	}
	key, err := secret.Take(b)
	if err != nil {
		return nil, nil, err
	}
	check, err := derive.Bytes(key, labelKeyFileCheck, nil, keyFileCheckLen)
	if err != nil {
		key.Wipe()
		return nil, nil, err
	}
	return key, check, nil
}

// Wrap implements wrapper.
func (k *keyFileKey) Wrap(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	var salt [saltLen]byte
	rand.Read(salt[:])
	own, check, err := k.derive(salt[:])
	if err != nil {
		return nil, err
	}
	defer own.Wipe()
	w := codec.Writer{B: make([]byte, 0, keyFileWrapLen)}
	w.U8(keyFileFormat)
	w.Raw(salt[:])
	w.Raw(check)
	s, err := derive.Sealer(k.suite, own, labelKeyFileWrap, salt[:])
	if err != nil {
		return nil, err
	}
	return s.Seal(w.B, key.Expose(), slices.Concat(w.B, ec.Canonical()))
}

// Unwrap implements wrapper. Errors are keyring.ErrKeyDenied where the file is
// not the one that wrapped, keyring.ErrWrongContext, and *corrupt.Error.
func (k *keyFileKey) Unwrap(_ context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if len(wrapped) != keyFileWrapLen {
		return nil, bad(-1, "%d bytes, not %d", len(wrapped), keyFileWrapLen)
	}
	r := codec.NewReader(wrapped)
	if f := r.U8(); f != keyFileFormat {
		return nil, corrupt.New(corrupt.ErrVersion, "", -1, "format %d, this build knows %d", f, keyFileFormat)
	}
	salt, check := r.Raw(saltLen), r.Raw(keyFileCheckLen)
	own, want, err := k.derive(salt)
	if err != nil {
		return nil, err
	}
	defer own.Wipe()
	if subtle.ConstantTimeCompare(check, want) != 1 {
		return nil, fmt.Errorf("%w: wrong key file", keyring.ErrKeyDenied)
	}
	s, err := derive.Sealer(k.suite, own, labelKeyFileWrap, salt)
	if err != nil {
		return nil, err
	}
	b, err := s.Open(make([]byte, 0, keyring.WrappedKeyLen), r.Rest(), slices.Concat(wrapped[:keyFileHeadLen], ec.Canonical()))
	if err != nil || len(b) != secret.Size {
		return nil, fmt.Errorf("%w: %w", keyring.ErrWrongContext, aead.ErrOpen)
	}
	return secret.Take(b)
}

// Format shows no content, whatever the verb.
func (k *keyFileKey) Format(f fmt.State, _ rune) { io.WriteString(f, "key file") }

// Close wipes the content.
func (k *keyFileKey) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.content)
	k.content = nil
	return nil
}
