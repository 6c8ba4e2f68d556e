package dir

import (
	"errors"
	"os"
	"syscall"
)

const openFlags = 0

// syncFolder does nothing: a folder cannot be synced here.
func syncFolder(*os.File) error { return nil }

const (
	errHandleDiskFull  = syscall.Errno(39)
	errInvalidFunction = syscall.Errno(1)
	errNotSupported    = syscall.Errno(50)
	errDiskFull        = syscall.Errno(112)
	errQuota           = syscall.Errno(1295)
)

// full tells whether err says that there is no space.
func full(err error) bool {
	return errors.Is(err, errDiskFull) || errors.Is(err, errHandleDiskFull) || errors.Is(err, errQuota)
}

// noLinks tells whether err says that the file system has no hard links.
func noLinks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, errInvalidFunction) || errors.Is(err, errNotSupported)
}
