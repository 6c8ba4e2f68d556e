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
// An unsealed file holds the root keys in the clear, and its mode is what
// guards it. It protects a store that is copied or stolen without the file,
// and from other users of the machine. It does not protect from one who takes
// the disk that holds both, or from the machine's administrator. Its checksum
// finds accidents, not attackers: whoever can write the file can write the
// checksum.
//
// A sealed file is encrypted and authenticated as a whole: keys, notes,
// aliases and grants. It opens with a [Sealing]: a passphrase ([ByPassphrase]),
// a file of random bytes ([ByKeyFile]) or a credential of a systemd unit
// ([ByCredential]).
//
//	by, err := local.ByKeyFile("/media/stick/cofre.key")
//	svc, err := local.Open(path, local.Options{Sealing: by})
//
// The file is then as safe as what seals it. A wrong passphrase or key file is
// keyring.ErrKeyDenied, a changed file a *corrupt.Error of class ErrAuth. Who
// can write the file can still put back an older one; and an unsealed one,
// with keys that he knows, which is why it is refused ([ErrNotSealed]) where a
// Sealing is given. [Service.Seal] and [Service.Unseal] change the sealing of a
// file. Copies from before stay as they were.
//
// # Keys
//
// A key has a random id, a state, and versions of 256 bits each. [Service.Rotate]
// adds a version: new wraps use it, older versions unwrap what they wrapped. A
// key of the same name in another file is another key: what this one wrapped
// is ErrKeyNotFound there.
//
//	state              use             becomes
//	enabled            works           disabled, pending deletion
//	disabled           ErrKeyDenied    enabled, pending deletion
//	pending deletion   ErrKeyDenied    disabled, by CancelDeletion
//	past its date      ErrKeyNotFound  destroyed, by the next change
//
// States, names and bounds are those of AWS KMS. [Service.ScheduleDeletion]
// gives a key 7 to 30 days. Once they have passed, the next change of the file
// destroys it; no process does so without the file's lock, and none by itself.
// What counts is the machine's clock: while a Service is open, a key whose date
// it has seen pass does not come back though the clock goes back, and a clock
// that was ahead for a moment, and is right when the file is changed, destroys
// nothing. [Service.EnableRotation] rotates a key each 90 to 2560 days, with
// the first change or seal after the date. An older copy of the file lacks the
// newer versions: copies are to be renewed.
//
// An alias ([Service.CreateAlias]) stands wherever a name does, as
// "alias/NAME". It is resolved at once: what a store keeps names the key.
//
// # Texts
//
// [Key.Wrap] and [Key.Unwrap] serve the keyring. [Key.Encrypt], [Key.Decrypt],
// [Key.GenerateDataKeyWithoutPlaintext] and [Key.ReEncrypt] serve a program's
// own texts, of up to 4096 bytes, with an encryption context of its own. One
// does not open what the other sealed.
//
// # Grants
//
// [Options.Principal] says who asks. "" is the owner, who may do all. Any other
// principal may use a key as far as a grant ([Service.CreateGrant]) says:
// operations, and which encryption context they must have. So that a program
// can use "default" for one store only:
//
//	svc.CreateGrant(ctx, "default", local.Grant{
//		Grantee:       "reports",
//		Operations:    local.OpWrap | local.OpUnwrap | local.OpDescribeKey,
//		ContextSubset: local.EncryptionContext{"cofre:store": id.String()},
//	})
//
// [Key] is a keyring.Granter: a store makes two grants for each of its tables, and
// gives them back, as package engine says. "cofre kms grants" shows them.
//
// States and grants bind programs that use this package, and tell who they are
// truthfully. They guard from mistakes. Whoever can read an unsealed file, or
// what seals a sealed one, has all keys in it, whatever it says of them.
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
// profile directory's access list guards the file. A key file is held to the
// same; a credential may be readable by its group, as systemd makes it.
//
// A change locks path + ".lock", reads the file, writes path + ".tmp", syncs
// it, renames it over the file and syncs the directory: two processes lose
// nothing, and a crash leaves the file before the change or after it. Readers
// take no lock. Each use of a key looks whether the file has changed, so a key
// that another process disables is refused by the next call here.
//
// # The file
//
// Integers are big-endian. docs/keyring-format.md is normative. Version 1 has
// no seal, dates, destroyed keys, aliases and grants; it is read, and becomes
// version 2 with the next change.
//
//	 8  magic 93 43 4f 46 52 4c 0d 0a
//	 2  format version, 2
//	 1  sealing: 0 unsealed, 1 by a passphrase, 2 by a key file
//	 1  zero
//	 8  revision, one more with each change
//	4+n wrap of the file's key; empty where unsealed
//	16  salt                                       where sealed
//	12  nonce                                      where sealed
//	    body, in the clear or encrypted:
//	 4  count of keys, ascending by name
//	    4+n name
//	   16   key id
//	    1   state: 1 enabled, 2 disabled, 3 pending deletion
//	    8   created at, nanoseconds since 1970
//	    8   destroyed from then on; 0 none
//	    4   days between rotations; 0 none
//	    8   next rotation; 0 none
//	    4   count of versions, ascending
//	        4 number, from 1
//	        8 created at
//	       32 key
//	 4  count of destroyed keys, in the order of destruction
//	   16   key id
//	    4+n name
//	    8   destroyed at
//	 4  count of aliases, ascending by name
//	    4+n name
//	   16   key id
//	 4  count of grants, ascending by id
//	   16   grant id
//	   16   key id
//	    4+n grantee
//	    4+n retiring principal, or empty
//	    4   operations
//	    8   created at
//	    1   constraint: 0 none, 1 context equals, 2 context subset
//	    4   count of pairs, ascending: 4+n key, 4+n value
//	 4  count of notes, ascending by store id
//	   16   store id
//	    8   generation
//	   32   digest
//	16  tag                                        where sealed
//	32  SHA-256 of all before it
//
// The key of a sealed file is wrapped once, when the file is sealed; each
// change encrypts under a key derived from it with a fresh salt. All before
// the salt is additional data.
//
// # A sealed text
//
//	 1  format: 1 a wrapped key, 2 a text
//	16  key id
//	 4  version
//	16  salt
//	 n  nonce ‖ text ‖ tag
//
// Its key is derived from the version's key with the salt, and so seals once.
// The first 37 bytes and the canonical encryption context are the additional
// data.
package local
