package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// attackDeadline is how long a store may take to open, be read and close.
const attackDeadline = 60 * time.Second

// attackMemory is how much it may allocate meanwhile, in bytes; other tests
// allocate beside it.
const attackMemory = 1 << 30

// A victim is a copy of a world that is tampered with.
type victim struct {
	t    testing.TB
	w    *attackWorld
	base vfs.FS // the operating system's or one in memory
	dir  string
	root *attackRoot
	rng  *rand.Rand

	table  string   // whose files were tampered with; "" for the store's own
	paths  []string // of what was tampered with, relative to the store
	offset int64    // of the tampering, or -1
	// thorough looks at snapshots, lets Pebble compact and goes on writing.
	thorough bool
	// kept is the content that must be found, where it is not the world's.
	kept *contentDigest
}

func (w *attackWorld) victim(t testing.TB, base vfs.FS, dir string, rng *rand.Rand) *victim {
	writeTree(t, base, dir, w.files)
	return &victim{t: t, w: w, base: base, dir: dir, root: w.root.clone(), rng: rng, offset: -1}
}

// mark notes what is tampered with. The table is known from the path.
func (v *victim) mark(paths ...string) {
	v.paths = append(v.paths, paths...)
	for name, id := range v.w.ids {
		if strings.HasPrefix(paths[0], tablesDir+"/"+id) {
			v.table = name
		}
	}
}

func (v *victim) path(rel string) string { return v.base.PathJoin(v.dir, rel) }

func (v *victim) read(rel string) []byte {
	f, err := v.base.Open(v.path(rel))
	require.NoError(v.t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(v.t, err)
	return b
}

func (v *victim) write(rel string, b []byte) {
	writeTree(v.t, v.base, v.dir, map[string][]byte{rel: b})
}

func (v *victim) remove(rel string) { require.NoError(v.t, v.base.Remove(v.path(rel))) }

func (v *victim) removeAll(rel string) { require.NoError(v.t, v.base.RemoveAll(v.path(rel))) }

func (v *victim) rename(from, to string) {
	require.NoError(v.t, v.base.Rename(v.path(from), v.path(to)))
}

// glob lists files and directories of the store, by a pattern relative to it.
func (v *victim) glob(pattern string) []string {
	found := []string{""}
	for _, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			names, err := v.base.List(v.path(dir))
			if err != nil {
				continue // not a directory
			}
			for _, n := range names {
				if ok, err := path.Match(part, n); ok {
					next = append(next, path.Join(dir, n))
				} else {
					require.NoError(v.t, err)
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return found
}

// tableDir is a table's directory.
func (v *victim) tableDir(name string) string { return tablesDir + "/" + v.w.ids[name] }

// anyTable chooses a table, other gives the other one.
func (v *victim) anyTable() string { return []string{rowsTable, twinsTable}[v.rng.IntN(2)] }

func theOther(name string) string {
	if name == rowsTable {
		return twinsTable
	}
	return rowsTable
}

// pick chooses one of the files that match, of either table, and marks it.
func (v *victim) pick(pattern string) string {
	names := v.glob(tablesDir + "/*/" + pattern)
	require.NotEmpty(v.t, names, pattern)
	name := names[v.rng.IntN(len(names))]
	v.mark(name)
	return name
}

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

// What must come of an attack.
type attackVerdict string

const (
	failsOpen     attackVerdict = "O"   // an error when store or table opens
	failsRead     attackVerdict = "OR"  // an error at open or when what it hit is read
	failsSnapshot attackVerdict = "S"   // an error when the snapshot opens or is read
	keepsPrefix   attackVerdict = "O/P" // an error at open, or an exact prefix of the writes
	losesNothing  attackVerdict = "-"   // no error, nothing lost
	failsOrKeeps  attackVerdict = "O/-" // an error at open, or no error and nothing lost
	documented    attackVerdict = "X"   // an error at open, or an older state, as documented
)

// A requirement is what the matrix says of an attack.
type requirement struct {
	verdict attackVerdict
	verify  bool  // Verify names file and offset
	warns   bool  // Verify warns and finds no fault
	class   error // of the error; nil is ErrCorruption
	loose   bool  // the error may name another file
	keys    bool  // the error may say instead that no key fits
	both    bool  // both tables are concerned
}

// judge tells what came of an attack: in one word, and what is wrong with it,
// if anything.
func (v *victim) judge(req requirement, o *outcome) (word, fault string) {
	if o.broken != "" {
		return "broken", o.broken
	}
	if o.memory > attackMemory {
		return "memory", fmt.Sprintf("%d bytes were allocated", o.memory)
	}
	for name, to := range o.tables {
		if len(to.lies) > 0 {
			return "lie", name + ": " + strings.Join(to.lies, "; ")
		}
		if name != v.table && !req.both {
			if f := v.whole(name, to); f != "" {
				return "lie", name + ", which was not touched: " + f
			}
		}
	}
	word, fault, err := v.stage(req, o)
	if fault != "" {
		return word, fault
	}
	if err != nil {
		if fault := v.named(req, err); fault != "" {
			return word, fault
		}
	} else if o.closing != nil {
		return word, "close: " + o.closing.Error()
	}
	found := v.found(o)
	switch {
	case req.verify && found == "":
		return word, fmt.Sprintf("Verify does not name %v (offset %d): %s", v.paths, v.offset, findings(o.verify))
	case req.warns && (found != "warning" || slices.ContainsFunc(o.verify, func(f Finding) bool { return !f.Warning })):
		return word, "Verify should warn, and only warn: " + findings(o.verify)
	case req.verdict == failsRead && err == nil && found != "fault":
		return word, "neither reads nor Verify find it"
	}
	return word, ""
}

// stage tells at which stage the attack was found.
func (v *victim) stage(req requirement, o *outcome) (word, fault string, err error) {
	if o.store != nil {
		word, err = "open", o.store
	} else if to := o.tables[v.table]; to != nil {
		switch {
		case to.open != nil:
			word, err = "open", to.open
		case to.read != nil:
			word, err = "read", to.read
		case to.snapshot != nil:
			word, err = "snapshot", to.snapshot
		}
	}
	ok := false
	switch req.verdict {
	case failsOpen:
		ok = word == "open"
	case failsRead:
		ok = word == "open" || word == "read" || word == ""
	case failsSnapshot:
		ok = word == "snapshot"
	case keepsPrefix, failsOrKeeps:
		ok = word == "open" || word == ""
	case documented:
		ok = word != "read"
	case losesNothing:
		ok = word == ""
	}
	if !ok {
		return word, fmt.Sprintf("must be %s, came out as %q: %v", req.verdict, word, err), err
	}
	if err != nil {
		return word, "", err
	}
	if req.verdict == failsRead {
		return "unread", v.whole(v.table, o.tables[v.table]), nil
	}
	for name, to := range o.tables {
		f := v.whole(name, to)
		switch {
		case v.kept != nil && name == v.table:
			if to.sum != *v.kept {
				return word, fmt.Sprintf("%s holds step %d, not the one that it must", name, to.step), nil
			}
			word = "as must be"
		case f == "":
			if word == "" {
				word = "nothing lost"
			}
		case (req.verdict == keepsPrefix || req.verdict == documented) && to.known:
			word = string(req.verdict[len(req.verdict)-1:])
		default:
			return word, name + ": " + f, nil
		}
	}
	return word, "", nil
}

// whole tells what is missing of a table that must hold all that was
// acknowledged.
func (v *victim) whole(name string, o *tableOutcome) string {
	h := v.w.tables[name]
	switch err := errors.Join(o.open, o.read, o.snapshot); {
	case err != nil:
		return err.Error()
	case !o.known:
		return "its content is none that it ever had"
	case o.step < h.acked:
		return fmt.Sprintf("it holds %d of %d steps, and says nothing", o.step, h.acked)
	}
	return ""
}

// named checks that an error has the class it must and names the file.
func (v *victim) named(req requirement, err error) string {
	if req.class != nil {
		if !errors.Is(err, req.class) {
			return fmt.Sprintf("the error is not %v: %v", req.class, err)
		}
		return ""
	}
	for _, class := range []error{keyring.ErrRootNotPinned, keyring.ErrKeyNotFound, keyring.ErrWrongContext} {
		if req.keys && errors.Is(err, class) {
			return ""
		}
	}
	var c *CorruptionError
	if !errors.Is(err, ErrCorruption) || !errors.As(err, &c) {
		return fmt.Sprintf("not ErrCorruption: %v", err)
	}
	if !req.loose && !slices.Contains(v.paths, c.Path) {
		return fmt.Sprintf("names %q, not %v: %v", c.Path, v.paths, err)
	}
	return ""
}

// found tells whether Verify has found a fault in what was tampered with, at
// its place, or warns of it.
func (v *victim) found(o *outcome) string {
	word := ""
	for _, f := range o.verify {
		if !slices.Contains(v.paths, f.Path) {
			continue
		}
		if f.Warning {
			word = "warning"
		} else if v.offset < 0 || f.Offset >= 0 && f.Offset <= v.offset || f.Offset >= 0 && max(f.Offset, v.offset) < keyring.HeaderLen {
			return "fault"
		}
	}
	return word
}

func findings(fs []Finding) string {
	if len(fs) == 0 {
		return "no finding"
	}
	var b strings.Builder
	for i, f := range fs {
		if i == 5 {
			fmt.Fprintf(&b, " … %d in all", len(fs))
			break
		}
		fmt.Fprintf(&b, "[%s at %d: %s: %s, warning %v] ", f.Path, f.Offset, f.Class, f.Detail, f.Warning)
	}
	return b.String()
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
