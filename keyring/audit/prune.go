package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Pruning is what a record of EventPrune tells: from where on the log is kept. The
// files before are gone, or may be.
type Pruning struct {
	File uint64 `json:"firstFile"`     // that is kept
	Seq  uint64 `json:"firstSequence"` // of the record that it begins with
	// Chain is that record's. Where it does not begin it, Previous is the record before,
	// and Wraps hold the key of that record, as those of a Begin hold the chain's first.
	Chain    keyring.ID `json:"chainId"`
	Previous string     `json:"previousHead,omitempty"`
	Wraps    []Wrap     `json:"keyWraps,omitempty"`
}

// PruneOptions say what of a log is kept, and how to show that what goes was whole.
type PruneOptions struct {
	// Before: files whose records are all older go. Zero: age does not count.
	Before time.Time
	// MaxBytes: the oldest files go while all of them together are longer. Not above
	// zero: size does not count.
	MaxBytes int64
	// Named is the number of the file that the keyring names. It stays, and so do all
	// behind it.
	Named uint64
	// Wrap and Unwrap are those of OpenOptions.
	Wrap   func(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]Wrap, error)
	Unwrap func(ctx context.Context, w Wrap, ec keyring.Context) (*keyring.Secret, error)
}

// A PruneReport says what was pruned.
type PruneReport struct {
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Records uint64 `json:"records_before"` // of the whole log, that are not kept
}

// Prune removes the oldest files of a log that is being written. What goes is verified
// first: a log that was changed is not pruned, and stays evidence. Then a record says
// from where on the log is kept, and holds the key of the first record that is, wrapped
// by the root keys: so that a reader knows the beginning, can authenticate all behind
// it, and misses what somebody else removes. The files go when that record is durable.
// If we crash between, the next Prune removes them.
//
// Errors: ErrBroken where what would go does not verify, those of Wrap and Unwrap,
// ErrUnwritable, and those of the disk. One call at a time; Verify must not run beside
// it.
func (l *Log) Prune(ctx context.Context, p Place, o PruneOptions) (*PruneReport, error) {
	l.mu.Lock()
	phase, last := l.phase, l.files.file
	l.mu.Unlock()
	if phase != writing {
		return &PruneReport{}, nil
	}
	d := p.directory()
	numbers, err := d.numbers()
	if err != nil || len(numbers) == 0 {
		return &PruneReport{}, err
	}
	from := numbers[0]
	to, err := d.prunable(numbers, min(last, o.Named), o)
	if err != nil || to == from {
		return &PruneReport{}, err
	}
	var done *Pruning // an earlier one, of which a crash has left files
	if first, err := d.first(from); err != nil {
		return nil, err
	} else if first.rec.Event != EventBegin {
		if done, err = d.lastPruning(); err != nil {
			return nil, err
		}
	}
	if done != nil && done.File >= to {
		if err := d.proves(ctx, p, o, done, min(last, o.Named)); err != nil {
			return nil, err
		}
	}
	if done == nil || done.File < to {
		made, err := d.prepare(ctx, p, o, numbers, to)
		if err != nil {
			return nil, err
		}
		r := l.newRecord(EventPrune, Request{}, nil)
		r.Pruned = made
		l.mu.Lock()
		if err = l.take(r); err == nil {
			err = l.flush()
		}
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		done = made
	}
	return d.remove(numbers, done)
}

// Prunable tells whether Prune would find files to remove, if the keyring named the
// newest record. It reads no more of them than their first lines.
func (l *Log) Prunable(p Place, o PruneOptions) (bool, error) {
	l.mu.Lock()
	phase, last := l.phase, l.files.file
	l.mu.Unlock()
	if phase != writing {
		return false, nil
	}
	d := p.directory()
	numbers, err := d.numbers()
	if err != nil || len(numbers) == 0 {
		return false, err
	}
	to, err := d.prunable(numbers, last, o)
	return to > numbers[0], err
}

// prunable is the first file to keep: the first of numbers where none can go.
func (d directory) prunable(numbers []uint64, named uint64, o PruneOptions) (uint64, error) {
	var total int64
	sizes := make([]int64, len(numbers))
	for i, n := range numbers {
		fi, err := d.lstat(d.join(fileName(n)))
		if err != nil {
			return 0, err
		}
		sizes[i] = fi.Size()
		total += fi.Size()
	}
	for i, n := range numbers {
		if n >= named || i+1 == len(numbers) {
			return n, nil
		}
		old := false
		if !o.Before.IsZero() {
			next, err := d.first(numbers[i+1])
			if err != nil {
				return 0, err
			}
			old = next.rec.Time.Before(o.Before) // and all before it
		}
		if !old && (o.MaxBytes <= 0 || total <= o.MaxBytes) {
			return n, nil
		}
		total -= sizes[i]
	}
	return numbers[0], nil
}

// prepare verifies what is to go, and says where the log begins behind it.
func (d directory) prepare(ctx context.Context, p Place, o PruneOptions, numbers []uint64, to uint64) (*Pruning, error) {
	first, err := d.first(to)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	made := &Pruning{File: to, Seq: first.rec.Seq}
	var fault error
	v := newVerifier(ctx, p, VerifyOptions{Unwrap: o.Unwrap, Report: func(f Finding) {
		if !f.Warning && fault == nil {
			fault = corrupt.New(f.Class, f.Path, f.Offset, "%s", f.Detail)
		}
	}})
	defer func() { v.key.Wipe() }()
	if err := v.start(numbers[0]); err != nil {
		return nil, err
	}
	if err := v.files(numbers[:slices.Index(numbers, to)], to); err != nil {
		return nil, err
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case fault != nil:
		return nil, fmt.Errorf("%w, so nothing of it is pruned: %w", ErrBroken, fault)
	case first.rec.Event == EventBegin:
		made.Chain = first.rec.Begin.Chain
		return made, nil
	case v.key == nil || !v.whole:
		return nil, fmt.Errorf("%w: no root key of the store opens the chain that goes on in %s, so nothing of it is pruned",
			keyring.ErrKeyNotFound, d.where(fileName(to)))
	case v.seq+1 != made.Seq:
		return nil, fmt.Errorf("%w, so nothing of it is pruned: %w", ErrBroken, corrupt.New(corrupt.ErrMissing, d.where(fileName(to)), 0,
			"begins with record %d, and record %d is before it", made.Seq, v.seq))
	}
	made.Chain, made.Previous = v.chain, Head{v.seq, v.mac}.String()
	made.Wraps, err = o.Wrap(ctx, v.key, beginContext(p.Store, to))
	return made, err
}

// proves finds that what a record says of an earlier pruning is not so, of which files are
// left. They are removed for it, and not verified again; and nothing has verified the
// record: the log is read from the keyring's head on when it opens. So it has to name no
// file that the keyring needs, and hold the key of the record with which the log begins.
func (d directory) proves(ctx context.Context, p Place, o PruneOptions, done *Pruning, most uint64) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w, so nothing of it is pruned: %w", ErrBroken,
			corrupt.New(corrupt.ErrAuth, d.where(fileName(done.File)), 0, format, args...))
	}
	if done.File > most {
		return bad("a record says that all before it was pruned, and the keyring names file %d", most)
	}
	first, err := d.first(done.File)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	wraps, before := done.Wraps, Head{}
	switch {
	case first.rec.Seq != done.Seq:
		return bad("begins with record %d, and that of its pruning says %d", first.rec.Seq, done.Seq)
	case len(wraps) > 0:
		if before, err = ParseHead(done.Previous); err != nil {
			return bad("the record of its pruning names no record before it")
		}
	case first.rec.Event != EventBegin || first.rec.Begin.Chain != done.Chain:
		return bad("the record of its pruning has no key for it")
	default:
		wraps = first.rec.Begin.Wraps
	}
	key, err := firstKey(ctx, wraps, beginContext(p.Store, done.File), o.Unwrap)
	if err != nil && inaccessible(err) {
		return err
	}
	if err != nil {
		return bad("the key of its first record does not open")
	}
	defer key.Wipe()
	mac, err := tag(key, before.MAC, first.text)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac[:], first.mac[:]) {
		return bad("its first record is not that of which the record of its pruning has the key")
	}
	return nil
}

// remove removes the files before those that are kept, the oldest first.
func (d directory) remove(numbers []uint64, kept *Pruning) (*PruneReport, error) {
	rep := &PruneReport{Records: kept.Seq - 1}
	for _, n := range numbers {
		if n >= kept.File {
			break
		}
		name := d.join(fileName(n))
		fi, err := d.lstat(name)
		if err != nil {
			return rep, err
		}
		if err := d.fs.Remove(name); err != nil {
			return rep, err
		}
		rep.Files++
		rep.Bytes += fi.Size()
	}
	return rep, d.sync(d.path)
}

// pruneMark is in each line of EventPrune; few others have it.
var pruneMark = []byte(`"eventName":"` + EventPrune + `"`)

// lastPruning is what the newest record of EventPrune tells, or nil. It is authentic
// where the log is, of which it is a part.
func (d directory) lastPruning() (last *Pruning, err error) {
	numbers, err := d.numbers()
	if err != nil {
		return nil, err
	}
	for i := len(numbers) - 1; i >= 0 && last == nil; i-- {
		err := d.each(fileName(numbers[i]), func(b []byte) bool {
			if bytes.Contains(b, pruneMark) {
				if p, err := parseLine(b); err == nil && p.rec.Event == EventPrune {
					last = p.rec.Pruned
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, corrupt.ErrCorrupt) && err != io.EOF {
			return nil, err
		}
	}
	return last, nil
}

// start has the verifier know where a log begins that was pruned: first is the number
// of its first file. It returns nil where it was not, or where nothing says so, which
// the reading of that file finds.
func (v *verifier) start(first uint64) error {
	if p, err := v.first(first); err != nil || p.rec.Event == EventBegin && p.rec.Seq == 1 {
		return nil // what is wrong with it is told when its turn comes
	}
	kept, err := v.lastPruning()
	if err != nil || kept == nil || kept.File < first {
		return err
	}
	v.kept, v.file = kept, kept.File-1
	v.rep.Pruned = kept.Seq - 1
	if len(kept.Wraps) == 0 {
		return nil // it begins with a chain
	}
	before, err := ParseHead(kept.Previous)
	if err != nil || before.Seq+1 != kept.Seq {
		v.fault(v.where(fileName(kept.File)), -1, corrupt.ErrFormat, "the record of its pruning names %s as the one before record %d", clip(kept.Previous), kept.Seq)
		return nil
	}
	v.chain, v.seq, v.mac, v.whole = kept.Chain, before.Seq, before.MAC, true
	v.rep.Chains = 1
	v.unwrap(v.where(fileName(kept.File)), 0, kept.Wraps)
	return nil
}
