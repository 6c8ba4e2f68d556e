// Package recovery is a root key whose private half lies on paper. The store and
// its program have the public key alone: they wrap to it and cannot unwrap. Whoever
// has the printed sheet, and a copy of the store, opens it without any key service.
//
// # First call
//
//	id, err := recovery.Generate()
//	sheet := id.Sheet(recovery.About{Store: store.ID(), Tables: names})
//	… print the sheet, keep the public key: id.Recipient().MarshalText()
//	id.Close()
//
// then, in each process that has the store open,
//
//	rec, err := recovery.ParseRecipient(text) // from the program's configuration
//	store, err := engine.Open(ctx, dir, engine.Options{RootKey: root, Roots: []keyring.RootKey{rec}})
//	err = store.AddRoot(ctx, rec)
//	err = table.AddRoot(ctx, rec) // each table
//
// and after the root key was lost
//
//	id, err := recovery.ParseSheet(text)
//	store, err := engine.Open(ctx, dir, engine.Options{RootKey: fresh, Roots: []keyring.RootKey{id}})
//	err = store.ReplaceRoot(ctx, lostURI, fresh) // and each table
//
// # The wrap
//
// HPKE, RFC 9180, base mode, with the hybrid KEM MLKEM768-P256
// (draft-ietf-hpke-pq), HKDF-SHA-256 and AES-256-GCM, of the standard library: what
// is copied today is not opened by a quantum computer, nor by a fault in ML-KEM
// alone. The info is the canonical encryption context, so a wrap that is moved
// elsewhere does not open. docs/keyring-format.md has the bytes.
//
//	 1    format, 1
//	25    fingerprint of the recipient
//	1153  encapsulated key
//	48    key ‖ tag; additional data: the 26 bytes before
//
// # Fingerprints
//
// A recipient's fingerprint is the first 200 bits of the SHA-256 of its public key,
// in eight groups of five letters and digits. It is the name in the recipient's URI,
// which each wrap lies under; it is printed on the sheet, shown by whoever adds the
// recipient, and computed anew from the key wherever a key is read. So a planted
// public key, whatever it calls itself, has another URI: it is not pinned under the
// name of the one that a table has, and a rotation fails rather than wrap to it.
//
// A public key in the configuration is trusted as a pin is: who can change the
// configuration can have the next table wrapped to a key of his own. That is why a
// person compares fingerprints when a recipient is added.
//
// # The sheet
//
// The private key is a seed of 32 bytes. It is printed in four lines of 16 letters
// and digits, each with a checksum of its own and of its place, in Crockford's base
// 32, which has no I, L, O or U. Capitals, spaces and hyphens do not matter, and O
// and I are read as the digits that they look like. [ParseSheet] names the line with
// a typo. It fails unless the key has the fingerprint that is printed beside it.
//
// # FIPS
//
// All of it is approved, and runs with GODEBUG=fips140=only. A program that is built
// with the module v1.0.0 (GOFIPS140=v1.0.0) has no approved AES-GCM for HPKE: then
// wrapping and unwrapping fail with ErrNotApproved where approval is enforced.
//
// # What stays in memory
//
// An [Identity] holds the seed until Close. Keys that the standard library makes of
// it for each Unwrap live until their memory is used again.
package recovery
