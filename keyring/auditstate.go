package keyring

import (
	"context"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
)

// AuditMACLen is the length of a record's MAC in the audit log, in bytes.
const AuditMACLen = macLen

// An AuditHead names a record of the store's audit log, and with it all records
// before it (package audit).
type AuditHead struct {
	Chain ID                // of the log; zero: there is no log yet
	Seq   uint64            // of the record
	MAC   [AuditMACLen]byte // of the record
}

// An AuditState is what a generation of the keyring says of the audit log: the
// newest record when it was made, where in which file that ends, and the key
// that authenticates the next. The keys of the records before are nowhere.
type AuditState struct {
	AuditHead
	File uint64  // number of the file that holds the record
	End  int64   // offset behind the record, in that file
	Key  *Secret // of the next record; nil once wiped
}

// auditLen is the length of the state before it is sealed.
const auditLen = 16 + 8 + AuditMACLen + 8 + 8 + secret.Size

// encode gives
//
//	16  id of the chain; all is zeros where there is no log
//	 8  sequence number of the newest record
//	48  MAC of it
//	 8  number of the file that holds it
//	 8  offset behind it in that file
//	32  key of the next record
func (a *AuditState) encode() []byte {
	w := codec.Writer{B: make([]byte, 0, auditLen)}
	if a == nil {
		return w.B[:auditLen]
	}
	w.Raw(a.Chain[:])
	w.U64(a.Seq)
	w.Raw(a.MAC[:])
	w.U64(a.File)
	w.U64(uint64(a.End))
	w.Raw(a.Key.Expose())
	return w.B
}

// parseAudit reads what encode gives; nil where there is no log.
func parseAudit(b []byte) (*AuditState, error) {
	a := &AuditState{}
	r := codec.NewReader(b)
	r.Fill(a.Chain[:])
	a.Seq = r.U64()
	r.Fill(a.MAC[:])
	a.File = r.U64()
	end := r.U64()
	a.End = int64(end)
	key := r.Raw(secret.Size)
	if err := r.Done(); err != nil {
		return nil, corrupt.New(corrupt.ErrFormat, "", -1, "state of the audit log: %v", err)
	}
	if a.Chain.IsZero() {
		for _, x := range b {
			if x != 0 {
				return nil, corrupt.New(corrupt.ErrFormat, "", -1, "state of the audit log: no chain, and not zeros")
			}
		}
		return nil, nil
	}
	if a.Seq == 0 || a.File == 0 || a.File >= 1<<32 || end == 0 || end >= 1<<40 {
		return nil, corrupt.New(corrupt.ErrFormat, "", -1, "state of the audit log: record %d in file %d, ending at %d", a.Seq, a.File, end)
	}
	var err error
	a.Key, err = NewSecret(key)
	return a, err
}

// sealAudit seals the state for a file with the given first bytes.
func sealAudit(suite aead.Suite, storeKey *Secret, a *AuditState, header []byte) ([]byte, error) {
	b := a.encode()
	defer clear(b)
	return sealSalted(suite, storeKey, labelAudit, b, header)
}

// openAudit opens what sealAudit made.
func openAudit(suite aead.Suite, storeKey *Secret, sealed, header []byte) (*AuditState, error) {
	b, err := openSalted(suite, storeKey, labelAudit, sealed, header)
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", -1, "the state of the audit log does not open")
	}
	defer clear(b)
	return parseAudit(b)
}

// audited gives s the newest record of the audit log. Where nobody tells, what the
// generation before says stays. The second result is to be called when s is
// encoded: the key of the next record is in the file then, and need not be in
// memory twice.
func (k *Keyring) audited(ctx context.Context, s *state) (encoded func(), err error) {
	encoded = func() {}
	if k.opts.Audit == nil {
		return encoded, nil
	}
	now, err := k.opts.Audit(ctx)
	if err != nil || now == nil {
		return encoded, err
	}
	before := s.audit
	s.audit = now
	return func() {
		now.Key.Wipe()
		if before != nil {
			before.Key.Wipe()
		}
	}, nil
}

// Audit tells what the keyring says of the audit log; nil if there is none yet.
// The key is there until a generation is made with Options.Audit. The caller
// wipes it.
func (k *Keyring) Audit() *AuditState {
	s := k.cur.Load()
	if s.audit == nil {
		return nil
	}
	a := *s.audit
	a.Key = nil
	if !s.audit.Key.Wiped() {
		a.Key = s.audit.Key.Clone()
	}
	return &a
}
