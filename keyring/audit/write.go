package audit

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A writer appends lines to the newest file of a log.
//
// A file gets its name when its first lines are durable. Where a write or a sync
// has failed nobody knows what is there, so the file is left as it is and the
// same lines go into a new one: the first record of a file says where the file
// before ends, and what lies behind that is no part of the log.
type writer struct {
	directory
	max int64 // bytes; a file that would be longer is followed by a new one

	file uint64 // number of the newest file; 0: there is none
	size int64  // up to where it holds records
	more bool   // it ends there, and is appended to
	f    vfs.File
}

// append makes whole lines durable, all of them or none that counts.
func (w *writer) append(b []byte) error {
	if w.more && w.size+int64(len(b)) > w.max {
		w.leave()
	}
	if !w.more {
		return w.begin(b)
	}
	err := w.reopen()
	if err == nil {
		_, err = w.f.WriteAt(slices.Clone(b), w.size) // an FS in memory may keep it
	}
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		w.leave()
		return err
	}
	w.size += int64(len(b))
	return nil
}

// begin makes a new file that begins with b. If we crash before the directory is
// synced the lines may be there or not; nobody has been told that they are.
func (w *writer) begin(b []byte) error {
	n := w.file + 1
	if n > math.MaxUint32 {
		return fmt.Errorf("audit: there are %d files, the most that a log can have", w.file)
	}
	f, err := w.fs.Create(w.join(tempName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(slices.Clone(b)); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := w.fs.Rename(w.join(tempName), w.join(fileName(n))); err != nil {
		return err
	}
	if err := w.sync(w.path); err != nil {
		return err
	}
	w.file, w.size, w.more = n, int64(len(b)), true
	return nil
}

func (w *writer) reopen() (err error) {
	if w.f == nil {
		w.f, err = w.fs.OpenReadWrite(w.join(fileName(w.file)), vfs.WriteCategoryUnspecified)
	}
	return err
}

// leave has the next lines go into a new file.
func (w *writer) leave() {
	w.more = false
	w.close()
}

// close lets go of the file. All that counts was synced.
func (w *writer) close() {
	if w.f != nil {
		_ = w.f.Close()
		w.f = nil
	}
}
