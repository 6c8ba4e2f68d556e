package wal

import (
	"errors"
	"io"
	"time"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// MaxPayload bounds the payload of a frame, in bytes: note, data, and the 21
// bytes before them.
const MaxPayload = 256 << 20

// ErrTooLarge says that a Write exceeds [MaxPayload]. Nothing was written, and
// the Writer goes on.
var ErrTooLarge = errors.New("wal: a frame would exceed 256 MiB")

// Options tune a Writer or a Reader. The zero value is right for most.
type Options struct {
	// Suite is the cipher: nil outside tests.
	Suite aead.Suite
	// Path names the file in errors.
	Path string
	// Now is the clock of a Writer; nil is time.Now.
	Now func() time.Time
	// Compress lets a Writer compress data with S2 where that makes it
	// shorter. It is off by default: the frames' lengths would tell what a
	// batch shares with a secret.
	Compress bool
}

// ReaderOptions tell a Reader what is known of the file.
type ReaderOptions struct {
	Options
	// Key unwraps a data key that a frame names, as [Writer.Rekey] writes it. nil
	// is for files whose key does not change: such a frame is corruption there.
	Key func(id keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error)
	// Limit is how many bytes of the file a live Writer has committed, as
	// Writer.Committed tells; 0 is none. The log ends there, whatever the
	// file's size is, and every frame before it must open.
	Limit int64
	// Attested is the number of frames that something outside the file says
	// are durable. A log with fewer is corrupt.
	Attested uint64
	// Final is the exact number of frames of the file; 0 is unknown. A log
	// with fewer or more is corrupt.
	Final uint64
}

// An AppendFile is the file below a Writer. Write must not keep what it is
// handed. Sync and SyncData return when everything written before the call is
// durable, SyncData without regard to times and the like; they may run beside
// a Write.
type AppendFile interface {
	io.Writer
	Sync() error
	SyncData() error
	Close() error
}

// A ReadFile is the file below a Reader.
type ReadFile interface {
	io.ReaderAt
	Close() error
}
