// Package storage says where the objects of a backup repository lie: in a
// directory (package dir) or in an S3 bucket (package s3). Package locate opens
// either by its location.
//
//	s, err := locate.Open(ctx, "s3://bucket/clinic?region=eu-west-1", locate.Options{})
//	err = s.Put(ctx, "data/0a/0a1b2c", storage.Bytes(b))
//	r, err := s.Get(ctx, "data/0a/0a1b2c", 0, -1)
//
// # Objects
//
// An object is bytes under a name. It is made whole by [Storage.Put], which
// never changes one that is there, and goes whole by [Storage.Delete]. Nobody
// ever sees a part of one. [Storage.Replace] puts right bytes in the place of
// damaged ones; it is the only way an object changes.
//
// A register is a small object that does change, by compare-and-swap
// ([Storage.Load], [Storage.Swap]). Locks are made of registers (package
// lease). A name is used for one or the other.
//
// A storage knows nothing of what it holds, and needs no secret of the
// store's: what is put is ciphertext. It is not trusted either. What it returns
// is checked by the repository, by hash and by tag.
//
// # Guarantees
//
// When Put, Replace, Swap or Delete returns nil, the change is durable, and
// every Get, Stat, Load and List that begins later sees it, from any process.
// What was put has been compared with what the storage says it holds: size and
// checksum, or the bytes themselves where it tells no checksum.
//
// When one of them fails, the change is there whole or not at all. Which of the
// two is not known after [ErrUnreachable] and after a context has ended: the
// same call again settles it.
//
// Where a storage does not keep these promises, [Check] says which, and what
// depends on it.
//
// # Names
//
// A name is up to [MaxName] bytes of letters, digits, '.', '_', '-' and '/',
// in elements of up to [MaxElement] bytes that slashes part. An element does
// not begin or end with a dot. Names that are equal but for case, and a name
// that is a folder of another ("a" beside "a/b"), are the caller's to avoid: a
// directory cannot hold both. [CheckName] is the rule.
package storage
