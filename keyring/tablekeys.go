package keyring

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
)

// TableKeys are the unwrapped keys of one table, all versions, and its opened
// metadata. They hold plaintext keys until Wipe and are safe for concurrent
// use. They implement DataKeys.
type TableKeys struct {
	suite       aead.Suite
	store, id   ID
	name        string
	incarnation ID

	changing sync.Mutex // held by SetMetadata

	mu      sync.RWMutex // guards all below, and what open points to
	version uint32       // the newest
	roots   []string     // that wrap it
	open    *openKeys    // nil after Wipe
}

// openKeys are what Wipe takes away. They lie behind a pointer, which is as
// far as package fmt goes in a field that it may not call methods on.
type openKeys struct {
	keys     map[uint32]*Secret
	metadata []byte
	retired  map[uint32]bool // versions that are gone
	overlay  *Overlay        // nil if there is none
}

// ID is the table's id, zero for the store's own keys.
func (t *TableKeys) ID() ID { return t.id }

// Name is the table's name.
func (t *TableKeys) Name() string { return t.name }

// Version is the newest version of the table key, which wraps new data keys.
func (t *TableKeys) Version() uint32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.version
}

// Incarnation is the life of the table, bound into its files.
func (t *TableKeys) Incarnation() ID { return t.incarnation }

// RootURIs are the root keys that wrap the newest version.
func (t *TableKeys) RootURIs() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.roots)
}

// Metadata returns a copy of the table's metadata.
func (t *TableKeys) Metadata() []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil
	}
	return bytes.Clone(t.open.metadata)
}

// Clone returns a copy that lives on its own; the caller wipes it.
func (t *TableKeys) Clone() *TableKeys {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := &TableKeys{
		suite: t.suite, store: t.store, id: t.id, name: t.name, incarnation: t.incarnation,
		version: t.version, roots: slices.Clone(t.roots),
	}
	if t.open == nil {
		return c
	}
	c.open = &openKeys{
		keys: make(map[uint32]*Secret, len(t.open.keys)), metadata: bytes.Clone(t.open.metadata),
		retired: maps.Clone(t.open.retired), overlay: t.open.overlay,
	}
	for v, key := range t.open.keys {
		c.open.keys[v] = key.Clone()
	}
	return c
}

// Overlay is the overlay in use, or nil.
func (t *TableKeys) Overlay() *Overlay {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil
	}
	return t.open.overlay
}

// Wipe zeroes the keys and drops the metadata. What is asked of t afterwards
// fails with ErrKeysWiped. It is idempotent.
func (t *TableKeys) Wipe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil {
		wipeAll(t.open.keys)
		clear(t.open.metadata)
		t.open = nil
	}
}

// NewDataKey makes the data key of a new file.
func (t *TableKeys) NewDataKey(file ID) (*DataKey, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	return wrapDataKey(t.suite, t.open.keys[t.version], t.store, t.id, file, t.version)
}

// DataKey unwraps the data key of an existing file. Errors are ErrKeysWiped
// or *corrupt.Error, of class ErrVersionUnknown or corrupt.ErrAuth.
func (t *TableKeys) DataKey(file ID, version uint32, wrapped []byte) (*Secret, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	return t.dataKey(file, version, wrapped)
}

// dataKey is DataKey with t.mu held.
func (t *TableKeys) dataKey(file ID, version uint32, wrapped []byte) (*Secret, error) {
	if t.open.overlay.Has(file) {
		return t.overlaid(file, version, wrapped)
	}
	return t.headerKey(file, version, wrapped)
}

// headerKey unwraps the data key of a file from its own header; t.mu is held.
func (t *TableKeys) headerKey(file ID, version uint32, wrapped []byte) (*Secret, error) {
	key, ok := t.open.keys[version]
	if !ok {
		return nil, corrupt.New(ErrVersionUnknown, "", identityLen, "table %s has no key version %d", t.id, version)
	}
	return unwrapDataKey(t.suite, key, t.store, t.id, file, version, wrapped)
}

// Format shows the id, whatever the verb.
func (t *TableKeys) Format(f fmt.State, _ rune) {
	io.WriteString(f, "TableKeys("+t.id.String()+")")
}

// MarshalJSON refuses.
func (t *TableKeys) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }

// newest returns a copy of the newest version, or nil after Wipe, and its
// number. The caller wipes it.
func (t *TableKeys) newest() (*Secret, uint32) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, 0
	}
	return t.open.keys[t.version].Clone(), t.version
}

// setMetadata keeps what the keyring now has, unless t has been wiped.
func (t *TableKeys) setMetadata(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil {
		clear(t.open.metadata)
		t.open.metadata = append([]byte{}, b...)
	}
}

func wipeAll(keys map[uint32]*Secret) {
	for _, k := range keys {
		k.Wipe()
	}
}
