// Package codec reads and writes the fixed and length-prefixed fields of
// Cofre's binary formats. Integers are big-endian. A [Reader] is bounded: no
// length it meets makes it allocate or read beyond its input, and its first
// error stays.
package codec

import (
	"encoding/binary"
	"errors"
)

// ErrShort says that the input ended inside a field; ErrBound that a length
// exceeds its bound; ErrTrailing that bytes are left over.
var (
	ErrShort    = errors.New("codec: input ends inside a field")
	ErrBound    = errors.New("codec: a length exceeds its bound")
	ErrTrailing = errors.New("codec: bytes left over")
)

// A Writer appends fields to B.
type Writer struct{ B []byte }

func (w *Writer) U8(v uint8)     { w.B = append(w.B, v) }
func (w *Writer) U16(v uint16)   { w.B = binary.BigEndian.AppendUint16(w.B, v) }
func (w *Writer) U32(v uint32)   { w.B = binary.BigEndian.AppendUint32(w.B, v) }
func (w *Writer) U64(v uint64)   { w.B = binary.BigEndian.AppendUint64(w.B, v) }
func (w *Writer) Raw(p []byte)   { w.B = append(w.B, p...) }
func (w *Writer) Bytes(p []byte) { w.U32(uint32(len(p))); w.Raw(p) }
func (w *Writer) Str(s string)   { w.U32(uint32(len(s))); w.B = append(w.B, s...) }

// A Reader takes fields off the front of a byte string.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which it does not copy.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is the first error, and Done that or ErrTrailing if bytes are left.
func (r *Reader) Err() error { return r.err }

func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = ErrTrailing
	}
	return r.err
}

// Rest is what has not been read.
func (r *Reader) Rest() []byte { return r.b }

// Len is the number of bytes not read yet.
func (r *Reader) Len() int { return len(r.b) }

// Raw returns the next n bytes, not copied, or nil after an error.
func (r *Reader) Raw(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = ErrShort
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *Reader) U8() uint8 {
	if p := r.Raw(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *Reader) U16() uint16 {
	if p := r.Raw(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *Reader) U32() uint32 {
	if p := r.Raw(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *Reader) U64() uint64 {
	if p := r.Raw(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// Fill copies the next len(dst) bytes into dst.
func (r *Reader) Fill(dst []byte) { copy(dst, r.Raw(len(dst))) }

// Bytes returns a field of at most max bytes with a length before it.
func (r *Reader) Bytes(max int) []byte {
	n := r.U32()
	if r.err == nil && uint64(n) > uint64(max) {
		r.err = ErrBound
	}
	return r.Raw(int(n))
}

// Str is Bytes as a string.
func (r *Reader) Str(max int) string { return string(r.Bytes(max)) }

// Count returns a list's length: at most max, and no more than fits in what
// is left if each element takes at least size bytes.
func (r *Reader) Count(max, size int) int {
	n := r.U32()
	if r.err == nil && (uint64(n) > uint64(max) || uint64(n)*uint64(size) > uint64(len(r.b))) {
		r.err = ErrBound
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}
