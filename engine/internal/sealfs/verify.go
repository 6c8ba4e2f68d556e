package sealfs

import (
	"errors"
	"io"

	"github.com/cofredb/cofre/sstable"
)

// A Verdict is what VerifyFile found of a file that has no fault.
type Verdict uint8

const (
	Live     Verdict = iota // sealed, whole, and named by what refers to it
	Orphan                  // sealed and whole, but nothing refers to it
	Leftover                // a crash left it; nothing reads it
	Empty                   // a file whose content is its name
	Unknown                 // not a name of Pebble's
)

// VerifyFile reads and opens every byte of a file and reports each fault. It
// is for directories that have passed Preflight and that no Pebble has open.
func (fs *FS) VerifyFile(name string, report func(error)) Verdict {
	d, fn := fs.split(name)
	var err error
	verdict := Live
	switch fn.class {
	case classTable:
		return fs.verifyTable(d, name, fn, report)
	case classLog, classManifest:
		verdict, err = fs.verifyLog(d, name, fn)
	case classOptions:
		err = fs.verifyOptions(name, fn)
	case classMarker, classLock:
		var fi interface{ Size() int64 }
		if fi, err = fs.regular(name); err == nil && fi.Size() != 0 {
			err = errEmpty
		}
		verdict = Empty
	case classPending:
		verdict = Leftover
	default:
		verdict = Unknown
	}
	if err != nil {
		report(err)
	}
	return verdict
}

func (fs *FS) verifyOptions(name string, fn fileName) error {
	f, err := fs.openOptions(name, fn)
	if err != nil {
		return err
	}
	return f.Close()
}

func (fs *FS) verifyTable(d *dir, name string, fn fileName, report func(error)) Verdict {
	_, named := d.lookup(fn)
	verdict := Live
	if !named {
		verdict = Orphan
	}
	o, err := fs.open(name, fn)
	if err != nil {
		report(err)
		return verdict
	}
	defer o.key.Wipe()
	r, err := sstable.NewReader(o.file, o.size, o.header, o.key, fs.tableOptions(name))
	if err != nil {
		o.file.Close()
		report(err)
		return verdict
	}
	defer r.Close()
	if named {
		if err := fs.checkMap(d, name, fn, o.header.Identity.FileID, r.Size()); err != nil {
			report(err)
		}
	}
	faults := 0
	_, err = r.Verify(func(_ int64, err error) bool {
		report(err)
		faults++
		return faults < maxFaults
	})
	if err != nil {
		report(err)
	}
	return verdict
}

// maxFaults is how many segments of one file are reported. A file can be made
// as long as one likes at no cost, and each segment of it would be a fault.
const maxFaults = 1000

// verifyLog reads a log or MANIFEST to its end. After a crash there may be
// logs that nobody needs, and one of them may have been on its way to a new
// name: it is not judged.
func (fs *FS) verifyLog(d *dir, name string, fn fileName) (Verdict, error) {
	d.mu.Lock()
	_, needed := d.expect[fn.number]
	if fn.class == classManifest {
		_, needed = d.expectM[fn.number]
	}
	d.mu.Unlock()
	err := fs.readLog(d, name, fn)
	if err != nil && !needed {
		return Leftover, nil
	}
	return Live, err
}

func (fs *FS) readLog(d *dir, name string, fn fileName) error {
	_, r, err := fs.openReader(d, name, fn)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
