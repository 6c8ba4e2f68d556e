package engine

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballastLen is the size of the ballast file, in bytes: enough for a flush and
// the logs and MANIFESTs of a few tables.
const ballastLen = 8 << 20

// ballastFree is how much space must be free beyond the ballast before it is
// put down, in bytes: on a small disk it would be the problem it solves.
const ballastFree = 64 * ballastLen

// The ballast is a file that holds nothing but space. When the disk is full it
// is removed, so that what is in flight can end; the next open of a store with
// space puts it back.
type ballast struct {
	fs   vfs.FS
	path string
	log  *slog.Logger
	mu   sync.Mutex
}

// fill puts the ballast down if it is not there and there is space for it. It
// is a help, not a promise: failing to is no error.
func (b *ballast) fill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.fs.Stat(b.path); err == nil {
		return
	}
	if du, err := b.fs.GetDiskUsage(b.fs.PathDir(b.path)); err != nil || du.AvailBytes < ballastFree {
		return
	}
	f, err := b.fs.Create(b.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	// Preallocated space may count as used without being written; a file
	// system that cannot preallocate gets no ballast.
	if err := errors.Join(f.Preallocate(0, ballastLen), f.Close()); err != nil {
		_ = b.fs.Remove(b.path)
	}
}

// release frees the space, once.
func (b *ballast) release(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log.Warn("the disk is full; waiting for space", "error", cause)
	if _, err := b.fs.Stat(b.path); err == nil {
		_ = b.fs.Remove(b.path)
	}
}
