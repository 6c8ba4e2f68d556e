package crashfs

import (
	"fmt"
	"io"
	"syscall"
	"time"
)

// A Fault is a way for an operation to fail.
type Fault uint8

const (
	// NoFault is none.
	NoFault Fault = 0
	// EIO: a mutation fails and changes nothing. What a failed sync was to
	// make durable can be made so by the next.
	EIO Fault = 1
	// ENOSPC: a mutation other than a removal fails and changes nothing.
	ENOSPC Fault = 2
	// EROFS: a mutation fails and changes nothing.
	EROFS Fault = 3
	// ShortWrite: a write writes the first half of its bytes, rounded down,
	// and fails with io.ErrShortWrite.
	ShortWrite Fault = 4
	// FailedSyncPagesClean: a sync of a file fails with EIO and the kernel
	// marks the pages clean. They can still be read; a later sync succeeds
	// without making them durable, and a crash loses them. Only a sector that
	// is written again becomes durable with the next sync.
	FailedSyncPagesClean Fault = 5
	// ReadEIO: an operation that changes nothing fails with EIO.
	ReadEIO Fault = 6
)

var faultNames = [...]string{"none", "EIO", "ENOSPC", "EROFS", "short write", "failed sync, pages clean", "read EIO"}

func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("fault %d", uint8(f))
}

// Hits tells whether operations of kind k can fail in this way.
func (f Fault) Hits(k Kind) bool {
	if f == NoFault || k.Reads() {
		return f == ReadEIO && k.Reads()
	}
	switch f {
	case EIO, EROFS:
		return true
	case ENOSPC:
		return k != OpRemove
	case ShortWrite:
		return k == OpWrite
	case FailedSyncPagesClean:
		return k == OpSync || k == OpSyncData
	}
	return false
}

func (f Fault) err() error {
	switch f {
	case NoFault:
		return nil
	case ENOSPC:
		return syscall.ENOSPC
	case EROFS:
		return syscall.EROFS
	case ShortWrite:
		return io.ErrShortWrite
	}
	return syscall.EIO
}

type failure struct {
	n      int
	fault  Fault
	sticky bool
}

// FailOp makes the n-th mutation fail, counted from 1 as by Ops; for ReadEIO,
// the n-th operation that changes nothing, counted as by Reads. If sticky, all
// later ones fail too. An operation whose kind the fault does not hit goes on
// as if nothing were.
func (fs *FS) FailOp(n int, f Fault, sticky bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.failures = append(fs.failures, failure{n, f, sticky})
	fs.armed.Store(true)
}

// Inject has f asked at each operation, for which Ops or Reads would then be
// n, whether it fails. A fault that does not hit the operation's kind is none.
// f may be called from several goroutines and must not call fs; nil ends it.
func (fs *FS) Inject(f func(n int, op Op) Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.inject = f
	fs.armed.Store(true)
}

// Slow has every mutation wait so long before it begins, and hold up nothing
// else meanwhile.
func (fs *FS) Slow(d time.Duration) { fs.slow.Store(int64(d)) }

// Heal ends all that FailOp, Inject and Slow have begun. What is lost stays lost.
func (fs *FS) Heal() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.failures, fs.inject = nil, nil
	fs.armed.Store(false)
	fs.slow.Store(0)
}

// Faults is how many operations have failed by FailOp and Inject.
func (fs *FS) Faults() int { return int(fs.faults.Load()) }

// fault decides how operation n fails. The caller holds mu, for reading at
// least.
func (fs *FS) fault(n int, op Op) Fault {
	if !fs.armed.Load() {
		return NoFault
	}
	for _, f := range fs.failures {
		if (n == f.n || f.sticky && n > f.n) && f.fault.Hits(op.Kind) {
			fs.faults.Add(1)
			return f.fault
		}
	}
	if fs.inject != nil {
		if f := fs.inject(n, op); f.Hits(op.Kind) {
			fs.faults.Add(1)
			return f
		}
	}
	return NoFault
}
