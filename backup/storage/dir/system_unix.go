//go:build unix

package dir

import (
	"errors"
	"os"
	"syscall"
)

// openFlags keep an open from waiting for the writer of a FIFO.
const openFlags = syscall.O_NONBLOCK

func syncFolder(f *os.File) error { return f.Sync() }

// full tells whether err says that there is no space.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// noLinks tells whether err says that the file system has no hard links. Some
// say so by EPERM.
func noLinks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK)
}
