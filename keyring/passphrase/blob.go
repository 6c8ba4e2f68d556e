package passphrase

import (
	"slices"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

const (
	wrapFormat = 1
	saltLen    = 16
	checkLen   = 16
	headLen    = 1 + 1 + 4 + 4 + 1 + saltLen + checkLen + saltLen
	wrapLen    = headLen + keyring.WrappedKeyLen
)

// A salted cost is what a derivation depends on besides the passphrase.
type salted struct {
	cost Cost
	salt [saltLen]byte
}

// A blob is a wrapped key. Nothing in it is authentic until it is opened.
type blob struct {
	salted
	check    [checkLen]byte
	wrapSalt [saltLen]byte
	sealed   []byte
}

// head encodes all but the sealed key.
func (b *blob) head() []byte {
	w := codec.Writer{B: make([]byte, 0, wrapLen)}
	w.U8(wrapFormat)
	w.U8(uint8(b.cost.KDF))
	w.U32(b.cost.Time)
	w.U32(b.cost.Memory)
	w.U8(b.cost.Lanes)
	w.Raw(b.salt[:])
	w.Raw(b.check[:])
	w.Raw(b.wrapSalt[:])
	return w.B
}

// parseBlob reads a wrapped key. Errors are *corrupt.Error of class ErrFormat
// or ErrVersion. The cost is not checked.
func parseBlob(p []byte) (*blob, error) {
	if len(p) != wrapLen {
		return nil, corrupt.New(corrupt.ErrFormat, "", -1, "wrapped key: %d bytes, not %d", len(p), wrapLen)
	}
	r := codec.NewReader(p)
	if f := r.U8(); f != wrapFormat {
		return nil, corrupt.New(corrupt.ErrVersion, "", -1, "wrapped key: format %d, this build knows %d", f, wrapFormat)
	}
	b := new(blob)
	b.cost = Cost{KDF: KDF(r.U8()), Time: r.U32(), Memory: r.U32(), Lanes: r.U8()}
	r.Fill(b.salt[:])
	r.Fill(b.check[:])
	r.Fill(b.wrapSalt[:])
	b.sealed = r.Rest()
	return b, nil
}

// aad is the additional data of the sealed key.
func (b *blob) aad(ec keyring.Context) []byte { return slices.Concat(b.head(), ec.Canonical()) }
