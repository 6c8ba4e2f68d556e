package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// AuditOptions configure the log of key operations (package audit). It is always
// there: what opens a store can be asked afterwards who has used its keys.
//
// Recorded are each call to a key service, with its context and outcome, and what
// the store does with keys: that it opens, that a table opens, is created, gets
// new keys, is dropped. No read or write of data is.
//
// The record of a call is durable before its result is used. Where the log cannot
// be written nothing that makes or changes a key is done, and opening for writing
// fails; but a table opens, so that a full disk keeps nobody from reading, and its
// records wait in memory: up to 1024 of them, then that fails too. A store opened
// read-only writes no record, but the sink hears of them.
type AuditOptions struct {
	// Actor says on whose behalf this program uses the keys; at most 256 bytes.
	// The process's user, program and id stand in each record besides.
	Actor string
	// Sink hears of each record, in order, from a goroutine of its own, so it may
	// use the store; but it must not close it: Store.Close waits until the sink has
	// heard all. A record may not be durable yet. A sink that is 4096 records
	// behind misses some, as Record.Seq shows.
	Sink func(audit.Record)
	// FileSize is how long a file of the log grows before the next begins, in
	// bytes; 0 is 16 MiB.
	FileSize int64
	// KeepFor is how long records are kept, and KeepBytes how long all files of the log
	// together may be, in bytes: whole files go, the oldest first, when the store opens
	// and each hour, as PruneAudit says. KeepFor 0 is without end. KeepBytes 0 is
	// DefaultAuditKeepBytes, negative is without bound. A table in use makes a record of
	// some 700 bytes each time that its lease is renewed.
	KeepFor   time.Duration
	KeepBytes int64
	// BeginAnew opens a store for writing whose log is not what the keyring says,
	// and begins a new chain of records that names the one that was expected.
	// Without it that is audit.ErrBroken. What there is of the log stays there.
	BeginAnew bool
}

// recordKeys has every call to the key services recorded from now on.
func (s *Store) recordKeys() {
	o := s.opts.Audit
	s.audit = audit.New(audit.Options{Actor: o.Actor, Sink: o.Sink, FileSize: o.FileSize, Logger: s.log, Now: s.opts.now})
	for _, r := range s.opts.roots() {
		if r != nil { // else package keyring says so
			r = audit.Root(r, s.audit)
		}
		s.roots = append(s.roots, r)
	}
}

func (s *Store) auditPlace() audit.Place {
	p := audit.Place{FS: s.fs, Dir: s.path(auditDir)}
	if s.ring != nil {
		p.Store = s.ring.StoreID()
	}
	return p
}

// openAudit goes on with the log where the keyring says that it ends. The next
// generation of the keyring, which starting the journal makes, names the records of
// this opening.
func (s *Store) openAudit(ctx context.Context) error {
	if s.opts.Mode == ReadOnly {
		s.audit.OpenReadOnly(s.ring.StoreID())
		s.note(audit.EventOpenStore, audit.Request{Roots: s.ring.Roots()}, nil)
		return nil
	}
	st := s.ring.Audit()
	if st != nil {
		defer st.Key.Wipe()
	}
	s.audit.Later(audit.EventOpenStore, audit.Request{Roots: s.ring.Roots()}, nil)
	return keyError(s.audit.Open(ctx, s.auditPlace(), audit.OpenOptions{
		State: st, Roots: s.ring.Roots(), Wrap: s.wrapAuditKey, Unwrap: s.unwrapAuditKey, BeginAnew: s.opts.Audit.BeginAnew,
	}))
}

// wrapAuditKey has the root keys of the store wrap the first key of a chain: those
// that unwrap the store key, and no other, can verify it. One of them is enough.
func (s *Store) wrapAuditKey(ctx context.Context, key *keyring.Secret, ec keyring.Context) (ws []audit.Wrap, err error) {
	var errs []error
	for _, uri := range s.ring.Roots() {
		r := s.root(uri)
		if r == nil {
			continue
		}
		blob, err := r.Wrap(ctx, key, ec)
		if err == nil && (len(blob) == 0 || len(blob) > keyring.MaxWrapLen) {
			err = &keyring.LimitError{What: "wrapped key", Len: len(blob), Max: keyring.MaxWrapLen}
		}
		if err != nil {
			errs = append(errs, &keyring.KeyError{Op: "wrap the first key of the audit log", URI: uri, Err: err})
			continue
		}
		ws = append(ws, audit.Wrap{Key: uri, Blob: blob})
	}
	if len(ws) == 0 {
		return nil, errors.Join(errs...)
	}
	return ws, nil
}

// unwrapAuditKey has a root key unwrap the first key of a chain.
func (s *Store) unwrapAuditKey(ctx context.Context, w audit.Wrap, ec keyring.Context) (*keyring.Secret, error) {
	r := s.root(w.Key)
	if r == nil {
		return nil, fmt.Errorf("%w: %q", keyring.ErrRootNotPinned, clip(w.Key))
	}
	key, err := r.Unwrap(ctx, w.Blob, ec)
	if err != nil {
		return nil, &keyring.KeyError{Op: "unwrap the first key of the audit log", URI: w.Key, Err: err}
	}
	return key, nil
}

// refused keeps the records of an opening that has failed, for the next one that
// does not.
func (s *Store) refused(exists bool, err error) {
	s.audit.Later(audit.EventOpenStore, audit.Request{}, err)
	if !exists || s.opts.Mode == ReadOnly {
		return // the sink hears of them when the log closes
	}
	if err := s.audit.KeepProvisional(s.auditPlace()); err != nil {
		s.log.Warn("the refusal to open is not recorded", "error", err)
	}
}

// note records what the store has done with keys, with the error that it ended in.
// A change of the keyring was made after all records before it were durable; so
// where the log cannot be written, there is no change to record.
func (s *Store) note(event string, req audit.Request, err error) {
	if err := s.audit.Note(event, req, err); err != nil {
		s.log.Error("an event is not in the audit log", "event", event, "error", err)
	}
}

// openKeys unwraps a table's keys, and records that.
func (s *Store) openKeys(ctx context.Context, id keyring.ID) (*keyring.TableKeys, error) {
	keys, err := s.ring.OpenTable(ctx, id)
	req := audit.Request{Table: id}
	if err != nil {
		s.note(audit.EventOpenTable, req, err)
		return nil, err
	}
	req.Version, req.Roots = keys.Version(), keys.RootURIs()
	s.audit.Later(audit.EventOpenTable, req, nil)
	if t, err := s.Table(keys.Name()); err == nil && t.id == id {
		s.keyIsBack(ctx, t)
	}
	return keys, nil
}

// recorded records what came of a change of the table's key, and returns it.
func (t *Table) recorded(event string, err error) error {
	req := audit.Request{Table: t.id}
	for _, r := range t.store.ring.Tables() {
		if r.ID == t.id {
			req.Version, req.Roots = r.Version, r.Roots
		}
	}
	return t.store.recordedAs(event, req, err)
}

// recorded records what came of a change of the store key, and returns it.
func (s *Store) recorded(event string, err error) error {
	return s.recordedAs(event, audit.Request{Roots: s.ring.Roots()}, err)
}

// recordedAs records what came of a change, and returns it. What was refused before
// a key was looked at is no key operation.
func (s *Store) recordedAs(event string, req audit.Request, err error) error {
	if !errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrClosed) {
		s.note(event, req, err)
	}
	return err
}

// Dropped lists what is left of dropped tables: their names, ids and the times, in
// the order of dropping, of the last 16384 of them. Records of the log have ids.
func (s *Store) Dropped() []keyring.Tombstone { return s.ring.Tombstones() }

// AuditHead is the newest record of the log. All records before it are durable.
// Kept where those cannot write who might change the log, it shows later whether
// they have (VerifyAudit). Where the store is read-only it is the record that the
// keyring names; ok is false where there is none.
//
// Errors: audit.ErrUnwritable.
func (s *Store) AuditHead(ctx context.Context) (h audit.Head, ok bool, err error) {
	st, err := s.audit.State(ctx)
	if err != nil {
		return h, false, err
	}
	if st == nil {
		if st = s.ring.Audit(); st == nil {
			return h, false, nil
		}
	}
	st.Key.Wipe()
	return audit.Head{Seq: st.Seq, MAC: st.MAC}, true, nil
}

// VerifyAudit reads the whole log, authenticates each record, and compares it with
// the head that the keyring names and those held elsewhere. It asks a root key of
// the store for each chain of records. report may be nil. The error is ctx's, or
// that of the disk; faults are in the report.
func (s *Store) VerifyAudit(ctx context.Context, heads []audit.Head, report func(audit.Finding)) (*audit.Report, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	s.pruning.RLock()
	defer s.pruning.RUnlock()
	st, err := s.audit.State(ctx)
	if err != nil {
		s.log.Warn("records wait in memory: what is on the disk is verified", "error", err)
	}
	if st == nil {
		st = s.ring.Audit()
	}
	if st != nil {
		defer st.Key.Wipe()
	}
	return audit.Verify(ctx, s.auditPlace(), audit.VerifyOptions{
		State: st, Heads: heads, End: s.audit.End(), Report: report,
		Unwrap: s.unwrapAuditKey,
	})
}

// audit verifies the audit log. What was recorded since the verification began is
// not read.
func (v *verifier) audit(ctx context.Context) {
	rep, err := v.s.VerifyAudit(ctx, nil, func(f audit.Finding) {
		if f.Warning {
			v.rep.Warnings++
			v.found = append(v.found, Finding{Path: f.Path, Offset: f.Offset, Class: "leftover", Detail: f.Detail, Warning: true})
			return
		}
		v.rep.Faults++
		v.found = append(v.found, Finding{Path: f.Path, Offset: f.Offset, Class: f.Class.Error(), Detail: f.Detail,
			Err: &CorruptionError{Path: f.Path, Offset: f.Offset, Class: f.Class, Detail: f.Detail}})
	})
	if err != nil && ctx.Err() == nil {
		v.fault(v.s.path(auditDir), err)
	}
	if rep != nil {
		v.rep.Files += rep.Files
		v.rep.Bytes += rep.Bytes
	}
}
