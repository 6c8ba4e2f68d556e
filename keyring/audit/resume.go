package audit

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"io"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// An end is where a log ends.
type end struct {
	file  uint64
	size  int64
	clean bool // nothing lies behind it in its file

	// What is in the file from here on was read, and need not be durable: where a
	// sync has failed, the system may show what it never writes. The first line of a
	// file is durable where its name is.
	from  int64
	tail  []byte
	count int // of records in tail
}

// resume finds the record that the keyring names, and follows the chain from
// there to its end. Errors are *corrupt.Error, and those of the disk.
//
// A record that is well-formed and does not verify was changed. What is not
// well-formed may be what a crash has left of the last lines, which were not
// durable then and whose outcome nobody was told: the log ends before it. Behind
// the record that the keyring names, whoever can write the disk can cut the log
// anyway.
//
// A new chain may begin behind that record, when a crash kept the keyring from
// naming it: its first key is unwrapped then.
func (d directory) resume(ctx context.Context, store keyring.ID, st *keyring.AuditState, unwrap unwrapFunc) (_ *chain, _ end, err error) {
	c := &chain{id: st.Chain, seq: st.Seq, mac: st.MAC, key: st.Key.Clone()}
	defer func() {
		if err != nil {
			c.key.Wipe()
		}
	}()
	if err := d.holds(st); err != nil {
		return nil, end{}, err
	}
	numbers, err := d.numbers()
	if err != nil {
		return nil, end{}, err
	}
	e := end{file: st.File, size: st.End, from: st.End}
	for _, n := range numbers {
		if n <= st.File {
			continue
		}
		if n != e.file+1 {
			return nil, end{}, corrupt.New(corrupt.ErrMissing, d.where(fileName(e.file+1)), -1, "a file of the audit log is not there")
		}
		next, err := d.first(n)
		if err != nil {
			return nil, end{}, err
		}
		if err := d.follow(c, &e, next.rec.Seq); err != nil {
			return nil, end{}, err
		}
		if next.rec.Seq != c.seq+1 {
			return nil, end{}, corrupt.New(corrupt.ErrMissing, d.where(fileName(n)), 0, "begins with record %d, and the file before ends with record %d", next.rec.Seq, c.seq)
		}
		if b := next.rec.Begin; next.rec.Event == EventBegin {
			if b.Previous != (Head{c.seq, c.mac}).String() {
				return nil, end{}, corrupt.New(corrupt.ErrForeign, d.where(fileName(n)), 0, "begins a chain that does not follow record %d", c.seq)
			}
			key, err := firstKey(ctx, b.Wraps, beginContext(store, n), unwrap)
			if err != nil && inaccessible(err) {
				return nil, end{}, err
			}
			if err != nil {
				return nil, end{}, corrupt.New(corrupt.ErrAuth, d.where(fileName(n)), 0, "begins a chain whose first key does not open")
			}
			c.key.Wipe()
			*c = chain{id: b.Chain, seq: c.seq, key: key}
		}
		e = end{file: n}
	}
	if err := d.follow(c, &e, 0); err != nil {
		return nil, end{}, err
	}
	if e.size == 0 { // the first line of a file is whole
		return nil, end{}, corrupt.New(corrupt.ErrFormat, d.where(fileName(e.file)), 0, "does not begin with a record")
	}
	return c, e, nil
}

type unwrapFunc = func(context.Context, Wrap, keyring.Context) (*keyring.Secret, error)

// firstKey unwraps the first key of a chain, by whichever root key does.
func firstKey(ctx context.Context, ws []Wrap, ec keyring.Context, unwrap unwrapFunc) (*keyring.Secret, error) {
	if len(ws) == 0 {
		return nil, errors.New("no root key has wrapped the first key")
	}
	var errs []error
	for _, w := range ws {
		key, err := unwrap(ctx, w, ec)
		if err == nil {
			return key, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// roots are the root keys that have wrapped the first key of a chain, of which file n
// holds a record; nil where its beginning is not there.
func (d directory) roots(chain keyring.ID, n uint64) []string {
	for ; n > 0; n-- {
		p, err := d.first(n)
		if err != nil {
			return d.prunedRoots(chain)
		}
		if p.rec.Event != EventBegin {
			continue
		}
		if p.rec.Begin.Chain != chain {
			return nil
		}
		return keysOf(p.rec.Begin.Wraps)
	}
	return nil
}

// prunedRoots are those that have wrapped the key of the first record that is kept.
func (d directory) prunedRoots(chain keyring.ID) []string {
	kept, err := d.lastPruning()
	if err != nil || kept == nil || kept.Chain != chain {
		return nil
	}
	return keysOf(kept.Wraps)
}

func keysOf(ws []Wrap) (uris []string) {
	for _, w := range ws {
		uris = append(uris, w.Key)
	}
	return uris
}

// holds checks that the record which the keyring names is where it says.
func (d directory) holds(st *keyring.AuditState) error {
	name := fileName(st.File)
	f, size, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if size < st.End {
		return corrupt.New(corrupt.ErrMissing, d.where(name), size, "the file was cut: record %d, which the keyring names, ends at offset %d", st.Seq, st.End)
	}
	want := macBefore + hex.EncodeToString(st.MAC[:]) + macBehind + "\n"
	got := make([]byte, len(want))
	if st.End < int64(len(want)) {
		return corrupt.New(corrupt.ErrFormat, d.where(name), -1, "no record can end at offset %d", st.End)
	}
	if _, err := f.ReadAt(got, st.End-int64(len(got))); err != nil && err != io.EOF {
		return err
	}
	if string(got) != want {
		return corrupt.New(corrupt.ErrAuth, d.where(name), st.End-int64(len(got)), "is not record %d, which the keyring names", st.Seq)
	}
	return nil
}

// follow verifies the records of e's file that come after the chain's last, up to
// the one before limit, where a later file goes on with that; else to the end.
func (d directory) follow(c *chain, e *end, limit uint64) error {
	name := fileName(e.file)
	f, size, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	bad := func(class error, off int64, format string, args ...any) error {
		return corrupt.New(class, d.where(name), off, format, args...)
	}
	r := newLines(f, e.size, size)
	for {
		if limit > 0 && c.seq+1 >= limit {
			return nil
		}
		b, off, whole, err := r.next()
		if err == io.EOF {
			e.clean = true
			return nil
		}
		if err != nil {
			return err
		}
		var p *parsed
		if whole {
			p, _ = parseLine(b)
		}
		switch {
		case p == nil && limit > 0:
			return bad(corrupt.ErrFormat, off, "is not record %d", c.seq+1)
		case p == nil:
			return nil
		case p.rec.Seq != c.seq+1:
			return bad(corrupt.ErrAuth, off, "is record %d, and must be record %d", p.rec.Seq, c.seq+1)
		}
		mac, err := c.tag(p.text)
		if err != nil {
			return err
		}
		if !hmac.Equal(mac[:], p.mac[:]) {
			return bad(corrupt.ErrAuth, off, "record %d does not verify", p.rec.Seq)
		}
		if err := c.advance(mac); err != nil {
			return err
		}
		e.size = off + int64(len(b)) + 1
		if e.from == 0 {
			e.from = e.size
			continue
		}
		e.tail = append(append(e.tail, b...), '\n')
		e.count++
	}
}
