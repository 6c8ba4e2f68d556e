package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
)

// Records gives the records of the log in dir, in order, and then those that are
// provisional still. It takes no key and verifies nothing: Verify does. It may
// read beside a process that writes; what is no record (the end of a line that is
// being written, what a crash has left) is passed over. An error ends it: those of
// the disk, and *corrupt.Error where dir or a file in it is something else.
func Records(fs vfs.FS, dir string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		d := directory{fs: fs, path: dir}
		numbers, err := d.numbers()
		if err != nil {
			yield(Record{}, err)
			return
		}
		var last uint64
		for i, n := range numbers {
			var limit uint64
			if i+1 < len(numbers) {
				limit = d.limit(numbers[i+1])
			}
			err := d.each(fileName(n), func(b []byte) bool {
				p, err := parseLine(b)
				switch {
				case err != nil:
					return true
				case p.rec.Event == EventBegin:
				case p.rec.Seq <= last, limit > 0 && p.rec.Seq >= limit:
					return true // the next file goes on before it
				}
				last = p.rec.Seq
				return yield(p.rec, nil)
			})
			if err == errStop {
				return
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
		}
		err = d.each(provisionalName, func(b []byte) bool {
			if r, ok := parseProvisional(b); ok {
				return yield(r, nil)
			}
			return true
		})
		if err != nil && err != errStop && !errors.Is(err, corrupt.ErrMissing) {
			yield(Record{}, err)
		}
	}
}

// limit is the number of the record with which file n goes on where the one before
// it ends; 0 where it begins a chain that does not, or nothing.
func (d directory) limit(n uint64) uint64 {
	p, err := d.first(n)
	if err != nil || p.rec.Event == EventBegin && p.rec.Begin.Reason != ReasonRoots {
		return 0
	}
	return p.rec.Seq
}

var errStop = errors.New("no more is wanted")

// each visits the whole lines of a file until visit returns false: then it returns
// errStop.
func (d directory) each(name string, visit func(b []byte) bool) error {
	f, size, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := newLines(f, 0, size); ; {
		b, _, whole, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if whole && !visit(b) {
			return errStop
		}
	}
}

// JSON gives the record as one line of JSON, without a newline: as it stands in
// the log, where it is in one.
func (r *Record) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
