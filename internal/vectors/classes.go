package vectors

import (
	"errors"

	"github.com/cofredb/cofre/internal/corrupt"
)

// Faults are the classes of the format's page, under "Faults".
func Faults() map[string]error {
	return map[string]error{
		"ErrAuth": corrupt.ErrAuth, "ErrForeign": corrupt.ErrForeign, "ErrMissing": corrupt.ErrMissing,
		"ErrFormat": corrupt.ErrFormat, "ErrVersion": corrupt.ErrVersion, "ErrRollback": corrupt.ErrRollback,
	}
}

// Offset tells the offset that an error shows.
func Offset(err error) (int64, bool) {
	var e *corrupt.Error
	if !errors.As(err, &e) || e.Offset < 0 {
		return 0, false
	}
	return e.Offset, true
}
