//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package dir

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file for this handle of it, and tells whether it could. The
// lock goes with the handle. Where there are no locks the error is
// errors.ErrUnsupported.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, syscall.ENOLCK):
			err = errors.ErrUnsupported
		}
		if !errors.Is(err, syscall.EINTR) {
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}
