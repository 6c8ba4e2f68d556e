package sstable

import (
	"errors"
	"io/fs"

	"github.com/cofredb/cofre/internal/corrupt"
)

// Verify opens every segment of the file, also where the Reader has failed
// before. It hands fn each fault, a *corrupt.Error with its physical offset,
// and stops when fn returns false. Faults that it finds do not make the Reader
// fail: a read of such a segment does that.
//
// It returns how many bytes of the file it has read, the header included: all
// of them, unless fn or an error ended it early. The error is one of the file
// below, never one about stored bytes.
func (r *Reader) Verify(fn func(offset int64, err error) bool) (int64, error) {
	s := &r.shape
	checked := s.offset(0)
	b := takeBuffer(min(s.segments, s.run())*s.unit, s.full)
	defer b.release()
	for first := int64(0); first < s.segments; {
		if r.closed.Load() {
			return checked, fs.ErrClosed
		}
		n := min(s.segments-first, s.run())
		run, err := r.load(b.sealed, first, n)
		var fault *corrupt.Error
		if errors.As(err, &fault) {
			// All that follows is missing too. One report will do.
			fn(fault.Offset, fault)
			return fault.Offset, nil
		}
		if err != nil {
			return checked, err
		}
		for i := range n {
			sealed := run[i*s.unit:][:s.sealedLen(first+i)]
			err := r.openEdge(b, sealed, first+i)
			checked += int64(len(sealed))
			if errors.As(err, &fault) {
				if !fn(fault.Offset, fault) {
					return checked, nil
				}
			} else if err != nil {
				return checked, err
			}
		}
		first += n
	}
	return checked, nil
}
