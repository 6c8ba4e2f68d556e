package keyring

import (
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

// Current tells which wrap of a file's data key is in force: that of the overlay, if
// it has one, else the one given, from the file itself.
func (t *TableKeys) Current(k WrappedDataKey) WrappedDataKey {
	o := t.Overlay()
	if !o.Has(k.File) {
		return k
	}
	return WrappedDataKey{File: k.File, Version: o.version, Wrapped: o.wraps[k.File]}
}

// Collect makes an overlay in memory from wraps that were kept elsewhere, each under
// a version that t has. It has no file. Errors are those of DataKey, and *LimitError.
func (t *TableKeys) Collect(keys []WrappedDataKey) (*Overlay, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	if len(keys) > MaxOverlayKeys {
		return nil, &LimitError{What: "data keys of an overlay", Len: len(keys), Max: MaxOverlayKeys}
	}
	o := &Overlay{id: NewID(), version: t.version, wraps: make(map[ID][WrappedKeyLen]byte, len(keys))}
	for i := range keys {
		k := &keys[i]
		key, err := t.headerKey(k.File, k.Version, k.Wrapped[:])
		if err != nil {
			return nil, err
		}
		o.wraps[k.File], err = rewrapDataKey(t.suite, t.open.keys[t.version], key, t.store, t.id, k.File, t.version)
		key.Wipe()
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Adopt wraps the data key of a file that another table has made under the newest
// version of this table's key: the file becomes this table's as well.
func (t *TableKeys) Adopt(file ID, key *Secret) (WrappedDataKey, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return WrappedDataKey{}, ErrKeysWiped
	}
	w, err := rewrapDataKey(t.suite, t.open.keys[t.version], key, t.store, t.id, file, t.version)
	return WrappedDataKey{File: file, Version: t.version, Wrapped: w}, err
}

// Holds tells whether t has these versions of the table's key.
func (t *TableKeys) Holds(versions []uint32) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, v := range versions {
		if t.open == nil || t.open.keys[v] == nil {
			return false
		}
	}
	return true
}

// StoreID is the id of the store that the keys belong to.
func (t *TableKeys) StoreID() ID { return t.store }

// SealRecord seals a record that lies outside the store, such as the index of a
// backup, under the newest version of the table's key, which it returns. additional
// is authenticated with it, and so are store, table and version.
func (t *TableKeys) SealRecord(text, additional []byte) (sealed []byte, version uint32, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, 0, ErrKeysWiped
	}
	sealed, err = sealSalted(t.suite, t.open.keys[t.version], labelRecord, text, t.recordAAD(t.version, additional))
	return sealed, t.version, err
}

// OpenRecord opens what SealRecord made. Errors are ErrKeysWiped and *corrupt.Error of
// class ErrVersionUnknown or ErrAuth.
func (t *TableKeys) OpenRecord(version uint32, sealed, additional []byte) ([]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	key, ok := t.open.keys[version]
	if !ok {
		return nil, corrupt.New(ErrVersionUnknown, "", -1, "table %s has no key version %d", t.id, version)
	}
	text, err := openSalted(t.suite, key, labelRecord, sealed, t.recordAAD(version, additional))
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", -1, "the record does not open under version %d of the key of table %s", version, t.id)
	}
	return text, nil
}

func (t *TableKeys) recordAAD(version uint32, additional []byte) []byte {
	w := codec.Writer{B: make([]byte, 0, 36+len(additional))}
	w.Raw(t.store[:])
	w.Raw(t.id[:])
	w.U32(version)
	w.Raw(additional)
	return w.B
}
