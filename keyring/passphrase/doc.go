// Package passphrase is a root key that is derived from a passphrase. It
// needs no service and no file: whoever knows the passphrase has the key.
//
// # First call
//
//	root, err := passphrase.New(phrase, passphrase.Options{Label: "laptop"})
//	defer root.Close()
//	k, err := keyring.Create(ctx, dir, root, keyring.Options{})
//
// # Cost
//
// Argon2id (RFC 9106) slows down who guesses, or PBKDF2-HMAC-SHA-256 where
// FIPS 140-3 mode is on. The parameters lie in each wrap and are bounded
// before any work is done: below the floor somebody has made guessing cheap,
// above the ceiling somebody wants memory or time. Both are *CostError.
//
//	            floor                       default    ceiling
//	Argon2id    t=3   m=64 MiB   p=4        floor      t=16   m=2 GiB   p=16
//	PBKDF2      600,000 rounds              floor      10,000,000 rounds
//
// One derivation runs at a time, and its result is kept in memory until
// Close. All wraps that one Key makes share a salt, and a Key that has
// unwrapped a key of the same cost goes on with that one's salt: a store of
// a thousand tables costs one derivation to open, not a thousand. Salts are
// against tables computed beforehand, for which one random salt a store is
// enough. Each wrap has a key of its own nonetheless, by a second salt.
//
// # Guarantees
//
// A wrong passphrase is keyring.ErrKeyDenied, by a check value that lies
// beside the wrap; GCM alone could not tell it from a wrong context, which is
// keyring.ErrWrongContext. The check value makes guessing no cheaper: a guess
// costs the derivation with or without it. A flipped bit in cost, salt or check value
// looks like a wrong passphrase, or is refused as out of bounds.
//
// There is no Anchor: against an older keyring put back, a passphrase does not
// help.
//
// # A wrapped key
//
// Integers are big-endian. docs/keyring-format.md is normative.
//
//	 1  format, 1
//	 1  derivation: 1 Argon2id, 2 PBKDF2-HMAC-SHA-256
//	 4  passes (Argon2id) or rounds (PBKDF2)
//	 4  memory in KiB; 0 for PBKDF2
//	 1  lanes; 0 for PBKDF2
//	16  salt of the passphrase
//	16  check value
//	16  salt of the wrap
//	60  nonce ‖ key ‖ tag
//
// The first 59 bytes and the canonical encryption context are the additional
// data.
package passphrase
