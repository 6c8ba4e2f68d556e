// Package keyring holds the keys of a store: it makes them, wraps them, and
// keeps the wraps in one small authenticated file.
//
//	root key            in a key service (RootKey): never in the store
//	 ├ store key        one a store; seals the list of tables and the store's own files
//	 └ table key v3     one a table; context: store, table, purpose, version
//	    ├ table key v2, v1     older versions, each wrapped by the newest
//	    └ data key      one a sealed file; its wrap lies in the file's header
//
// Every key is 256 bits from crypto/rand. A root key wraps the store key and
// the newest version of each table key, by the Wrap of its service; all other
// wraps are AES-256-GCM under a key that HKDF-Expand-SHA-384 derives for that
// one wrap.
//
// # First call
//
//	svc, err := local.Open(path, local.Options{})
//	root, _, err := svc.Ensure(ctx, "default")
//	k, err := keyring.Create(ctx, dir, root, keyring.Options{})
//	tk, err := k.CreateTable(ctx, "shop.orders", root, metadata)
//	dk, err := tk.NewDataKey(fileID) // dk.Wrapped goes into the file's header
//	err = k.FinishCreate(ctx, tk.ID())
//
// and later
//
//	k, err := keyring.Open(ctx, dir, []keyring.RootKey{root}, false, keyring.Options{})
//	tk, err := k.OpenTable(ctx, id)
//	key, err := tk.DataKey(fileID, header.KeyVersion, header.WrappedKey[:])
//
// # What lies where
//
//	where                what                                       who can read it
//	key service          root keys; store id → newest generation    its administrator
//	keyring/KEYRING-n    store id, generation, table ids, times,    anyone with the disk
//	                     root-key URIs, wrapped keys
//	  list, sealed       names, states, incarnations, tombstones,   holder of the store key
//	                     clean-close records
//	  audit, sealed      the newest record of the audit log         holder of the store key
//	  entry, sealed      the table's metadata                       holder of the table key
//	a sealed file        its identity, its wrapped data key         anyone with the disk
//	memory               store key (until Close), table keys (until the process
//	                     Wipe), data keys (until the file's ciphers are made)
//
// docs/keyring-format.md has the bytes. The file is drawn at (*state).encode,
// an entry at keyEntry, the list at (*state).encodeList, the header of sealed
// files at [Header].
//
// # Guarantees
//
// Integrity. A keyring that was changed anywhere, by whoever does not hold the
// store key, does not open. An entry that was changed by somebody who holds
// the store key and not the table key does not open either: it has a MAC of
// its own. Moved wraps do not unwrap, since context and commitment bind them.
// A keyring of a format or suite that this build does not know is refused.
//
// Pins. Root keys are named by the caller of Open. What the keyring file names
// besides is never called and never wrapped to: a rotation that would have to
// fails, and names it. Nobody without the key itself can have written it in, for
// the key's entry has a MAC under the key.
//
// Several roots. Up to 16 root keys wrap a key, and any one of them that is pinned
// opens it: so losing one key service loses no data. They are asked in turn, the
// next when one fails or has kept silent for a second. A root key that is
// [Offline], such as a recovery recipient, wraps alone in daily use. PrepareAddRoot,
// PrepareReplaceRoot, PrepareRemoveRoot and PrepareRoot change which they are, of
// a table's key and of the store key; every rotation renews every wrap or fails.
//
// Rollback. Where a root of the store key is an [Anchor], each generation is
// noted in its service, and an older one put back alone is refused with
// ErrRollback. Of several, those that answer count, so one that is down may not
// know the newest; that none answers is an error. Elsewhere an older keyring
// opens: nothing inside the store can tell.
//
// Durability. A change writes KEYRING.tmp, syncs it, renames it to the next
// number, syncs the directory, tells the anchors, removes the older file, and
// returns. After a crash at any point the keyring is that before the change
// or that after it. A change that fails leaves the keyring in memory as it
// was; one that fails so late that it may be on the disk poisons the Keyring,
// and every further change fails until it is opened again.
//
// Locked tables. Open calls the key service once, for the store key. OpenTable
// calls it once a table. Listing, dropping and every change that concerns
// other tables carries a table's entry byte for byte and needs none of its
// keys.
//
// # Compatibility
//
// [FileVersion] and [FormatVersion] rise when bytes change meaning; a build
// opens every version up to its own. Several versions of a key, several wraps
// of a version and tombstones are in the format from version 1.
package keyring
