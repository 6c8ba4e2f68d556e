// Package secret holds key material in a type that does not leak by accident.
//
// A [Key] neither prints nor marshals: formatting shows "REDACTED" or an
// address, and every encoder of the standard library refuses it. Its bytes are
// reached by [Key.Expose] alone, so that one search of the source finds every
// place that handles raw keys.
//
// Zeroing is best effort. Go may have copied the bytes before (stack growth,
// a cipher's key schedule); the threat model says what a plain build leaves. A
// build with GOEXPERIMENT=runtimesecret erases such copies, by [Scope].
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// Size is the length of every key, in bytes: 256 bits.
const Size = 32

// ErrMarshal is what every encoder gets that is handed a Key.
var ErrMarshal = errors.New("secret: a key does not marshal")

// A Key is 256 bits of key material. The zero Key holds zeros and is wiped.
// Reading a Key from several goroutines is safe; wiping it meanwhile is not.
//
// The bytes lie behind two pointers, since fmt does not ask Format everywhere:
// not for %p and %w, nor for an unexported field. It follows one pointer then,
// and shows an address.
type Key struct {
	b     **[Size]byte
	wiped bool
}

func newKey() (k *Key) {
	Scope(func() { k = &Key{b: new(new([Size]byte))} })
	return k
}

// New copies b, which must be [Size] bytes long, and leaves b to its owner.
func New(b []byte) (*Key, error) {
	if len(b) != Size {
		return nil, fmt.Errorf("secret: a key is %d bytes long, not %d", Size, len(b))
	}
	k := newKey()
	Scope(func() { copy(k.Expose(), b) })
	return k, nil
}

// Take is [New] that also wipes b.
func Take(b []byte) (*Key, error) {
	k, err := New(b)
	clear(b)
	return k, err
}

// Random returns a new key from the operating system's generator
// (crypto/rand, SP 800-90A in FIPS mode).
func Random() *Key {
	k := newKey()
	Scope(func() { rand.Read(k.Expose()) }) // never fails: crypto/rand ends the process instead
	return k
}

// Expose returns the key's bytes, not a copy. The caller must not keep them.
func (k *Key) Expose() []byte {
	if k.b == nil {
		return make([]byte, Size)
	}
	return (*k.b)[:]
}

// Wipe overwrites the key with zeros. It is idempotent and accepts nil.
func (k *Key) Wipe() {
	if k == nil {
		return
	}
	clear(k.Expose())
	k.wiped = true
}

// Wiped tells whether the key has been wiped.
func (k *Key) Wiped() bool { return k == nil || k.wiped || k.b == nil }

// Equal compares two keys in constant time.
func (k *Key) Equal(o *Key) (equal bool) {
	Scope(func() { equal = subtle.ConstantTimeCompare(k.Expose(), o.Expose()) == 1 })
	return equal
}

// Clone returns a copy with a life of its own.
func (k *Key) Clone() *Key {
	c := newKey()
	Scope(func() { copy(c.Expose(), k.Expose()) })
	c.wiped = k.Wiped()
	return c
}

const redacted = "REDACTED"

func (k Key) String() string                 { return redacted }
func (k Key) GoString() string               { return redacted }
func (k Key) Format(f fmt.State, _ rune)     { io.WriteString(f, redacted) }
func (k Key) MarshalText() ([]byte, error)   { return nil, ErrMarshal }
func (k Key) MarshalJSON() ([]byte, error)   { return nil, ErrMarshal }
func (k Key) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }
func (k Key) GobEncode() ([]byte, error)     { return nil, ErrMarshal }
