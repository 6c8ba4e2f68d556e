// Package local is the local key service: named root keys in one file outside
// the store.
//
// # First call
//
//	path, err := local.DefaultPath()
//	svc, err := local.Open(path, local.Options{})
//	root, created, err := svc.Ensure(ctx, "default")
//	k, err := keyring.Create(ctx, dir, root, keyring.Options{})
//
// # What it protects
//
// The file is unsealed: it holds the root keys in the clear, and its mode is
// what guards it. It protects a store that is copied or stolen without the
// file, and from other users of the machine. It does not protect from one who
// takes the disk that holds both, or from the machine's administrator. Its
// checksum finds accidents, not attackers: whoever can write the file can
// write the checksum.
//
// # Keys
//
// A key has a random id, a state, and versions of 256 bits each. [Service.Rotate]
// adds a version: new wraps use it, older versions unwrap what they wrapped. A
// key of the same name in another file is another key: what this one wrapped
// is ErrKeyNotFound there.
//
//	state              Wrap, Unwrap
//	enabled            work
//	disabled           ErrKeyDenied
//	pending deletion   ErrKeyDenied; Enable calls it off
//
// # Notes
//
// [Key] is a keyring.Anchor. The file notes the newest keyring generation of
// each store and its digest, whatever the state of the keys, so that an older
// keyring put back alone is refused.
//
// # Guarantees
//
// The file is made with mode 0600, in a directory of mode 0700 where it makes
// that too. It is refused (*PermissionError) if the group or others have any
// access, and if it is no regular file: a symbolic link is not followed. On
// Windows the mode says nothing about access, so it is not looked at there; the
// profile directory's access list guards the file.
//
// A change locks path + ".lock", reads the file, writes path + ".tmp", syncs
// it, renames it over the file and syncs the directory: two processes lose
// nothing, and a crash leaves the file before the change or after it. Readers
// take no lock. Each Wrap and Unwrap looks whether the file has changed, so a
// key that another process disables is refused by the next call here.
//
// # The file
//
// Integers are big-endian. docs/keyring-format.md is normative.
//
//	 8  magic 93 43 4f 46 52 4c 0d 0a
//	 2  format version, 1
//	 1  sealing: 0 unsealed
//	 1  zero
//	 8  revision, one more with each change
//	 4  count of keys, ascending by name
//	    4+n name
//	   16   key id
//	    1   state: 1 enabled, 2 disabled, 3 pending deletion
//	    8   created at, nanoseconds since 1970
//	    4   count of versions, ascending
//	        4 number, from 1
//	        8 created at
//	       32 key
//	 4  count of notes, ascending by store id
//	   16   store id
//	    8   generation
//	   32   digest
//	32  SHA-256 of all before it
//
// # A wrapped key
//
//	 1  format, 1
//	16  key id
//	 4  version
//	16  salt
//	60  nonce ‖ key ‖ tag
//
// The wrapping key is derived from the version's key with the salt, and so
// seals once. The first 37 bytes and the canonical encryption context are the
// additional data.
package local
