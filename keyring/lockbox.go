package keyring

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	lockboxMagic     = "\x93COFRB\r\n" // B: box; a key-service file has L
	lockboxHeaderLen = 28

	// LockboxVersion is the version of the lockbox.
	//
	//	1  the first
	LockboxVersion = 1

	// MaxLockboxLen bounds a lockbox, in bytes.
	MaxLockboxLen = 8 << 20
)

// A lockbox is what the keyring holds of one table's key, taken out of it: with any
// one of the root keys that wrapped it at that time, it opens what the table's key
// has sealed until then, wherever the store is. It holds no more than the keyring
// does, and making one takes no key:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 42 0d 0a
//	  8    2  format version
//	 10    1  suite
//	 11    1  zero
//	 12   16  store id
//	 28  4+n  the table's entry, as the keyring has it
//
// The entry has a MAC under the key that it wraps, over the store's id too.

// Lockbox takes a table's lockbox. No key service is called. The error is
// ErrTableUnknown.
func (k *Keyring) Lockbox(id ID) ([]byte, error) {
	s := k.cur.Load()
	i, ok := s.find(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrTableUnknown, id)
	}
	var w codec.Writer
	w.Raw([]byte(lockboxMagic))
	w.U16(LockboxVersion)
	w.U8(SuiteAES256GCM)
	w.U8(0)
	w.Raw(k.storeID[:])
	w.Bytes(s.tables[i].entry.raw)
	return w.B, nil
}

// IsLockbox tells whether b begins as a lockbox does.
func IsLockbox(b []byte) bool { return bytes.HasPrefix(b, []byte(lockboxMagic)) }

// LockboxInfo is what a lockbox shows without a key. It is not authentic.
type LockboxInfo struct {
	Store ID        `json:"store"`
	Entry EntryInfo `json:"entry"`
}

// InspectLockbox reads what is in the clear. The error is a *corrupt.Error of class
// ErrFormat or ErrVersion.
func InspectLockbox(b []byte) (LockboxInfo, error) {
	store, e, err := parseLockbox(b)
	if err != nil {
		return LockboxInfo{}, err
	}
	return LockboxInfo{Store: store, Entry: e.info()}, nil
}

func parseLockbox(b []byte) (store ID, e *keyEntry, err error) {
	bad := func(off int64, format string, args ...any) (ID, *keyEntry, error) {
		return ID{}, nil, corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if len(b) < lockboxHeaderLen || !IsLockbox(b) {
		return bad(0, "not a lockbox: too short, or the wrong magic")
	}
	if len(b) > MaxLockboxLen {
		return bad(0, "%d bytes are more than a lockbox can have", len(b))
	}
	r := codec.NewReader(b[len(lockboxMagic):])
	version, suite, zero := r.U16(), r.U8(), r.U8()
	switch {
	case version != LockboxVersion:
		return ID{}, nil, corrupt.New(corrupt.ErrVersion, "", 8, "lockbox format version %d, this build knows %d", version, LockboxVersion)
	case suite != SuiteAES256GCM:
		return ID{}, nil, corrupt.New(corrupt.ErrVersion, "", 10, "cipher suite %d, this build knows %d", suite, SuiteAES256GCM)
	case zero != 0:
		return bad(11, "reserved byte is %d", zero)
	}
	r.Fill(store[:])
	raw := r.Bytes(MaxLockboxLen)
	if err := r.Done(); err != nil {
		return bad(lockboxHeaderLen, "%v", err)
	}
	e, err = parseEntry(raw, lockboxHeaderLen+4)
	if err == nil && e.id.IsZero() {
		return bad(lockboxHeaderLen+4, "the entry of no table")
	}
	return store, e, err
}

// OpenLockbox has one of the roots unwrap the table's key. It makes one call to a
// key service, or one to each root until one unwraps. Every version of the key that
// was not retired when the lockbox was taken is in the result, and the metadata; its
// name and incarnation are not. The caller wipes it.
//
// Errors are *KeyError, ErrRootNotPinned where no root given is named by the lockbox,
// and *corrupt.Error.
func OpenLockbox(ctx context.Context, b []byte, roots []RootKey, opts Options) (*TableKeys, error) {
	store, e, err := parseLockbox(b)
	if err != nil {
		return nil, err
	}
	k, err := newKeyring("", roots, true, opts)
	if err != nil {
		return nil, err
	}
	k.storeID = store
	ec := Context{Store: store, Table: e.id, Purpose: PurposeTableKey, Version: e.newest().number}
	at := place{path: "lockbox", offset: lockboxHeaderLen + 4}
	key, err := k.unwrap(ctx, e, ec, "unwrap table key", at)
	if err != nil {
		return nil, err
	}
	keys, metadata, err := e.unlock(k.opts.Suite, key, ec)
	if err != nil {
		return nil, at.of(err)
	}
	return k.tableKeys(&tableRow{id: e.id, entry: e}, keys, metadata), nil
}
