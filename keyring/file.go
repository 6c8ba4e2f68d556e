package keyring

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	fileMagic     = "\x93COFRK\r\n" // K: keyring
	fileHeaderLen = 36

	// FileVersion is the version of the keyring file.
	//
	//	1  the first
	//	2  the state of the audit log
	FileVersion = 2

	// MaxFileLen bounds the keyring file, in bytes.
	MaxFileLen = 256 << 20
)

// A state is one generation of the keyring in memory. It is immutable once it
// is published: a change works on a copy, and a change that fails leaves
// nothing behind.
type state struct {
	generation uint64
	digest     [sha256.Size]byte // of the file
	store      *keyEntry         // the store key's
	tables     []tableRow        // ascending by id
	tombstones []Tombstone
	journal    ID
	audit      *AuditState // nil: there is no audit log

	// storeKey is the newest version of the store key where a change brings one
	// that the Keyring does not hold yet; nil in a state that is published.
	storeKey *Secret
}

func (s *state) clone() *state {
	c := *s
	c.tables = append(make([]tableRow, 0, len(s.tables)+1), s.tables...)
	c.tombstones = append(make([]Tombstone, 0, len(s.tombstones)+1), s.tombstones...)
	return &c
}

func fileHeader(store ID, generation uint64) []byte {
	var w codec.Writer
	w.Raw([]byte(fileMagic))
	w.U16(FileVersion)
	w.U8(SuiteAES256GCM)
	w.U8(0)
	w.Raw(store[:])
	w.U64(generation)
	return w.B
}

// encode makes the file of s, and sets its digest and the offsets of its
// entries:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 4b 0d 0a
//	  8    2  format version
//	 10    1  suite
//	 11    1  zero
//	 12   16  store id
//	 28    8  generation
//	 36  4+n  entry of the store key
//	     4+n  list of tables, sealed under the store key; bytes 0 to 35 are
//	          its additional data
//	     4+n  state of the audit log, sealed in the same way; not in version 1
//	       4  count of tables
//	     4+n  entry of each table key, ascending by table id
//	      48  HMAC-SHA-384 over all before it, under a key derived from the
//	          store key
func (s *state) encode(suite aead.Suite, store ID, storeKey *Secret) ([]byte, error) {
	list := s.encodeList()
	n := fileHeaderLen + 4 + len(s.store.raw) + 4 + len(list) + sealOverhead + 4 + auditLen + sealOverhead + 4 + macLen
	for i := range s.tables {
		n += 4 + len(s.tables[i].entry.raw)
	}
	w := codec.Writer{B: make([]byte, 0, n)}
	w.Raw(fileHeader(store, s.generation))
	w.Bytes(s.store.raw)
	sealed, err := sealSalted(suite, storeKey, labelList, list, w.B[:fileHeaderLen])
	if err != nil {
		return nil, err
	}
	w.Bytes(sealed)
	if sealed, err = sealAudit(suite, storeKey, s.audit, w.B[:fileHeaderLen]); err != nil {
		return nil, err
	}
	w.Bytes(sealed)
	w.U32(uint32(len(s.tables)))
	for i := range s.tables {
		s.tables[i].offset = int64(len(w.B)) + 4
		w.Bytes(s.tables[i].entry.raw)
	}
	sum, err := mac(storeKey, labelKeyringMAC, w.B)
	if err != nil {
		return nil, err
	}
	w.Raw(sum)
	if len(w.B) > MaxFileLen {
		return nil, &LimitError{What: "keyring file", Len: len(w.B), Max: MaxFileLen}
	}
	s.digest = sha256.Sum256(w.B)
	return w.B, nil
}

// A parsedFile is a keyring file that parses. Nothing in it is authentic.
type parsedFile struct {
	raw        []byte
	version    uint16
	storeID    ID
	generation uint64
	store      *keyEntry
	list       []byte // sealed
	listOffset int64
	audit      []byte // sealed; nil in version 1
	entries    []*keyEntry
	offsets    []int64
}

// parseFile reads a keyring file, strictly. Errors are *corrupt.Error of
// class ErrFormat or ErrVersion.
func parseFile(b []byte) (*parsedFile, error) {
	bad := func(off int64, format string, args ...any) error {
		return corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if err := checkFileHeader(b); err != nil {
		return nil, err
	}
	r := codec.NewReader(b)
	off := func() int64 { return int64(len(b) - r.Len()) }
	f := &parsedFile{raw: b}
	r.Raw(len(fileMagic))
	f.version = r.U16()
	r.Raw(2)
	r.Fill(f.storeID[:])
	f.generation = r.U64()
	at := off() + 4
	raw := r.Bytes(MaxFileLen)
	if r.Err() != nil {
		return nil, bad(at-4, "entry of the store key: %v", r.Err())
	}
	var err error
	if f.store, err = parseEntry(raw, at); err != nil {
		return nil, err
	}
	if !f.store.id.IsZero() || len(f.store.metadata) > 0 {
		return nil, bad(at, "the first entry is not the store key's")
	}
	f.listOffset = off() + 4
	f.list = r.Bytes(MaxFileLen)
	if f.version >= 2 && r.Err() == nil {
		at = off()
		if f.audit = r.Bytes(auditLen + sealOverhead); r.Err() != nil {
			return nil, bad(at, "state of the audit log: %v", r.Err())
		}
	}
	n := r.Count(MaxTables, 4+16+4+minVersionLen+4+macLen)
	if r.Err() != nil {
		return nil, bad(f.listOffset-4, "list of tables: %v", r.Err())
	}
	f.entries = make([]*keyEntry, n)
	f.offsets = make([]int64, n)
	for i := range f.entries {
		f.offsets[i] = off() + 4
		raw := r.Bytes(MaxFileLen)
		if r.Err() != nil {
			return nil, bad(f.offsets[i]-4, "entry %d of %d: %v", i+1, n, r.Err())
		}
		e, err := parseEntry(raw, f.offsets[i])
		if err != nil {
			return nil, err
		}
		if e.id.IsZero() || i > 0 && compareIDs(f.entries[i-1].id, e.id) >= 0 {
			return nil, bad(f.offsets[i], "entry of table %s out of order", e.id)
		}
		f.entries[i] = e
	}
	at = off()
	r.Raw(macLen)
	if err := r.Done(); err != nil {
		return nil, bad(at, "%v", err)
	}
	return f, nil
}

// checkFileHeader judges the first bytes, before the rest is read.
func checkFileHeader(b []byte) error {
	if len(b) < fileHeaderLen {
		return corrupt.New(corrupt.ErrFormat, "", 0, "%d bytes are too short for a keyring", len(b))
	}
	r := codec.NewReader(b)
	if string(r.Raw(len(fileMagic))) != fileMagic {
		return corrupt.New(corrupt.ErrFormat, "", 0, "not a keyring: wrong magic")
	}
	if v := r.U16(); v == 0 || v > FileVersion {
		return corrupt.New(corrupt.ErrVersion, "", 8, "keyring format version %d, this build knows 1 to %d", v, FileVersion)
	}
	if s := r.U8(); s != SuiteAES256GCM {
		return corrupt.New(corrupt.ErrVersion, "", 10, "cipher suite %d, this build knows %d", s, SuiteAES256GCM)
	}
	if z := r.U8(); z != 0 {
		return corrupt.New(corrupt.ErrFormat, "", 11, "reserved byte is %d", z)
	}
	return nil
}

// authenticate checks the file under the store key, and makes its state.
// Errors are *corrupt.Error.
func (f *parsedFile) authenticate(suite aead.Suite, storeKey *Secret) (*state, error) {
	at := len(f.raw) - macLen
	sum, err := mac(storeKey, labelKeyringMAC, f.raw[:at])
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(sum, f.raw[at:]) {
		return nil, corrupt.New(corrupt.ErrAuth, "", int64(at), "the keyring's MAC does not match")
	}
	list, err := openSalted(suite, storeKey, labelList, f.list, f.raw[:fileHeaderLen])
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", f.listOffset, "the list of tables does not open")
	}
	s := &state{generation: f.generation, digest: sha256.Sum256(f.raw), store: f.store}
	if err := s.parseList(list); err != nil {
		return nil, err
	}
	if f.version >= 2 {
		if s.audit, err = openAudit(suite, storeKey, f.audit, f.raw[:fileHeaderLen]); err != nil {
			return nil, err
		}
	}
	if len(s.tables) != len(f.entries) {
		return nil, corrupt.New(corrupt.ErrFormat, "", f.listOffset, "%d tables listed, %d entries", len(s.tables), len(f.entries))
	}
	for i := range s.tables {
		if s.tables[i].id != f.entries[i].id {
			return nil, corrupt.New(corrupt.ErrForeign, "", f.offsets[i], "entry of table %s where the list has %s", f.entries[i].id, s.tables[i].id)
		}
		s.tables[i].entry, s.tables[i].offset = f.entries[i], f.offsets[i]
	}
	return s, nil
}
