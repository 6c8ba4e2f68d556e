package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// attackDeadline is how long a store may take to open, be read and close.
const attackDeadline = 60 * time.Second

// attackMemory is how much it may allocate meanwhile, in bytes. A passphrase
// alone takes 64 MiB, and other attacks are made at the same time.
const attackMemory = 768 << 20

// An outcome is what came of opening and reading a store.
type outcome struct {
	store   error // Open failed
	tables  map[string]*tableOutcome
	closing error
	verify  []Finding
	memory  uint64
	broken  string // a panic or a hang
}

type tableOutcome struct {
	open, read, snapshot error
	step                 int  // of the history, whose content was found
	known                bool // the content is one of the history's
	sum                  contentDigest
	got                  map[string][]byte
	lies                 []string
}

func (o *tableOutcome) lie(format string, args ...any) {
	if len(o.lies) < 5 {
		o.lies = append(o.lies, fmt.Sprintf(format, args...))
	}
}

// bounded runs f with a deadline and catches its panics.
func bounded(f func()) (broken string) {
	done := make(chan string, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				buf := make([]byte, 16<<10)
				done <- fmt.Sprintf("panic: %v\n%s", r, buf[:runtime.Stack(buf, false)])
				return
			}
			done <- ""
		}()
		f()
	}()
	deadline := time.NewTimer(attackDeadline)
	defer deadline.Stop()
	select {
	case broken = <-done:
		return broken
	case <-deadline.C:
		buf := make([]byte, 1<<20)
		return fmt.Sprintf("hangs\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// probe verifies the store, opens it, reads all of it and closes it.
func (v *victim) probe(mode Mode) *outcome {
	o := &outcome{tables: map[string]*tableOutcome{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	broken := bounded(func() {
		v.verify(o)
		v.readAll(o, mode)
	})
	if broken != "" {
		return &outcome{broken: broken} // the other may still be written to
	}
	runtime.ReadMemStats(&after)
	o.memory = after.TotalAlloc - before.TotalAlloc
	return o
}

func (v *victim) verify(o *outcome) {
	s, err := Open(context.Background(), v.dir, v.w.options(v.base, ReadOnly, v.root))
	if err != nil {
		f := Finding{Offset: -1, Detail: err.Error(), Err: err}
		var c *CorruptionError
		if errors.As(err, &c) {
			f.Path, f.Offset = c.Path, c.Offset
		}
		o.verify = append(o.verify, f)
		return
	}
	_, err = s.Verify(context.Background(), func(f Finding) { o.verify = append(o.verify, f) })
	if err = errors.Join(err, s.Close()); err != nil {
		o.verify = append(o.verify, Finding{Offset: -1, Detail: "Verify failed: " + err.Error(), Err: err})
	}
}

func (v *victim) readAll(o *outcome, mode Mode) {
	s, err := Open(context.Background(), v.dir, v.w.options(v.base, mode, v.root))
	if err != nil {
		o.store = err
		return
	}
	for name, h := range v.w.tables {
		to := &tableOutcome{}
		o.tables[name] = to
		tab, err := s.Table(name)
		if err != nil {
			to.lie("the table is gone: %v", err)
			continue
		}
		v.readTable(to, tab, h)
	}
	o.closing = s.Close()
}

func (v *victim) readTable(o *tableOutcome, tab *Table, h *attackHistory) {
	if _, o.open = tab.Metrics(); o.open != nil {
		return
	}
	got := map[string][]byte{}
	for _, k := range slices.Sorted(maps.Keys(h.all)) {
		b, err := tab.Get([]byte(k))
		switch {
		case err == nil:
			got[k] = b
		case errors.Is(err, ErrNotFound):
		default:
			o.read = err
			if b, ok := h.now[k]; ok {
				got[k] = b // not known: as if it were right
			}
		}
	}
	v.scan(o, tab, h, got, v.rng.IntN(2) == 0)
	for k, b := range got {
		o.sum.toggle(k, b)
	}
	o.got = got
	if o.read == nil {
		o.step, o.known = h.states[o.sum]
	} else if o.sum != h.sum {
		o.lie("beside what failed, not everything is as it must be")
	}
	if !v.thorough && !strings.Contains(strings.Join(v.paths, " "), snapshotsDir) {
		return
	}
	for name, want := range h.snapshots {
		v.readSnapshot(o, tab, name, want)
	}
}

// scan compares a scan with what was got by key.
func (v *victim) scan(o *tableOutcome, tab *Table, h *attackHistory, got map[string][]byte, reverse bool) {
	want := slices.Sorted(maps.Keys(got))
	if reverse {
		slices.Reverse(want)
	}
	n := 0
	for e, err := range tab.Scan(ScanOptions{Reverse: reverse}) {
		if err != nil {
			o.read = err
			return
		}
		if n >= len(want) || want[n] != string(e.Key) || !bytes.Equal(got[want[n]], e.Value) {
			o.lie("entry %d of a scan is not what Get found", n)
			return
		}
		n++
	}
	if n != len(want) {
		o.lie("a scan ends after %d entries of %d", n, len(want))
	}
}

func (v *victim) readSnapshot(o *tableOutcome, tab *Table, name string, want contentDigest) {
	view, err := tab.OpenSnapshot(context.Background(), name)
	if err != nil {
		o.snapshot = err
		return
	}
	var sum contentDigest
	for e, err := range view.Scan(ScanOptions{}) {
		if err != nil {
			o.snapshot = err
			break
		}
		sum.toggle(string(e.Key), e.Value)
	}
	if o.snapshot == nil && sum != want {
		o.lie("snapshot %s holds something else", name)
	}
	if err := view.Close(); o.snapshot == nil {
		o.snapshot = err
	}
}

// compact makes Pebble read all that is damaged by itself. It may fail, and must
// neither fall nor make lies of it.
func (v *victim) compact() (fault string) {
	broken := bounded(func() {
		s, err := Open(context.Background(), v.dir, v.w.options(v.base, MustExist, v.root))
		if err != nil {
			return
		}
		if tab, err := s.Table(v.table); err == nil {
			if err := tab.Compact(context.Background(), nil, nil); err != nil && !errors.Is(err, ErrCorruption) {
				fault = "compact: " + err.Error()
			}
		}
		_ = s.Close()
	})
	if broken != "" || fault != "" {
		return broken + fault
	}
	o := &outcome{tables: map[string]*tableOutcome{}}
	if broken := bounded(func() { v.readAll(o, MustExist) }); broken != "" {
		return "after compacting: " + broken
	}
	if to := o.tables[v.table]; to != nil && len(to.lies) > 0 {
		return "after compacting: " + strings.Join(to.lies, "; ")
	}
	if to := o.tables[v.table]; to != nil && errors.Join(to.open, to.read, to.snapshot) == nil {
		return v.whole(v.table, to)
	}
	return ""
}

// useOn writes to a store that has opened, closes it, and reads all again:
// what was accepted must hold.
func (v *victim) useOn(o *outcome) string {
	var fault string
	broken := bounded(func() { fault = v.useOnce(o) })
	return broken + fault
}

func (v *victim) useOnce(o *outcome) string {
	ctx := context.Background()
	s, err := Open(ctx, v.dir, v.w.options(v.base, MustExist, v.root))
	if err != nil {
		return "open again: " + err.Error()
	}
	sums := map[string]contentDigest{}
	for name, to := range o.tables {
		tab, err := s.Table(name)
		if err != nil {
			return err.Error()
		}
		for i := range 20 {
			k, b := fmt.Sprintf("used/%03d", i), bytes.Repeat([]byte{byte(i)}, 200*i)
			if err := tab.Put([]byte(k), b, nil); err != nil {
				return "write: " + err.Error()
			}
			to.sum.toggle(k, b)
		}
		if err := errors.Join(tab.Flush(), tab.Compact(ctx, nil, nil)); err != nil {
			return "flush and compact: " + err.Error()
		}
		sums[name] = to.sum
	}
	if err := s.Close(); err != nil {
		return "close: " + err.Error()
	}
	if s, err = Open(ctx, v.dir, v.w.options(v.base, MustExist, v.root)); err != nil {
		return "open after use: " + err.Error()
	}
	defer s.Close()
	if rep, err := s.Verify(ctx, func(Finding) {}); err != nil || rep.Faults > 0 {
		return fmt.Sprintf("verify after use: %d faults, %v", rep.Faults, err)
	}
	for name, want := range sums {
		tab, err := s.Table(name)
		if err != nil {
			return err.Error()
		}
		var sum contentDigest
		for e, err := range tab.Scan(ScanOptions{}) {
			if err != nil {
				return "read after use: " + err.Error()
			}
			sum.toggle(string(e.Key), e.Value)
		}
		if sum != want {
			return name + " holds something else after use"
		}
	}
	return ""
}

var _ keyring.Anchor = (*attackRoot)(nil)
