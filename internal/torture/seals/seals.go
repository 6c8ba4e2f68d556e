// Package seals looks for plaintext, and for a key or a nonce that is used
// twice. It is shown the files of stores, of copies, crash states and
// recoveries, in any order and as often as one likes, and needs no key for it:
// what is sealed twice under one data key, or at one position, shows in the
// ciphertext.
package seals

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// A place is a position in a file: a unit or a frame.
type place struct {
	file keyring.ID
	at   uint64
}

func (p place) String() string { return fmt.Sprintf("seal %d of file %s", p.at, p.file) }

type use struct {
	file  keyring.ID
	nonce [aead.NonceLen]byte
}

// A Ledger is all that was seen. The zero Ledger is empty. It is safe for
// concurrent use.
type Ledger struct {
	// Canaries are what must be in no file and in no file's name: texts long
	// enough to be there by no accident.
	Canaries [][]byte

	mu      sync.Mutex // guards all below
	files   map[keyring.ID][keyring.WrappedKeyLen]byte
	keys    map[[keyring.WrappedKeyLen]byte]keyring.ID
	sealed  map[place][16]byte // digests
	nonces  map[use]uint64
	headers int
	faults  []string
}

// Files is how often a file with a header was taken in.
func (l *Ledger) Files() int { l.mu.Lock(); defer l.mu.Unlock(); return l.headers }

// Seals is how many different seals were found.
func (l *Ledger) Seals() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.sealed) }

// Faults is what was found: a line each.
func (l *Ledger) Faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.faults...)
}

func (l *Ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// Look looks for canaries alone: in files of which a power cut may have left
// anything.
func (l *Ledger) Look(name string, b []byte) {
	for _, c := range l.Canaries {
		if bytes.Contains(b, c) || bytes.Contains([]byte(name), c) {
			l.mu.Lock()
			l.fault("%s has %q in the clear", name, c)
			l.mu.Unlock()
		}
	}
}

// Take takes every whole seal of a file in. A file without a header has none.
// The file may still grow, but it must be as its writer left it: a power cut
// that tore a frame looks like one that was sealed twice.
func (l *Ledger) Take(name string, b []byte) {
	l.Look(name, b)
	h, err := keyring.ParseHeader(b)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.files, l.keys = map[keyring.ID][keyring.WrappedKeyLen]byte{}, map[[keyring.WrappedKeyLen]byte]keyring.ID{}
		l.sealed, l.nonces = map[place][16]byte{}, map[use]uint64{}
	}
	l.headers++
	id := h.Identity.FileID
	if old, ok := l.keys[h.WrappedKey]; ok && old != id {
		l.fault("%s: files %s and %s have one data key", name, old, id)
	}
	if old, ok := l.files[id]; ok && old != h.WrappedKey {
		l.fault("%s: file %s has two data keys", name, id)
	}
	l.keys[h.WrappedKey], l.files[id] = id, h.WrappedKey
	if h.Identity.Kind.Random() {
		l.units(name, id, b[keyring.HeaderLen:], int(h.Identity.UnitSize))
	} else {
		l.frames(name, id, b[keyring.HeaderLen:])
	}
}

// units: the length of a unit, and its nonce ‖ ciphertext ‖ tag. The last unit
// of a file that grows may be longer in a later copy, so it does not count
// unless it is a whole one.
func (l *Ledger) units(name string, id keyring.ID, b []byte, n int) {
	for i := uint64(0); len(b) >= n && n > unitPrefix; i++ {
		l.seal(name, place{id, i}, b[unitPrefix:n])
		b = b[n:]
	}
}

const (
	unitPrefix  = 4
	framePrefix = 20 // segment tag, index, length
)

// frames end where another segment's begin: what a recycled file held.
func (l *Ledger) frames(name string, id keyring.ID, b []byte) {
	tag := bytes.Clone(b[:min(len(b), 8)])
	for len(b) >= framePrefix+aead.Overhead && bytes.Equal(b[:8], tag) {
		n := int(binary.BigEndian.Uint32(b[16:])) + framePrefix + aead.Overhead
		if n > len(b) {
			return
		}
		l.seal(name, place{id, binary.BigEndian.Uint64(b[8:])}, b[framePrefix:n])
		b = b[n:]
	}
}

// seal takes nonce ‖ ciphertext ‖ tag in.
func (l *Ledger) seal(name string, p place, sealed []byte) {
	sum := sha256.Sum256(sealed)
	digest := [16]byte(sum[:16])
	if old, ok := l.sealed[p]; ok {
		if old != digest {
			l.fault("%s: %s was sealed twice", name, p)
		}
		return
	}
	l.sealed[p] = digest
	u := use{file: p.file, nonce: [aead.NonceLen]byte(sealed)}
	if old, ok := l.nonces[u]; ok {
		l.fault("%s: %s has the nonce of seal %d", name, p, old)
	}
	l.nonces[u] = p.at
}
