package sstable

import (
	"sync"

	"github.com/cofredb/cofre/internal/floe"
)

// A buffer is the memory that sealing and opening work in. It is pooled, so
// that neither allocates. The additional data lives here because it passes
// through an interface: on the stack it would escape, once a segment.
type buffer struct {
	sealed []byte // sealed segments
	plain  []byte // one segment's plaintext; wiped before it is pooled
	aad    [floe.AADLen]byte
}

// buffers holds no state: what comes out of it is scratch. The collector
// empties it.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// takeBuffer returns a buffer with room for that many bytes. Its slices are
// empty.
func takeBuffer(sealed, plain int64) *buffer {
	b := buffers.Get().(*buffer)
	if int64(cap(b.sealed)) < sealed {
		// One size for nearly all, so that a buffer serves the next user too.
		b.sealed = make([]byte, 0, max(sealed, runLen))
	}
	if int64(cap(b.plain)) < plain {
		b.plain = make([]byte, 0, max(plain, DefaultUnitSize))
	}
	return b
}

// room sees to it that there is just as much room as is asked for.
func (b *buffer) room(sealed, plain int64) {
	if int64(cap(b.sealed)) < sealed {
		b.sealed = make([]byte, 0, sealed)
	}
	if int64(cap(b.plain)) < plain {
		b.plain = make([]byte, 0, plain)
	}
}

// release gives b back. The plaintext of a table must not outlive the table's
// lock in a pool.
func (b *buffer) release() {
	b.wipe()
	b.sealed = b.sealed[:0]
	buffers.Put(b)
}

// wipe empties b.plain. Users of a buffer keep len(b.plain) at the most that
// they have put there.
func (b *buffer) wipe() {
	clear(b.plain)
	b.plain = b.plain[:0]
}
