//go:build !linux

package pagecache

import (
	"errors"
	"os"
)

func stat(*os.File) (counts, error) { return counts{}, errors.ErrUnsupported }

func drop(*os.File) error { return errors.ErrUnsupported }
