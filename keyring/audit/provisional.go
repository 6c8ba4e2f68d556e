package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxProvisional bounds the file of provisional records, in bytes. What comes
// when it is full is not kept: it would be more of the same.
const maxProvisional = 1 << 20

// KeepProvisional writes the records of a store that did not open into a file
// beside the log. There is no key to authenticate them with: whoever can write the
// disk can change them until the next Open binds them into the chain. The log is
// closed afterwards.
func (l *Log) KeepProvisional(p Place) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	early := l.early
	l.early, l.phase = nil, closed
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, r := range early {
		r.Provisional, r.Store = true, p.Store
		l.tell(r)
		if err := e.Encode(&r); err != nil {
			return err
		}
	}
	d := p.directory()
	if b.Len() == 0 {
		return nil
	}
	path := d.join(provisionalName)
	names, err := d.list()
	if err != nil {
		return err
	}
	if names == nil {
		if err := d.fs.MkdirAll(d.path, 0o700); err != nil {
			return err
		}
		if err := d.sync(d.fs.PathDir(d.path)); err != nil {
			return err
		}
	}
	var size int64
	if slices.Contains(names, provisionalName) {
		f, n, err := d.open(provisionalName) // no link, and no FIFO
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		size = n
	}
	if size+int64(b.Len())+1 > maxProvisional {
		return nil
	}
	f, err := d.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// A crash may have left half a line before it.
	_, err = f.WriteAt(append([]byte("\n"), b.Bytes()...), size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.sync(d.path)
}

// provisional reads the records that attempts to open the store have left.
func (d directory) provisional(log *slog.Logger) ([]Record, error) {
	fi, err := d.lstat(d.join(provisionalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		log.Warn("audit: what stands in the place of provisional records is not read", "file", d.where(provisionalName))
		return nil, nil
	}
	f, err := d.fs.Open(d.join(provisionalName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rs []Record
	lost := fi.Size() > maxProvisional
	for r := newLines(f, 0, min(fi.Size(), maxProvisional)); ; {
		b, _, whole, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			continue
		}
		rec, ok := parseProvisional(b)
		if !whole || !ok {
			lost = true
			continue
		}
		rs = append(rs, rec)
	}
	if lost {
		log.Warn("audit: not all provisional records can be read", "file", d.where(provisionalName))
	}
	return rs, nil
}

// parseProvisional reads a line that anyone may have written: only what such
// records have is taken from it.
func parseProvisional(b []byte) (Record, bool) {
	var r Record
	if json.Unmarshal(b, &r) != nil || !slices.Contains([]string{EventUnwrap, EventOpenStore, EventNote, EventWrap}, r.Event) {
		return Record{}, false
	}
	r.Version, r.Seq, r.Source, r.Begin, r.MAC, r.Provisional = recordVersion, 0, eventSource, nil, "", true
	if text, err := r.text(); err != nil || len(text) > maxProvisionalLine {
		return Record{}, false
	}
	return r, true
}

// maxProvisionalLine bounds one such record, in bytes.
const maxProvisionalLine = 16 << 10
