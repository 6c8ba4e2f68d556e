package audit

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// VerifyOptions say what Verify knows.
type VerifyOptions struct {
	// Unwrap has a root key unwrap the first key of a chain, in the context given.
	// Nil, or a key that is not to be had: the records of the chain are not
	// authenticated, but for those behind the one that State names, and the report
	// has fewer records that are Verified than there are.
	Unwrap func(ctx context.Context, w Wrap, ec keyring.Context) (*keyring.Secret, error)
	// State is what the keyring says of the log; nil: nothing. It needs no key.
	State *keyring.AuditState
	// Heads are held elsewhere. Each must be found.
	Heads []Head
	// End is where a log ends that is being written; zero: where the files do.
	End End
	// Report hears of each finding, in order.
	Report func(Finding)
}

// An End is how far the files of a log are to be read.
type End struct {
	File uint64
	Size int64 // of that file
}

// End is where the log ends whose records are durable; zero where it is not being
// written.
func (l *Log) End() End {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != writing {
		return End{}
	}
	return End{l.files.file, l.files.size}
}

// A Finding is something that is wrong with a log, or worth knowing.
type Finding struct {
	Path    string // relative to the store
	Offset  int64  // of the line; -1 where none applies
	Class   error  // one of package corrupt's; nil for a warning
	Detail  string
	Warning bool // nothing is known to be wrong
}

// A Report sums up what Verify found.
type Report struct {
	Files    int
	Bytes    int64
	Records  uint64
	Chains   int
	Verified uint64 // records that were authenticated
	Pruned   uint64 // the last record before those that are kept; 0: none was pruned
	Last     Head   // the last record; zero where there is none
	Faults   int
	Warnings int
}

// Verify reads a whole log. With the first key of each chain, it finds every
// record that was changed, removed, repeated, put elsewhere or taken from another
// log, up to the last of the heads that it is told of: that of the keyring, and
// those held elsewhere. Behind those the end of the log can have been cut, and no
// reader can tell.
//
// Whoever holds a chain's first key can verify it and forge it: then the heads
// held elsewhere bind him, and nothing in the store. The error is ctx's, or that
// of the disk; faults are no errors of Verify.
func Verify(ctx context.Context, p Place, o VerifyOptions) (*Report, error) {
	v := newVerifier(ctx, p, o)
	heads := slices.Clone(o.Heads)
	if st := o.State; st != nil {
		heads = append(heads, Head{st.Seq, st.MAC})
	}
	defer func() { v.key.Wipe() }()
	for _, h := range heads {
		v.heads = append(v.heads, &sought{Head: h})
		v.known = max(v.known, h.Seq)
	}
	names, err := v.list()
	if err != nil {
		var fault *corrupt.Error
		if !errors.As(err, &fault) {
			return v.rep, err
		}
		v.fault(fault.Path, -1, fault.Class, "%s", fault.Detail)
	}
	for _, name := range names {
		if _, ok := parseFileName(name); !ok && name != tempName && name != provisionalName {
			v.warn(v.where(name), -1, "not a file of the audit log")
		}
	}
	numbers, err := v.numbers()
	if err != nil {
		numbers = nil // told above
	}
	if o.End.File > 0 {
		numbers = slices.DeleteFunc(numbers, func(n uint64) bool { return n > o.End.File })
	}
	if len(numbers) > 0 {
		if err := v.start(numbers[0]); err != nil {
			return v.rep, err
		}
	}
	if err := v.files(numbers, 0); err != nil {
		return v.rep, err
	}
	v.missed()
	return v.rep, ctx.Err()
}

func newVerifier(ctx context.Context, p Place, o VerifyOptions) *verifier {
	return &verifier{ctx: ctx, directory: p.directory(), store: p.Store, o: o, rep: &Report{}}
}

// files reads files in order; after is the number of the one behind the last, or 0.
func (v *verifier) files(numbers []uint64, after uint64) error {
	for i, n := range numbers {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		if v.kept != nil && n < v.kept.File {
			v.warn(v.where(fileName(n)), -1, "was pruned, and a crash kept it from being removed")
			continue
		}
		if want := v.file + 1; n != want {
			v.fault(v.where(fileName(want)), -1, corrupt.ErrMissing, "a file of the audit log is not there")
		}
		v.file = n
		next := after
		if i+1 < len(numbers) {
			next = numbers[i+1]
		}
		if err := v.one(n, next); err != nil {
			return err
		}
	}
	return nil
}

type verifier struct {
	directory
	ctx   context.Context
	store keyring.ID
	o     VerifyOptions
	rep   *Report
	heads []*sought
	known uint64   // the highest sequence number among all heads
	file  uint64   // the last one read
	kept  *Pruning // where the log begins that was pruned; else nil

	chain keyring.ID
	seq   uint64          // of the last record that was in order
	mac   [macLen]byte    // that it says it has
	whole bool            // the record before is there, so that mac is its MAC
	key   *keyring.Secret // of the next record; nil: it is not known

	skipped uint64 // missing records that the key was moved over, at most maxGap
}

func (v *verifier) tell(f Finding) {
	if f.Warning {
		v.rep.Warnings++
	} else {
		v.rep.Faults++
	}
	if v.o.Report != nil {
		v.o.Report(f)
	}
}

func (v *verifier) fault(path string, off int64, class error, format string, args ...any) {
	v.tell(Finding{Path: path, Offset: off, Class: class, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) warn(path string, off int64, format string, args ...any) {
	v.tell(Finding{Path: path, Offset: off, Detail: fmt.Sprintf(format, args...), Warning: true})
}

// one reads file n; next is the number of the one after it, or 0.
func (v *verifier) one(n, next uint64) error {
	name := fileName(n)
	path := v.where(name)
	f, size, err := v.open(name)
	var fault *corrupt.Error
	if errors.As(err, &fault) {
		v.fault(path, -1, fault.Class, "%s", fault.Detail)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if v.o.End.File == n {
		size = min(size, v.o.End.Size)
	}
	v.rep.Files++
	v.rep.Bytes += size
	if size == 0 {
		v.fault(path, 0, corrupt.ErrFormat, "does not begin with a record")
	}
	var limit uint64
	unnamed := false // no keyring has named a record of this file
	if next > 0 {
		limit = v.limit(next)
		p, err := v.first(next)
		unnamed = err == nil && p.rec.Event == EventBegin && p.rec.Begin.Reason == ReasonFirst
	}
	for r := newLines(f, 0, size); ; {
		if v.ctx.Err() != nil {
			return nil // told by Verify
		}
		b, off, whole, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var p *parsed
		if whole {
			p, _ = parseLine(b)
		}
		if limit > 0 && v.seq+1 >= limit && (p == nil || !v.begins(p)) {
			return v.remainder(path, b, off, whole, r, next)
		}
		if p != nil {
			v.record(path, off, p)
			continue
		}
		// What a crash or a failed write can leave is not well-formed. It lies behind
		// all that anybody was told of, and never begins a file.
		if limit == 0 && (v.seq >= v.known || unnamed) && off > 0 {
			v.warn(path, off, "what follows was being written when a crash came, and is no part of the log: %d bytes", size-off)
			return nil
		}
		v.whole = false
		v.fault(path, off, corrupt.ErrFormat, "is not a record of the audit log")
		if !whole {
			return nil
		}
	}
}

// remainder looks at what lies behind the last record of a file after which the
// next one goes on: lines whose write or sync had failed, and which the next one
// repeats, as far as they got.
func (v *verifier) remainder(path string, b []byte, off int64, whole bool, r *lines, next uint64) error {
	f, size, err := v.open(fileName(next))
	if err != nil {
		return nil // told when its turn comes
	}
	defer f.Close()
	again := newLines(f, 0, size)
	v.warn(path, off, "what follows could not be made durable; the next file repeats it")
	for {
		if !whole {
			return nil
		}
		p, err := parseLine(b)
		if err != nil {
			return nil
		}
		want, _, ok, err := again.next()
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF || !ok || string(want) != string(b) {
			v.fault(path, off, corrupt.ErrAuth, "record %d lies where the log goes on in the next file with other records", p.rec.Seq)
			return nil
		}
		if b, off, whole, err = r.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// record takes the next record of the files.
func (v *verifier) record(path string, off int64, p *parsed) {
	v.rep.Records++
	if v.begins(p) {
		v.begin(path, off, p)
	} else if !v.inOrder(path, off, p) {
		return
	}
	v.authenticate(path, off, p)
	v.seq, v.mac, v.whole = p.rec.Seq, p.mac, true
	v.rep.Last = Head{v.seq, v.mac}
	v.forward(1)
	v.meet(path, off)
}

// begins tells whether a record begins a chain.
func (v *verifier) begins(p *parsed) bool {
	return p.rec.Event == EventBegin && p.rec.Begin.Chain != v.chain
}

// begin goes on to a new chain.
func (v *verifier) begin(path string, off int64, p *parsed) {
	switch b := p.rec.Begin; {
	case v.rep.Chains == 0 && v.kept != nil && v.kept.Chain == b.Chain && v.kept.Seq == p.rec.Seq:
	case v.rep.Chains == 0 && p.rec.Seq != 1:
		v.fault(path, off, corrupt.ErrMissing, "records 1 to %d are missing", p.rec.Seq-1)
	case v.rep.Chains == 0:
	case b.Reason == ReasonRoots && (b.Previous != v.rep.Last.String() || p.rec.Seq != v.seq+1):
		v.fault(path, off, corrupt.ErrMissing, "a new chain begins that follows record %s, and record %d is before it", clip(b.Previous), v.seq)
	case b.Reason == ReasonRoots:
	case b.Reason == ReasonBroken:
		v.warn(path, off, "a new chain begins with record %d: the one before was not what the keyring said, which named record %s, and ends with record %d",
			p.rec.Seq, clip(b.Previous), v.seq)
	default:
		v.warn(path, off, "a new chain begins with record %d: the one before was left unfinished by a crash", p.rec.Seq)
	}
	v.rep.Chains++
	v.key.Wipe()
	v.chain, v.mac, v.whole, v.key = p.rec.Begin.Chain, [macLen]byte{}, true, nil
	if p.rec.Store != v.store {
		v.fault(path, off, corrupt.ErrForeign, "a chain of the audit log of store %s", p.rec.Store)
		return
	}
	v.unwrap(path, off, p.rec.Begin.Wraps)
}

// unwrap has a root key unwrap the key of the first record of a file, v.file or, where
// the log was pruned, the one after it.
func (v *verifier) unwrap(path string, off int64, ws []Wrap) {
	if v.o.Unwrap == nil {
		return
	}
	file := v.file
	if v.kept != nil && file < v.kept.File {
		file = v.kept.File
	}
	key, err := firstKey(v.ctx, ws, beginContext(v.store, file), v.o.Unwrap)
	switch {
	case err == nil:
		v.key = key
	case inaccessible(err):
		v.warn(path, off, "the chain that begins here cannot be authenticated: %v", err)
	default:
		v.fault(path, off, corrupt.ErrAuth, "the first key of the chain does not open")
	}
}

// inaccessible tells whether a root key is not to be had; otherwise it is there, and
// what it was handed is not what it has wrapped.
func inaccessible(err error) bool {
	for _, class := range []error{
		keyring.ErrRootNotPinned, keyring.ErrKeyDenied, keyring.ErrKeyNotFound, keyring.ErrKeyUnreachable, keyring.ErrKeyThrottled,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// inOrder tells whether a record follows the last, if need be after a gap.
func (v *verifier) inOrder(path string, off int64, p *parsed) bool {
	switch seq := p.rec.Seq; {
	case v.rep.Chains == 0:
		v.fault(path, off, corrupt.ErrMissing, "the log begins with record %d, which begins no chain: what came before is missing", seq)
		v.rep.Chains, v.whole = 1, false
	case seq <= v.seq:
		v.fault(path, off, corrupt.ErrAuth, "record %d again, or out of order", seq)
		return false
	case seq > v.seq+1:
		v.fault(path, off, corrupt.ErrMissing, "records %d to %d are missing", v.seq+1, seq-1)
		v.whole = false
		v.skip(seq - v.seq - 1)
	}
	return true
}

// maxGap is how many missing records the key is moved forward over, in all: a line costs
// nothing to who writes to the disk.
const maxGap = 1 << 20

// skip moves the key over missing records, or gives it up.
func (v *verifier) skip(n uint64) {
	if n > maxGap-v.skipped {
		v.key.Wipe()
		v.key = nil
		return
	}
	v.skipped += n
	v.forward(n)
}

// forward moves the key of the next record forward by n records.
func (v *verifier) forward(n uint64) {
	if v.key == nil {
		return
	}
	for range n {
		next, err := ratchet(v.key)
		v.key.Wipe()
		if v.key = next; err != nil {
			v.key = nil
			return
		}
	}
}

// authenticate checks a record's MAC, where its key and the record before are
// known. The keys do not depend on records, so one that was changed is found
// alone: the next one goes on from the MAC that it shows.
func (v *verifier) authenticate(path string, off int64, p *parsed) {
	if v.key == nil || !v.whole {
		return
	}
	mac, err := tag(v.key, v.mac, p.text)
	if err != nil || !hmac.Equal(mac[:], p.mac[:]) {
		v.fault(path, off, corrupt.ErrAuth, "record %d was changed, or is not of this log", p.rec.Seq)
		return
	}
	v.rep.Verified++
}

// A sought head has to be found.
type sought struct {
	Head
	found bool
	path  string // of another record of its number; "" if there is none
	off   int64
}

// meet compares the last record with the heads of its number. Two chains may have a
// record of that number, where the first was left unfinished.
func (v *verifier) meet(path string, off int64) {
	for _, h := range v.heads {
		switch {
		case h.Seq != v.seq:
		case h.MAC == v.mac:
			h.found = true
		default:
			h.path, h.off = path, off
		}
	}
	if st := v.o.State; st != nil && st.Key != nil && st.Chain == v.chain && st.Seq == v.seq && st.MAC == v.mac && v.key == nil {
		v.key = st.Key.Clone() // from here on
	}
}

// missed tells of the heads that were not found.
func (v *verifier) missed() {
	path := v.fs.PathBase(v.path)
	if v.file > 0 {
		path = v.where(fileName(v.file))
	}
	for _, h := range v.heads {
		switch {
		case h.found:
		case h.Seq <= v.rep.Pruned:
			v.warn(path, -1, "record %d, which was noted, was pruned", h.Seq)
		case h.path != "":
			v.fault(h.path, h.off, corrupt.ErrRollback, "record %d is not the one that was noted as %s…", h.Seq, hex.EncodeToString(h.MAC[:4]))
		case h.Seq > v.seq:
			v.fault(path, -1, corrupt.ErrMissing, "the log ends with record %d, and record %d was noted: it was cut, or an older one was put back", v.seq, h.Seq)
		default:
			v.fault(path, -1, corrupt.ErrMissing, "record %d, which was noted, is not in the log", h.Seq)
		}
	}
}
