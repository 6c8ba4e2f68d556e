//go:build !unix

package local

import (
	"io/fs"
	"os"
)

// openNoFollow opens a file that is no symbolic link. There is no open that
// refuses one by itself here, so the check comes first.
func openNoFollow(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, notRegular(path, fi.Mode())
	}
	return os.Open(path)
}

// checkMode accepts every mode: here it does not say who has access. The
// access list of the profile directory does.
func checkMode(string, fs.FileMode) error { return nil }

func checkCredentialMode(string, fs.FileMode) error { return nil }

// syncDir does nothing: a directory cannot be synced here.
func syncDir(string) error { return nil }
