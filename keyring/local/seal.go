package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// The sealings of a file. They are wire constants.
const (
	unsealed     = 0
	byPassphrase = 1
	byKeyFile    = 2
)

const (
	labelFile   = "cofre/v1/key-service"
	purposeFile = "key-service"
	sealVersion = 2 // of the format that brought the seal

	sealOverhead = saltLen + aead.Overhead
	maxSealWrap  = 1024
)

// A Sealing is what a key-service file is sealed by: a passphrase, or a file
// of random bytes. It holds the secret until the Service that it is handed to
// closes. It is safe for concurrent use.
type Sealing struct {
	kind uint8
	by   wrapper
}

// A wrapper wraps the key of the file. A passphrase's root key is one.
type wrapper interface {
	Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error)
	Close() error
}

// ByPassphrase seals by a passphrase: by its bytes as they are, which it
// copies. The cost is that of Seal and of a new file; zero is
// passphrase.DefaultCost. A file that is sealed keeps its cost. Errors are
// those of passphrase.New.
func ByPassphrase(phrase []byte, cost passphrase.Cost) (*Sealing, error) {
	k, err := passphrase.New(phrase, passphrase.Options{Cost: cost})
	if err != nil {
		return nil, err
	}
	return &Sealing{byPassphrase, k}, nil
}

// ByKeyFile seals by the file at path, which holds 32 random bytes or more.
// It is read once, here. Errors are *PermissionError where others have access
// to it, ErrSealingKey, and both are keyring.ErrKeyDenied.
func ByKeyFile(path string) (*Sealing, error) {
	k, err := readKeyFile(path, checkMode)
	if err != nil {
		return nil, err
	}
	return &Sealing{byKeyFile, k}, nil
}

// ByCredential seals by a credential of a systemd unit: by the file of that
// name in the directory that $CREDENTIALS_DIRECTORY names. It is a key file in
// all else, and opens what ByKeyFile has sealed by the same bytes.
func ByCredential(name string) (*Sealing, error) {
	path, err := credentialPath(name)
	if err != nil {
		return nil, err
	}
	k, err := readKeyFile(path, checkCredentialMode)
	if err != nil {
		return nil, err
	}
	return &Sealing{byKeyFile, k}, nil
}

// Close wipes the secret. A Service closes the one that it has been handed. It
// is idempotent and accepts nil.
func (s *Sealing) Close() error {
	if s == nil || s.by == nil {
		return nil
	}
	return s.by.Close()
}

// String says by what, and no secret.
func (s *Sealing) String() string {
	if s == nil {
		return sealedBy(unsealed)
	}
	return sealedBy(s.kind)
}

// Format is String, whatever the verb.
func (s *Sealing) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// sealedBy names a sealing for people.
func sealedBy(kind uint8) string {
	switch kind {
	case unsealed:
		return "unsealed"
	case byPassphrase:
		return "sealed by a passphrase"
	}
	return "sealed by a key file"
}

// A seal is the sealing of one file: the key that seals it, and its wrap.
// They stay while the file is changed, and so does the cost of a passphrase;
// each change has a salt of its own.
type seal struct {
	kind  uint8
	wrap  []byte
	key   *keyring.Secret // nil where unsealed
	suite aead.Suite      // nil outside tests
}

func fileContext() keyring.Context {
	return keyring.Context{Purpose: purposeFile, Version: sealVersion}
}

// newSeal makes a new key for a file, and wraps it; a nil Sealing makes none.
func (s *Sealing) newSeal(ctx context.Context) (seal, error) {
	if s == nil || s.kind == unsealed {
		return seal{}, nil
	}
	key := keyring.RandomSecret()
	wrap, err := s.by.Wrap(ctx, key, fileContext())
	if err != nil {
		key.Wipe()
		return seal{}, err
	}
	return seal{kind: s.kind, wrap: wrap, key: key}, nil
}

// open finds the key of the file. A Sealing of another kind than the file's
// does not do: where a sealed file is asked for, an unsealed one could be
// anybody's.
func (s *seal) open(ctx context.Context, sealings []*Sealing) error {
	var first error
	for _, by := range sealings {
		if by.kind != s.kind {
			continue
		}
		if by.kind == unsealed {
			return nil
		}
		key, err := by.by.Unwrap(ctx, s.wrap, fileContext())
		if err == nil {
			s.key = key
			return nil
		}
		if first == nil {
			first = wrapFault(err)
		}
	}
	switch {
	case first != nil:
		return first
	case s.kind != unsealed:
		return &SealedError{Passphrase: s.kind == byPassphrase, Wrong: len(sealings) > 0 && sealings[0].kind != unsealed}
	case len(sealings) > 0:
		return fmt.Errorf("%w: %w", keyring.ErrKeyDenied, ErrNotSealed)
	}
	return nil
}

// wrapFault makes tampering of what unwrapping calls so.
func wrapFault(err error) error {
	var ce *corrupt.Error
	switch {
	case errors.As(err, &ce):
		return corrupt.New(ce.Class, "", prefixLen, "the wrap of the file's key: %v", err)
	case errors.Is(err, keyring.ErrWrongContext):
		return corrupt.New(corrupt.ErrAuth, "", prefixLen, "the wrap of the file's key does not open: the file was changed")
	}
	return err
}

// sealBody appends a salt and the sealed text to the header, which is the
// additional data.
func (s *seal) sealBody(header, text []byte) ([]byte, error) {
	b := slices.Grow(header, sealOverhead+len(text))[:len(header)+saltLen]
	salt := b[len(header):]
	rand.Read(salt)
	sealer, err := derive.Sealer(s.suite, s.key, labelFile, salt)
	if err != nil {
		return nil, err
	}
	return sealer.Seal(b, text, header)
}

// openBody opens what sealBody made. The caller clears the text.
func (s *seal) openBody(header, sealed []byte) ([]byte, error) {
	at := int64(len(header))
	if len(sealed) < sealOverhead {
		return nil, bad(at, "%d bytes are too short for the sealed part", len(sealed))
	}
	sealer, err := derive.Sealer(s.suite, s.key, labelFile, sealed[:saltLen])
	if err != nil {
		return nil, err
	}
	// With room for all, so that no copy is left by growing.
	text, err := sealer.Open(make([]byte, 0, len(sealed)), sealed[saltLen:], header)
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", at, "the sealed part does not open: the file was changed")
	}
	return text, nil
}
