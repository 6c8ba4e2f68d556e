package backup

import (
	"errors"
	"os"
)

// A scratch is a temporary file, of ciphertext. Where the system lets it, the file has no
// name from the beginning: it goes with the process, however that ends.
type scratch struct {
	*os.File
	named bool
}

func newScratch(dir string) (*scratch, error) {
	f, err := os.CreateTemp(dir, "cofre-")
	if err != nil {
		return nil, err
	}
	return &scratch{f, os.Remove(f.Name()) != nil}, nil
}

// Close removes the file.
func (s *scratch) Close() error {
	err := s.File.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.Name()))
	}
	return err
}
