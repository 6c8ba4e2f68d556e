package sstable

import (
	"errors"
	"fmt"
	"io"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// DefaultUnitSize is the length of an encrypted segment, in bytes, where
// nothing else is asked for. It costs 1.6 % of space.
const DefaultUnitSize = 2048

// runLen is how many bytes of sealed segments are read or written in one
// piece, at most. A segment longer than that is a piece of its own. A compaction
// has up to four such pieces of each of its files in memory.
const runLen = 128 << 10

// ErrFinished says that a Writer has sealed its final segment. FLOE cannot go
// on after it: that would seal a position twice.
var ErrFinished = errors.New("sstable: the file is finished and takes no more writes")

// Options tune a Writer or a Reader. The zero value is right for most.
type Options struct {
	// UnitSize is the length of an encrypted segment, in bytes: 0 for
	// DefaultUnitSize, else 64 to 1<<20. A Reader takes the file's own.
	UnitSize uint32
	// Suite is the cipher: nil outside tests.
	Suite aead.Suite
	// Path names the file in errors.
	Path string
}

func (o Options) unitSize() (uint32, error) {
	u := o.UnitSize
	if u == 0 {
		u = DefaultUnitSize
	}
	if u < keyring.MinUnitSize || u > keyring.MaxUnitSize {
		return 0, fmt.Errorf("sstable: unit size %d is not within %d and %d", u, keyring.MinUnitSize, keyring.MaxUnitSize)
	}
	return u, nil
}

// A WriteFile is the file below a Writer. It must not keep what it is handed.
// Sync returns when everything written before it is durable.
type WriteFile interface {
	io.Writer
	Sync() error
	Close() error
}

// A ReadFile is the file below a Reader. ReadAt must be safe for concurrent
// use.
type ReadFile interface {
	io.ReaderAt
	Close() error
}
