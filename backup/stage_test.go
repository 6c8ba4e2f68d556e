package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// changeStaged flips a bit in each file that is staged in a store.
func changeStaged(store string) error {
	n := 0
	err := filepath.WalkDir(filepath.Join(store, "restoring"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		n++
		b[len(b)/2] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err == nil && n == 0 {
		err = errors.New("nothing is staged")
	}
	return err
}
