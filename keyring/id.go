package keyring

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// An ID names a store, a table, a sealed file, a snapshot or an incarnation:
// 128 bits from crypto/rand. Its text form is 32 hexadecimal digits.
type ID [16]byte

// NewID returns a random ID.
func NewID() ID {
	var id ID
	rand.Read(id[:])
	return id
}

// ParseID reads the text form.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("keyring: %q is no id: an id is 32 hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("keyring: %q is no id: %w", s, err)
	}
	return id, nil
}

// IsZero tells whether id is the zero ID, which names nothing.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText gives the text form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}
