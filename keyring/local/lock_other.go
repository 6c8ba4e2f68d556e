//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package local

import (
	"errors"
	"fmt"
)

// lockFile fails: without a lock, two processes would lose each other's changes.
func lockFile(path string) (release func() error, err error) {
	return nil, fmt.Errorf("lock %s: %w on this platform", path, errors.ErrUnsupported)
}
