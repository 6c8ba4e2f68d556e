package local

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

const lockfileExclusive = 2

// lockFile waits for the exclusive lock and returns what releases it. The lock is
// of the open file, so it holds between the goroutines of a process too. The
// lock file stays: removing it would let two holders in.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	lockFileEx := syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")
	if err := lockFileEx.Find(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var ol syscall.Overlapped
	ok, _, err := lockFileEx.Call(f.Fd(), lockfileExclusive, 0, 1, 0, uintptr(unsafe.Pointer(&ol)))
	if ok == 0 {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f.Close, nil
}
