//go:build !unix && !windows

package dir

import (
	"errors"
	"os"
)

const openFlags = 0

// syncFolder does nothing: a folder cannot be synced here.
func syncFolder(*os.File) error { return nil }

func full(error) bool { return false }

func noLinks(err error) bool { return errors.Is(err, errors.ErrUnsupported) }
