package passphrase

import (
	"crypto/fips140"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

// A KDF is a function that makes a key of a passphrase. KDFs are wire
// constants.
type KDF uint8

const (
	Argon2id KDF = 1
	PBKDF2   KDF = 2 // HMAC-SHA-256
)

func (k KDF) String() string {
	switch k {
	case Argon2id:
		return "Argon2id"
	case PBKDF2:
		return "PBKDF2-HMAC-SHA-256"
	}
	return fmt.Sprintf("kdf(%d)", uint8(k))
}

// A Cost says how dear a derivation is.
type Cost struct {
	KDF    KDF
	Time   uint32 // passes of Argon2id, rounds of PBKDF2
	Memory uint32 // KiB; Argon2id only
	Lanes  uint8  // Argon2id only
}

// DefaultCost is the floor of Argon2id, or of PBKDF2 where FIPS 140-3 mode is
// on.
func DefaultCost() Cost {
	kdf := Argon2id
	if fips140.Enabled() {
		kdf = PBKDF2
	}
	return defaultBounds()[kdf].floor
}

func (c Cost) String() string {
	if c.KDF == PBKDF2 {
		return fmt.Sprintf("%s, %d rounds", c.KDF, c.Time)
	}
	return fmt.Sprintf("%s, t=%d, m=%d KiB, p=%d", c.KDF, c.Time, c.Memory, c.Lanes)
}

// ErrCost is the class of every CostError.
var ErrCost = errors.New("cost of a passphrase out of bounds")

// ErrNotApproved says that a wrap needs Argon2id, which FIPS 140-3 mode does
// not allow when it is enforced. It comes with keyring.ErrKeyDenied.
var ErrNotApproved = errors.New("Argon2id is not an approved algorithm")

// A CostError says which parameter is out of bounds. Nothing has been derived.
type CostError struct {
	Parameter       string
	Value, Min, Max uint64
}

func (e *CostError) Error() string {
	return fmt.Sprintf("%v: %s is %d, not between %d and %d", ErrCost, e.Parameter, e.Value, e.Min, e.Max)
}

// Unwrap gives ErrCost.
func (e *CostError) Unwrap() error { return ErrCost }

// bounds are the floor and the ceiling of each KDF. A Key has its own, which
// this package's tests lower.
type bounds map[KDF]struct{ floor, ceiling Cost }

func defaultBounds() bounds {
	return bounds{
		Argon2id: {Cost{Argon2id, 3, 64 << 10, 4}, Cost{Argon2id, 16, 2 << 20, 16}},
		PBKDF2:   {Cost{PBKDF2, 600_000, 0, 0}, Cost{PBKDF2, 10_000_000, 0, 0}},
	}
}

// check fails with a *CostError.
func (b bounds) check(c Cost) error {
	lim, ok := b[c.KDF]
	if !ok {
		return &CostError{Parameter: "derivation", Value: uint64(c.KDF), Min: uint64(Argon2id), Max: uint64(PBKDF2)}
	}
	for _, p := range []struct {
		name         string
		v, min, most uint64
	}{
		{c.KDF.String() + " time", uint64(c.Time), uint64(lim.floor.Time), uint64(lim.ceiling.Time)},
		{c.KDF.String() + " memory in KiB", uint64(c.Memory), uint64(lim.floor.Memory), uint64(lim.ceiling.Memory)},
		{c.KDF.String() + " lanes", uint64(c.Lanes), uint64(lim.floor.Lanes), uint64(lim.ceiling.Lanes)},
	} {
		if p.v < p.min || p.v > p.most {
			return &CostError{Parameter: p.name, Value: p.v, Min: p.min, Max: p.most}
		}
	}
	return nil
}

// derive makes the key of a passphrase, at a cost that has been checked.
func (c Cost) derive(phrase, salt []byte) (*secret.Key, error) {
	if c.KDF == PBKDF2 {
		b, err := pbkdf2.Key(sha256.New, string(phrase), salt, int(c.Time), secret.Size)
		if err != nil {
			return nil, err
		}
		return secret.Take(b)
	}
	if fips140.Enforced() {
		return nil, fmt.Errorf("%w: %w", keyring.ErrKeyDenied, ErrNotApproved)
	}
	return secret.Take(argon2.IDKey(phrase, salt, c.Time, c.Memory, c.Lanes, secret.Size))
}
