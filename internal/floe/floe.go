// Package floe is the FLOE construction: c2sp.org/FLOE, described in
// "Random-Access AEAD for Fast Lightweight Online Encryption" (ePrint
// 2025/2275), with its one parameter set: AES-256-GCM, HKDF-Expand-SHA-384
// (RFC 5869), a 32-byte IV.
//
//	header   params (10) ‖ IV (32) ‖ header tag (32)
//	params   AEAD 0 (1) ‖ KDF 0 (1) ‖ segment length (4) ‖ IV length (4)
//	segment  0xFFFFFFFF, or the length of the last (4) ‖ nonce (12) ‖ text ‖ tag (16)
//
// A [Message] is one file's state: its message key and the segment keys
// derived from it, a new one every 2^20 segments. Package sstable stores
// segments; package wal uses the header and the derivation (segment length
// 0, which FLOE itself never has) and frames of its own.
package floe

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/secret"
)

const (
	paramsLen     = 10
	ivLen         = 32
	headerTagLen  = 32
	messageKeyLen = 48

	// HeaderLen is the length of a FLOE header, in bytes.
	HeaderLen = paramsLen + ivLen + headerTagLen
	// SegmentOverhead is what a segment is longer than its plaintext.
	SegmentOverhead = 4 + aead.Overhead
	// AADLen is the length of a segment's additional data.
	AADLen = 9
	// MaxSegments bounds the segments of one message.
	MaxSegments = 1 << 40

	rotationBits = 20
	internalMark = 0xFFFFFFFF
)

var (
	// ErrHeader says that a header is not of this key, identity and segment
	// length.
	ErrHeader = errors.New("floe: header tag does not match")
	// ErrSegment says that a segment is not of this message, position and
	// finality.
	ErrSegment = errors.New("floe: segment does not authenticate")
	// ErrPosition says that a position lies beyond MaxSegments.
	ErrPosition = errors.New("floe: position beyond the last that a message may have")
	// ErrWiped says that the message's keys have been wiped. Without it, a
	// late seal would be under a key derived from zeros.
	ErrWiped = errors.New("floe: message has been wiped")
)

// Params are what writer and reader must agree on.
type Params struct {
	// SegmentLen is the length of an encrypted segment, in bytes.
	SegmentLen uint32
	// Suite is the cipher; nil outside tests.
	Suite aead.Suite
	// RotationBits is set by the known-answer tests; 0 means 20.
	RotationBits uint
}

// A Message is the state of one encrypted message. It is safe for concurrent
// use.
type Message struct {
	p   Params
	iv  [ivLen]byte
	aad []byte

	first atomic.Pointer[aead.Sealer] // the key of segments 0 to 2^20-1
	mu    sync.Mutex
	key   [messageKeyLen]byte    // guarded by mu, as what follows
	later map[uint64]aead.Sealer // by masked position
	wiped bool
}

// Start begins a new message under key, bound to aad, and returns its header.
func Start(p Params, key *secret.Key, aad []byte) (*Message, [HeaderLen]byte, error) {
	var h [HeaderLen]byte
	enc := p.encode()
	copy(h[:], enc[:])
	rand.Read(h[paramsLen : paramsLen+ivLen])
	m, tag, err := start(p, key, aad, h[paramsLen:paramsLen+ivLen])
	if err != nil {
		return nil, h, err
	}
	copy(h[paramsLen+ivLen:], tag)
	return m, h, nil
}

// Resume takes up a message from its header, or fails with ErrHeader.
func Resume(p Params, key *secret.Key, aad, header []byte) (*Message, error) {
	enc := p.encode()
	if len(header) != HeaderLen || subtle.ConstantTimeCompare(header[:paramsLen], enc[:]) != 1 {
		return nil, ErrHeader
	}
	m, tag, err := start(p, key, aad, header[paramsLen:paramsLen+ivLen])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(tag, header[paramsLen+ivLen:]) != 1 {
		return nil, ErrHeader
	}
	return m, nil
}

func (p Params) encode() (b [paramsLen]byte) {
	b[0], b[1] = 0, 0 // AES-256-GCM, HKDF-Expand-SHA-384
	binary.BigEndian.PutUint32(b[2:], p.SegmentLen)
	binary.BigEndian.PutUint32(b[6:], ivLen)
	return b
}

func start(p Params, key *secret.Key, aad, iv []byte) (*Message, []byte, error) {
	if p.RotationBits == 0 {
		p.RotationBits = rotationBits
	}
	m := &Message{p: p, aad: append([]byte(nil), aad...)}
	copy(m.iv[:], iv)
	tag, err := m.kdf(key.Expose(), "HEADER_TAG:", headerTagLen)
	if err != nil {
		return nil, nil, err
	}
	mk, err := m.kdf(key.Expose(), "MESSAGE_KEY:", messageKeyLen)
	if err != nil {
		return nil, nil, err
	}
	copy(m.key[:], mk)
	clear(mk)
	return m, tag, nil
}

// kdf is FLOE_KDF.
func (m *Message) kdf(key []byte, purpose string, n int) (out []byte, err error) {
	enc := m.p.encode()
	info := make([]byte, 0, paramsLen+ivLen+len(purpose)+len(m.aad))
	info = append(info, enc[:]...)
	info = append(info, m.iv[:]...)
	info = append(info, purpose...)
	info = append(info, m.aad...)
	secret.Scope(func() { out, err = hkdf.Expand(sha512.New384, key, string(info), n) })
	return out, err
}

// Derive returns the Sealer of a key with a purpose of the caller's, derived
// from the message key as segment keys are.
func (m *Message) Derive(purpose string) (aead.Sealer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.derive(purpose)
}

func (m *Message) derive(purpose string) (aead.Sealer, error) {
	if m.wiped {
		return nil, ErrWiped
	}
	k, err := m.kdf(m.key[:], purpose, secret.Size)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	return m.p.Suite.New(k)
}

// DeriveBytes is Derive for n bytes that are no key and may be shown.
func (m *Message) DeriveBytes(purpose string, n int) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wiped {
		return nil, ErrWiped
	}
	return m.kdf(m.key[:], purpose, n)
}

// segmentSealer returns the Sealer of the epoch that position lies in.
func (m *Message) segmentSealer(position uint64) (aead.Sealer, error) {
	epoch := position &^ (1<<m.p.RotationBits - 1)
	if epoch == 0 {
		if s := m.first.Load(); s != nil {
			return *s, nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.later[epoch]; ok {
		return s, nil
	}
	var label [12]byte
	copy(label[:], "DEK:")
	binary.BigEndian.PutUint64(label[4:], epoch)
	s, err := m.derive(string(label[:]))
	if err != nil {
		return nil, err
	}
	if m.later == nil {
		m.later = make(map[uint64]aead.Sealer)
	}
	m.later[epoch] = s
	if epoch == 0 {
		m.first.Store(&s)
	}
	return s, nil
}

// Format shows no key, whatever the verb.
func (m *Message) Format(f fmt.State, _ rune) { io.WriteString(f, "floe.Message") }

// Wipe overwrites the message key. Ciphers made from it live on until they
// are collected.
func (m *Message) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.key[:])
	m.wiped = true
	m.first.Store(nil)
	m.later = nil
}

func putAAD(aad *[AADLen]byte, position uint64, final bool) {
	binary.BigEndian.PutUint64(aad[:], position)
	aad[8] = 0
	if final {
		aad[8] = 1
	}
}

// SealSegment appends the segment at position to dst. A segment that is not
// final must be full. The additional data is built in aad, which the caller
// owns, so that sealing allocates nothing.
func (m *Message) SealSegment(dst, plaintext []byte, position uint64, final bool, aad *[AADLen]byte) ([]byte, error) {
	full := int(m.p.SegmentLen) - SegmentOverhead
	switch {
	case position >= MaxSegments:
		return dst, ErrPosition
	case len(plaintext) > full, !final && len(plaintext) != full:
		return dst, errors.New("floe: wrong plaintext length for a segment")
	}
	s, err := m.segmentSealer(position)
	if err != nil {
		return dst, err
	}
	putAAD(aad, position, final)
	mark := uint32(internalMark)
	if final {
		mark = uint32(len(plaintext) + SegmentOverhead)
	}
	dst = binary.BigEndian.AppendUint32(dst, mark)
	return s.Seal(dst, plaintext, aad[:])
}

// OpenSegment appends the plaintext of the segment at position to dst, or
// fails with ErrSegment. A reader must know whether a segment is final from
// the length of the file, never from the segment itself.
func (m *Message) OpenSegment(dst, segment []byte, position uint64, final bool, aad *[AADLen]byte) ([]byte, error) {
	switch {
	case position >= MaxSegments:
		return dst, ErrPosition
	case len(segment) < SegmentOverhead || len(segment) > int(m.p.SegmentLen):
		return dst, ErrSegment
	case !final && (len(segment) != int(m.p.SegmentLen) || binary.BigEndian.Uint32(segment) != internalMark):
		return dst, ErrSegment
	case final && binary.BigEndian.Uint32(segment) != uint32(len(segment)):
		return dst, ErrSegment
	}
	s, err := m.segmentSealer(position)
	if err != nil {
		return dst, err
	}
	putAAD(aad, position, final)
	out, err := s.Open(dst, segment[4:], aad[:])
	if err != nil {
		return dst, ErrSegment
	}
	return out, nil
}
