package local

import (
	"crypto/sha256"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

const checksumLen = sha256.Size

// encode makes the bytes of the file, always of the newest version. Those of
// an unsealed file hold keys: the caller clears them. Errors are
// *keyring.LimitError where the file would be longer than one may be.
func (f *keyFile) encode() ([]byte, error) {
	n := prefixLen + 4 + len(f.seal.wrap) + f.bodyLen() + checksumLen
	if f.seal.kind != unsealed {
		n += sealOverhead
	}
	if n > maxFileLen {
		return nil, &keyring.LimitError{What: "bytes of a key-service file", Len: n, Max: maxFileLen}
	}
	// Exact, here and below, so that no copy of a key is left by growing.
	w := codec.Writer{B: make([]byte, 0, n)}
	w.Raw([]byte(fileMagic))
	w.U16(fileVersion)
	w.U8(f.seal.kind)
	w.U8(0)
	w.U64(f.revision)
	w.Bytes(f.seal.wrap)
	if f.seal.kind == unsealed {
		f.body(&w)
	} else {
		text := codec.Writer{B: make([]byte, 0, f.bodyLen())}
		defer func() { clear(text.B) }()
		f.body(&text)
		sealed, err := f.seal.sealBody(w.B, text.B)
		if err != nil {
			return nil, err
		}
		w.B = sealed
	}
	sum := sha256.Sum256(w.B)
	w.Raw(sum[:])
	return w.B, nil
}

// body writes what is sealed, where the file is.
func (f *keyFile) body(w *codec.Writer) {
	w.U32(uint32(len(f.keys)))
	for _, k := range f.keys {
		k.encode(w)
	}
	w.U32(uint32(len(f.destroyed)))
	for _, d := range f.destroyed {
		w.Raw(d.id[:])
		w.Str(d.name)
		w.U64(uint64(d.at.UnixNano()))
	}
	w.U32(uint32(len(f.aliases)))
	for _, a := range f.aliases {
		w.Str(a.name)
		w.Raw(a.key[:])
	}
	w.U32(uint32(len(f.grants)))
	for i := range f.grants {
		f.grants[i].encode(w)
	}
	w.U32(uint32(len(f.notes)))
	for _, n := range f.notes {
		w.Raw(n.store[:])
		w.U64(n.generation)
		w.Raw(n.digest[:])
	}
}

// bodyLen is the length of what body writes.
func (f *keyFile) bodyLen() int {
	n := 5*4 + noteLen*len(f.notes)
	for _, k := range f.keys {
		n += keyLen + len(k.name) + versionLen*len(k.versions)
	}
	for _, d := range f.destroyed {
		n += destroyedLen + len(d.name)
	}
	for _, a := range f.aliases {
		n += aliasLen + len(a.name)
	}
	for i := range f.grants {
		n += f.grants[i].len()
	}
	return n
}

// The lengths of fixed parts.
const (
	keyLenV1     = 4 + 16 + 1 + 8 + 4
	keyLen       = keyLenV1 + 8 + 4 + 8
	versionLen   = 4 + 8 + 32
	destroyedLen = 16 + 4 + 8
	aliasLen     = 4 + 16
	noteLen      = 16 + 8 + 32
)

func (k *rootKey) encode(w *codec.Writer) {
	w.Str(k.name)
	w.Raw(k.id[:])
	w.U8(uint8(k.state))
	w.U64(uint64(k.createdAt.UnixNano()))
	w.U64(orZero(k.deleteAt))
	w.U32(k.period)
	w.U64(orZero(k.rotateAt))
	w.U32(uint32(len(k.versions)))
	for _, v := range k.versions {
		w.U32(v.number)
		w.U64(uint64(v.createdAt.UnixNano()))
		w.Raw(v.key.Expose())
	}
}

// orZero is the time in nanoseconds since 1970, and 0 of one that is missing.
func orZero(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}
