package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

const (
	// DefaultFileSize is that of Options.FileSize, in bytes.
	DefaultFileSize = 16 << 20
	// maxWaiting is how many records wait in memory while the log cannot be
	// written, before what they would record is refused.
	maxWaiting = 1024
)

// Options of a Log. The zero value is ready for use.
type Options struct {
	// Actor says on whose behalf this process uses the keys, such as the name of
	// a service; at most 256 bytes. It stands in each record beside the process's
	// user, program and id.
	Actor string
	// Sink hears of each record, in order, from one goroutine, without a lock of
	// the log or the store held. A record may not be durable yet. A sink that is
	// 4096 records behind misses some, as Record.Seq shows. Nil: there is none.
	Sink func(Record)
	// FileSize is how long a file grows before the next begins, in bytes; 0 is
	// DefaultFileSize.
	FileSize int64
	// Logger gets what is worth knowing and no error; nil discards it.
	Logger *slog.Logger
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// A Log records key operations. It is safe for concurrent use.
//
// It begins before there is a key to authenticate records with: what is recorded
// from New to Open waits in memory.
//
// A record is durable when Record or Note returns nil, but for this: where the
// disk cannot be written Note, which is for uses of keys that change nothing,
// keeps up to 1024 records in memory and returns nil all the same. A full disk
// would otherwise keep people from reading their tables. They are written before
// the next record that can be, and lost if the process ends first. Record, which is
// for what makes or changes something, fails then, and so does a change of the
// keyring, which asks for State.
type Log struct {
	opts  Options
	actor Actor
	queue *queue // nil without a sink
	calls calls

	mu      sync.Mutex // guards all below
	phase   phase
	store   keyring.ID
	early   []Record // until Open
	chain   *chain
	files   writer
	lines   []byte // in the chain, and not durable
	waiting int    // their number
	warned  bool   // that they wait
}

type phase uint8

const (
	collecting phase = iota // Open has not been called
	writing
	readOnly // nothing is written
	closed
)

// New makes a log that collects records until it is opened. The caller closes it.
func New(o Options) *Log {
	if o.FileSize <= 0 {
		o.FileSize = DefaultFileSize
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{opts: o, actor: processActor(o.Actor)}
	if o.Sink != nil {
		l.queue = newQueue(o.Sink, o.Logger)
	}
	return l
}

// A Place is where a log lies, and whose it is.
type Place struct {
	FS    vfs.FS
	Dir   string // whose parent exists
	Store keyring.ID
}

func (p Place) directory() directory { return directory{fs: p.FS, path: p.Dir} }

// OpenOptions say how to open a log.
type OpenOptions struct {
	// State is what the keyring says of the log; nil: there is none yet, and Open
	// makes it.
	State *keyring.AuditState
	// Roots are the root keys of the store. Where others have wrapped the first key
	// of the chain, or not all of them, a new chain begins, so that whoever can open
	// the store can verify what is recorded from then on.
	Roots []string
	// Wrap has those root keys wrap the first key of a new chain. It may record its
	// calls in the log.
	Wrap func(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]Wrap, error)
	// Unwrap has one unwrap the first key of a chain that the keyring does not name
	// yet.
	Unwrap func(ctx context.Context, w Wrap, ec keyring.Context) (*keyring.Secret, error)
	// BeginAnew begins a new chain where the log is not what State says. What is
	// there stays there.
	BeginAnew bool
}

// Open finds the end of the log and goes on from there with the records that have
// waited. They are durable when it returns nil; only then the keyring's next
// generation may name them. Errors: ErrBroken, and those of disk and Wrap.
func (l *Log) Open(ctx context.Context, p Place, o OpenOptions) (err error) {
	d := p.directory()
	w := writer{directory: d, max: l.opts.FileSize}
	var c *chain
	var e end
	var first *Record
	if o.State != nil {
		c, e, err = d.resume(ctx, p.Store, o.State, o.Unwrap)
		w.file, w.size, w.more = e.file, e.from, e.clean
		if err == nil && e.file != o.State.File {
			err = d.sync(d.path) // the name that we saw may not be durable
		}
	}
	var fault *corrupt.Error
	switch {
	case errors.As(err, &fault) && o.BeginAnew:
		l.opts.Logger.Warn("audit: the log is begun anew", "store", p.Store, "error", err)
		c = nil
	case errors.As(err, &fault):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	case err != nil:
		return err
	case c != nil && !w.more:
		l.opts.Logger.Warn("audit: a crash has left more than records behind the last one; the log goes on in a new file",
			"file", d.where(fileName(w.file)), "offset", e.size)
	}
	if c == nil {
		e = end{}
		c, first, err = l.begin(ctx, p, o, &w)
	} else {
		c, first, err = l.renew(ctx, p, o, c, &w, &e)
	}
	if err != nil {
		return err
	}
	bound, err := d.provisional(l.opts.Logger)
	if err != nil {
		c.key.Wipe()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.chain, l.files, l.phase = p.Store, c, w, writing
	l.lines, l.waiting = e.tail, e.count // written again, in their place
	waiting := append(bound, l.early...)
	l.early = nil
	if first != nil {
		waiting = append([]Record{*first}, waiting...)
	}
	for _, r := range waiting {
		if err := l.add(r); err != nil {
			return err
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	if len(bound) > 0 {
		// If we crash here, or it comes back in a crash, its records are bound
		// twice; their ids show it.
		if err := d.fs.Remove(d.join(provisionalName)); err != nil {
			l.opts.Logger.Warn("audit: provisional records are in the log, and their file cannot be removed", "error", err)
		}
	}
	return nil
}

// begin makes the directory and a new chain, which goes on in a file of its own
// behind all that there are.
func (l *Log) begin(ctx context.Context, p Place, o OpenOptions, w *writer) (*chain, *Record, error) {
	names, err := w.list()
	if err != nil {
		return nil, nil, err
	}
	if names == nil {
		if err := w.fs.MkdirAll(w.path, 0o700); err != nil {
			return nil, nil, err
		}
		if err := w.sync(w.fs.PathDir(w.path)); err != nil {
			return nil, nil, err
		}
	}
	numbers, err := w.numbers()
	if err != nil {
		return nil, nil, err
	}
	*w = writer{directory: w.directory, max: w.max}
	if len(numbers) > 0 {
		w.file = numbers[len(numbers)-1]
	}
	b := &Begin{Reason: ReasonFirst}
	var seq uint64
	if o.State != nil {
		seq, w.file = o.State.Seq, max(w.file, o.State.File)
		b.Reason, b.Previous = ReasonBroken, Head{o.State.Seq, o.State.MAC}.String()
	}
	c, err := newChain(ctx, p, o, b, seq, w.file+1)
	if err != nil {
		return nil, nil, err
	}
	r := l.newRecord(EventBegin, Request{}, nil)
	r.Begin = b
	return c, &r, nil
}

// newChain makes a chain that goes on after record seq, and has its first key
// wrapped.
func newChain(ctx context.Context, p Place, o OpenOptions, b *Begin, seq, file uint64) (_ *chain, err error) {
	c := &chain{id: keyring.NewID(), seq: seq, key: keyring.RandomSecret()}
	b.Chain = c.id
	if b.Wraps, err = o.Wrap(ctx, c.key, beginContext(p.Store, file)); err != nil {
		c.key.Wipe()
		return nil, err
	}
	return c, nil
}

// renew begins a new chain behind the end of c, where the store has other root keys
// by now. Where not all of them wrap its first key c goes on, and the next opening
// tries again.
func (l *Log) renew(ctx context.Context, p Place, o OpenOptions, c *chain, w *writer, e *end) (*chain, *Record, error) {
	had := w.roots(c.id, w.file)
	if had == nil || o.Roots == nil || sameSet(had, o.Roots) {
		return c, nil, nil
	}
	if e.count > 0 { // the new chain has a file of its own
		if err := w.append(e.tail); err != nil {
			c.key.Wipe()
			return nil, nil, fmt.Errorf("%w: %w", ErrUnwritable, err)
		}
		*e = end{}
	}
	b := &Begin{Reason: ReasonRoots, Previous: Head{c.seq, c.mac}.String()}
	next, err := newChain(ctx, p, o, b, c.seq, w.file+1)
	if err == nil && len(b.Wraps) < len(o.Roots) {
		next.key.Wipe()
		err = errors.New("not all root keys of the store wrap")
	}
	if err != nil {
		l.opts.Logger.Warn("audit: what is recorded can be verified by former root keys of the store alone", "roots", had, "error", err)
		return c, nil, nil
	}
	c.key.Wipe()
	w.leave()
	r := l.newRecord(EventBegin, Request{}, nil)
	r.Begin = b
	return next, &r, nil
}

func sameSet(a, b []string) bool {
	for _, s := range a {
		if !slices.Contains(b, s) {
			return false
		}
	}
	return len(a) == len(b)
}

// beginContext binds the first key of a chain to the file in which it begins.
func beginContext(store keyring.ID, file uint64) keyring.Context {
	return keyring.Context{Store: store, Purpose: keyring.PurposeAuditKey, Version: uint32(file)}
}

// OpenReadOnly has the log write nothing: only the sink hears of records.
func (l *Log) OpenReadOnly(store keyring.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.phase = store, readOnly
	for _, r := range l.early {
		l.tell(r)
	}
	l.early = nil
}

func (l *Log) newRecord(event string, req Request, err error) Record {
	return Record{
		Version: recordVersion, ID: keyring.NewID(), Time: l.opts.Now().UTC().Round(0), Source: eventSource,
		Event: event, Actor: l.actor, Request: req, Outcome: outcome(err), ErrorCode: ErrorCode(err),
	}
}

// Record records an operation that makes or changes something, with the error
// that it ended in. It returns when the record is durable, or ErrUnwritable: then
// the operation's result must not be used.
func (l *Log) Record(event string, req Request, err error) error {
	r := l.newRecord(event, req, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.take(r); err != nil {
		return err
	}
	return l.flush()
}

// Note records an operation that changes nothing. It returns when the record is
// durable; where the log cannot be written it may wait in memory, as told at Log.
// ErrUnwritable says that too many wait: the operation's result must not be used.
func (l *Log) Note(event string, req Request, err error) error {
	r := l.newRecord(event, req, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.take(r); err != nil {
		return err
	}
	if err := l.flush(); err != nil && !l.warned {
		l.warned = true
		l.opts.Logger.Error("audit: records wait in memory", "error", err)
	}
	return nil
}

// Later records what other records imply, such as that a table opened whose key was
// unwrapped. It is durable with the next record, or when the log closes.
func (l *Log) Later(event string, req Request, err error) {
	r := l.newRecord(event, req, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.take(r); err != nil {
		l.opts.Logger.Error("audit: an event is not recorded", "event", event, "error", err)
	}
}

// take adds a record, unless too many wait; mu is held.
func (l *Log) take(r Record) error {
	switch l.phase {
	case closed:
		return keyring.ErrClosed
	case readOnly:
		l.tell(r)
		return nil
	case collecting:
		if len(l.early) >= maxWaiting {
			return fmt.Errorf("%w: it has not been opened, and %d records wait", ErrUnwritable, len(l.early))
		}
		l.early = append(l.early, r)
		return nil
	}
	if l.waiting >= maxWaiting {
		if err := l.flush(); err != nil {
			return err
		}
	}
	return l.add(r)
}

// add puts a record into the chain; mu is held.
func (l *Log) add(r Record) error {
	r.Seq, r.Store = l.chain.seq+1, l.store
	text, err := r.text()
	if err != nil {
		return err
	}
	mac, err := l.chain.tag(text)
	if err != nil {
		return err
	}
	if err := l.chain.advance(mac); err != nil {
		return err
	}
	l.lines = append(l.lines, line(text, mac)...)
	l.waiting++
	r.MAC = fmt.Sprintf("%x", mac)
	l.tell(r)
	return nil
}

func (l *Log) tell(r Record) {
	if r.Store.IsZero() {
		r.Store = l.store
	}
	if l.queue != nil {
		l.queue.put(r)
	}
}

// flush makes durable what waits; mu is held.
func (l *Log) flush() error {
	if l.waiting == 0 || l.phase != writing {
		return nil
	}
	if err := l.files.append(l.lines); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	l.lines, l.waiting, l.warned = l.lines[:0], 0, false
	return nil
}

// State makes all records durable and gives what the keyring is to say of them:
// it is keyring.Options.Audit. Nil: there is nothing to say (yet). The caller wipes
// the key.
func (l *Log) State(context.Context) (*keyring.AuditState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != writing {
		return nil, nil
	}
	if err := l.flush(); err != nil {
		return nil, err
	}
	return &keyring.AuditState{
		AuditHead: keyring.AuditHead{Chain: l.chain.id, Seq: l.chain.seq, MAC: l.chain.mac},
		File:      l.files.file, End: l.files.size, Key: l.chain.key.Clone(),
	}, nil
}

// Close makes durable what waits, hands the sink what it has not heard, waits
// until it has, and erases the key. It is idempotent. The sink must not call it.
func (l *Log) Close() error {
	l.mu.Lock()
	err := l.flush()
	l.files.close()
	for _, r := range l.early {
		l.tell(r)
	}
	l.early, l.phase = nil, closed
	if l.chain != nil {
		l.chain.key.Wipe()
	}
	l.mu.Unlock()
	if l.queue != nil {
		l.queue.close()
	}
	return err
}

// Format shows nothing, whatever the verb.
func (l *Log) Format(f fmt.State, _ rune) { io.WriteString(f, "audit.Log") }
