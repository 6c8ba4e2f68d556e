package engine

import (
	"context"
	"time"

	"github.com/cofredb/cofre/keyring/audit"
)

const (
	// DefaultAuditKeepBytes is AuditOptions.KeepBytes unless it is set: a gigabyte, some
	// million and a half records.
	DefaultAuditKeepBytes = 1 << 30

	auditTick = time.Hour // between two looks at how long the log is
)

// PruneAudit removes the oldest files of the audit log: those whose records are all
// older than keepFor, and those that make the log longer than keepBytes; 0 of either is
// no bound. The file that is being written stays. What goes is verified first, and a
// record in the log, with its first key wrapped by the root keys of the store, says where
// it begins from then on: who verifies it later authenticates all that is kept, and
// misses what somebody else has removed. A head from before that is held elsewhere can
// no longer be found; VerifyAudit says so, and reports no fault.
//
// The store does so by itself, as AuditOptions say. It is durable when it returns. If we
// crash before, the log begins where it did, or with files that the next call removes.
//
// Errors: ErrReadOnly, ErrClosed, audit.ErrBroken where what would go does not verify,
// ErrKeyInaccessible where no root key opens or wraps its key, audit.ErrUnwritable, and
// those of a change of the keyring.
func (s *Store) PruneAudit(ctx context.Context, keepFor time.Duration, keepBytes int64) (*audit.PruneReport, error) {
	switch {
	case s.opts.Mode == ReadOnly:
		return nil, ErrReadOnly
	case s.isClosed():
		return nil, ErrClosed
	}
	s.pruning.Lock()
	defer s.pruning.Unlock()
	opts := audit.PruneOptions{MaxBytes: keepBytes, Wrap: s.wrapAuditKey, Unwrap: s.unwrapAuditKey}
	if keepFor > 0 {
		opts.Before = s.opts.now().Add(-keepFor)
	}
	if due, err := s.audit.Prunable(s.auditPlace(), opts); err != nil || !due {
		return &audit.PruneReport{}, err
	}
	// The keyring may have named a record long ago, in a file that is to go.
	if err := s.nameAudit(ctx); err != nil {
		return nil, keyError(err)
	}
	if st := s.ring.Audit(); st != nil {
		st.Key.Wipe()
		opts.Named = st.File
	}
	rep, err := s.audit.Prune(ctx, s.auditPlace(), opts)
	return rep, keyError(err)
}

// nameAudit has the keyring name the newest record of the log.
func (s *Store) nameAudit(ctx context.Context) error {
	if err := s.lockRing(ctx); err != nil {
		return err
	}
	defer s.ringMu.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	return s.ring.Reissue(ctx)
}

// keepAudit prunes the audit log until ctx ends.
func (s *Store) keepAudit(ctx context.Context) {
	for said := ""; ; {
		rep, err := s.PruneAudit(ctx, s.opts.Audit.KeepFor, s.opts.Audit.KeepBytes)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != said:
			said = err.Error()
			s.log.Warn("old files of the audit log could not be removed; it is tried again", "error", err)
		case err == nil && rep.Files > 0:
			s.log.Info("old files of the audit log are removed", "files", rep.Files, "bytes", rep.Bytes, "records before", rep.Records)
		}
		if !wait(ctx, auditTick) {
			return
		}
	}
}
