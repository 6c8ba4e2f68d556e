package keyring

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	overlayMagic     = "\x93COFRO\r\n" // O: overlay
	overlayHeaderLen = 64
	overlayEntryLen  = 16 + WrappedKeyLen

	// OverlayVersion is the version of the overlay file.
	//
	//	1  the first
	OverlayVersion = 1

	// MaxOverlayKeys bounds the data keys that an overlay wraps.
	MaxOverlayKeys = 1 << 20

	// MaxOverlayLen bounds the overlay file, in bytes.
	MaxOverlayLen = overlayHeaderLen + 4 + sealOverhead + 4 + MaxOverlayKeys*overlayEntryLen
)

// An Overlay wraps data keys of files that exist once more, under a newer
// version of the table key, so that the version in their headers is not needed:
// headers are never edited, for snapshots share the files. It holds no plaintext
// key, is immutable, and lies in a file of its own:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 4f 0d 0a
//	  8    2  format version
//	 10    1  suite
//	 11    1  zero
//	 12   16  store id
//	 28   16  table id
//	 44   16  overlay id
//	 60    4  version of the table key, which wraps and seals all below
//	 64  4+n  sealed with a salt, label cofre/v1/overlay; bytes 0 to 63 are its
//	          additional data:
//	            4      count of data keys
//	              16   file id, or what else the key was made for; ascending
//	              60   wrapped data key
//
// Whoever keeps the file keeps its [Overlay.Digest] elsewhere, under the table's
// key: an older one is as authentic.
type Overlay struct {
	id      ID
	version uint32
	wraps   map[ID][WrappedKeyLen]byte
	raw     []byte
}

// ID is random, one an overlay.
func (o *Overlay) ID() ID { return o.id }

// Version is the version of the table key that wraps its data keys.
func (o *Overlay) Version() uint32 { return o.version }

// Len is the number of its data keys.
func (o *Overlay) Len() int { return len(o.wraps) }

// Has tells whether it has the data key of a file.
func (o *Overlay) Has(file ID) bool {
	if o == nil {
		return false
	}
	_, ok := o.wraps[file]
	return ok
}

// Wrap is the data key of a file as the overlay has it; ok is false if it has none.
func (o *Overlay) Wrap(file ID) (w WrappedDataKey, ok bool) {
	if o == nil {
		return w, false
	}
	wrapped, ok := o.wraps[file]
	return WrappedDataKey{File: file, Version: o.version, Wrapped: wrapped}, ok
}

// Bytes is the whole file. They are not to be changed.
func (o *Overlay) Bytes() []byte { return o.raw }

// Digest is the SHA-256 of the file.
func (o *Overlay) Digest() [32]byte { return sha256.Sum256(o.raw) }

// A WrappedDataKey is the data key of a file as the file carries it.
type WrappedDataKey struct {
	File    ID
	Version uint32 // of the table key that wraps it
	Wrapped [WrappedKeyLen]byte
}

// Rewrap makes an overlay in which the newest version wraps each of the data keys
// given that an older one wraps: ten thousand take a fifth of a second. Those
// that the present overlay has under the newest version already, it takes as they
// are. Nothing is changed; SetOverlay has the overlay used.
//
// Errors are ErrKeysWiped, *LimitError, and *corrupt.Error as DataKey's.
func (t *TableKeys) Rewrap(keys []WrappedDataKey) (*Overlay, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	o := &Overlay{id: NewID(), version: t.version, wraps: make(map[ID][WrappedKeyLen]byte, len(keys))}
	for i := range keys {
		k := &keys[i]
		if k.Version == t.version || o.Has(k.File) {
			continue
		}
		if have := t.open.overlay; have.Has(k.File) && have.version == t.version {
			o.wraps[k.File] = have.wraps[k.File]
			continue
		}
		key, err := t.dataKey(k.File, k.Version, k.Wrapped[:])
		if err != nil {
			return nil, err
		}
		again, err := rewrapDataKey(t.suite, t.open.keys[t.version], key, t.store, t.id, k.File, t.version)
		key.Wipe()
		if err != nil {
			return nil, err
		}
		o.wraps[k.File] = again
	}
	if len(o.wraps) > MaxOverlayKeys {
		return nil, &LimitError{What: "data keys of an overlay", Len: len(o.wraps), Max: MaxOverlayKeys}
	}
	return o, t.sealOverlay(o)
}

func (t *TableKeys) overlayHeader(o *Overlay) []byte {
	var w codec.Writer
	w.Raw([]byte(overlayMagic))
	w.U16(OverlayVersion)
	w.U8(SuiteAES256GCM)
	w.U8(0)
	w.Raw(t.store[:])
	w.Raw(t.id[:])
	w.Raw(o.id[:])
	w.U32(o.version)
	return w.B
}

// sealOverlay makes the file; t.mu is held.
func (t *TableKeys) sealOverlay(o *Overlay) error {
	list := codec.Writer{B: make([]byte, 0, 4+len(o.wraps)*overlayEntryLen)}
	list.U32(uint32(len(o.wraps)))
	for _, id := range slices.SortedFunc(maps.Keys(o.wraps), compareIDs) {
		wrapped := o.wraps[id]
		list.Raw(id[:])
		list.Raw(wrapped[:])
	}
	head := t.overlayHeader(o)
	sealed, err := sealSalted(t.suite, t.open.keys[o.version], labelOverlay, list.B, head)
	if err != nil {
		return err
	}
	w := codec.Writer{B: head}
	w.Bytes(sealed)
	o.raw = w.B
	return nil
}

// OpenOverlay reads an overlay of the table. b is kept. Errors are ErrKeysWiped
// and *corrupt.Error: of class ErrFormat, ErrVersion, ErrForeign (another table's
// or another overlay than id), ErrVersionUnknown, ErrAuth.
func (t *TableKeys) OpenOverlay(b []byte, id ID) (*Overlay, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	o, sealed, err := t.parseOverlay(b)
	if err != nil {
		return nil, err
	}
	if o.id != id {
		return nil, corrupt.New(corrupt.ErrForeign, "", 44, "is overlay %s, the table's is %s", o.id, id)
	}
	key, ok := t.open.keys[o.version]
	if !ok {
		return nil, corrupt.New(ErrVersionUnknown, "", 60, "table %s has no key version %d", t.id, o.version)
	}
	list, err := openSalted(t.suite, key, labelOverlay, sealed, b[:overlayHeaderLen])
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", overlayHeaderLen, "the overlay does not open")
	}
	return o, o.parse(list)
}

// InspectOverlay reads an overlay's id and the version of the table's key that it wraps
// under. They are in the clear, and not authentic. The error is a *corrupt.Error of class
// ErrFormat.
func InspectOverlay(b []byte) (id ID, version uint32, err error) {
	if len(b) < overlayHeaderLen || !bytes.HasPrefix(b, []byte(overlayMagic)) {
		return id, 0, corrupt.New(corrupt.ErrFormat, "", 0, "not an overlay: too short, or the wrong magic")
	}
	r := codec.NewReader(b[overlayHeaderLen-20:])
	r.Fill(id[:])
	return id, r.U32(), nil
}

// parseOverlay reads what is in the clear.
func (t *TableKeys) parseOverlay(b []byte) (o *Overlay, sealed []byte, err error) {
	bad := func(off int64, format string, args ...any) (*Overlay, []byte, error) {
		return nil, nil, corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if len(b) < overlayHeaderLen || !bytes.HasPrefix(b, []byte(overlayMagic)) {
		return bad(0, "not an overlay: too short, or the wrong magic")
	}
	o = &Overlay{raw: b}
	r := codec.NewReader(b[len(overlayMagic):])
	version, suite, zero := r.U16(), r.U8(), r.U8()
	switch {
	case version != OverlayVersion:
		return nil, nil, corrupt.New(corrupt.ErrVersion, "", 8, "overlay format version %d, this build knows %d", version, OverlayVersion)
	case suite != SuiteAES256GCM:
		return nil, nil, corrupt.New(corrupt.ErrVersion, "", 10, "cipher suite %d, this build knows %d", suite, SuiteAES256GCM)
	case zero != 0:
		return bad(11, "reserved byte is %d", zero)
	}
	var store, table ID
	r.Fill(store[:])
	r.Fill(table[:])
	if store != t.store || table != t.id {
		return nil, nil, corrupt.New(corrupt.ErrForeign, "", 12, "belongs to table %s of store %s", table, store)
	}
	r.Fill(o.id[:])
	o.version = r.U32()
	sealed = r.Bytes(MaxOverlayLen)
	if err := r.Done(); err != nil {
		return bad(overlayHeaderLen, "%v", err)
	}
	return o, sealed, nil
}

// parse reads the list, which is authentic, strictly.
func (o *Overlay) parse(list []byte) error {
	r := codec.NewReader(list)
	n := r.Count(MaxOverlayKeys, overlayEntryLen)
	o.wraps = make(map[ID][WrappedKeyLen]byte, n)
	var last ID
	for i := range n {
		var id ID
		var wrapped [WrappedKeyLen]byte
		r.Fill(id[:])
		r.Fill(wrapped[:])
		if i > 0 && compareIDs(last, id) >= 0 {
			return corrupt.New(corrupt.ErrFormat, "", overlayHeaderLen, "file %s out of order", id)
		}
		o.wraps[id], last = wrapped, id
	}
	if err := r.Done(); err != nil {
		return corrupt.New(corrupt.ErrFormat, "", overlayHeaderLen, "%v", err)
	}
	return nil
}

// SetOverlay has DataKey look into o from now on; nil is no overlay. It does
// nothing after Wipe.
func (t *TableKeys) SetOverlay(o *Overlay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil {
		t.open.overlay = o
	}
}

// overlaid unwraps the data key of a file from the overlay; t.mu is held. What the
// file itself carries must be the same key, as long as there is a key to tell: so
// that a changed header is found in a file that the overlay covers too.
func (t *TableKeys) overlaid(file ID, version uint32, wrapped []byte) (*Secret, error) {
	o := t.open.overlay
	under, ok := t.open.keys[o.version]
	if !ok {
		return nil, corrupt.New(ErrVersionUnknown, "", headerWrapOffset-4, "table %s has no key version %d, which its overlay is under", t.id, o.version)
	}
	again := o.wraps[file]
	key, err := unwrapDataKey(t.suite, under, t.store, t.id, file, o.version, again[:])
	if err != nil {
		return nil, err
	}
	if t.open.retired[version] {
		return key, nil
	}
	own, err := t.headerKey(file, version, wrapped)
	if err == nil && !own.Equal(key) {
		err = corrupt.New(corrupt.ErrAuth, "", headerWrapOffset, "the data key is not the one that the overlay has")
	}
	if own != nil {
		own.Wipe()
	}
	if err != nil {
		key.Wipe()
		return nil, err
	}
	return key, nil
}

// IsOverlay tells whether b begins as an overlay does.
func IsOverlay(b []byte) bool { return bytes.HasPrefix(b, []byte(overlayMagic)) }

// String gives the overlay's id.
func (o *Overlay) String() string { return fmt.Sprintf("Overlay(%s)", o.id) }
