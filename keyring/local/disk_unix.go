//go:build unix

package local

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openNoFollow opens a file without following a symbolic link in its last
// element, and without waiting for the writer of a FIFO.
func openNoFollow(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) {
		return nil, notRegular(path, fs.ModeSymlink)
	}
	return f, err
}

// checkMode refuses a file that the group or others have any access to.
func checkMode(path string, mode fs.FileMode) error {
	if mode.Perm()&0o077 != 0 {
		return &PermissionError{Path: path, Mode: mode}
	}
	return nil
}

// checkCredentialMode refuses a file that others have any access to, or the
// group more than reading: where systemd gives access by an access list, its
// mask shows as the group's mode.
func checkCredentialMode(path string, mode fs.FileMode) error {
	if mode.Perm()&0o037 != 0 {
		return &PermissionError{Path: path, Mode: mode}
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
