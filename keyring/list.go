package keyring

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	// MaxNameLen bounds a table's name, in bytes.
	MaxNameLen = 255
	// MaxStateLen bounds a table's clean-close record, in bytes.
	MaxStateLen = 1 << 20
	// MaxTombstones is how many tombstones are kept; the oldest go first.
	MaxTombstones = 1 << 14
)

// A TableState says how far a table's creation has come. States are wire
// constants.
type TableState uint8

const (
	// TableCreating: the table's keys exist; its directory may not.
	TableCreating TableState = 1
	// TableLive: the table's directory is complete.
	TableLive TableState = 2
)

func (s TableState) String() string {
	switch s {
	case TableCreating:
		return "creating"
	case TableLive:
		return "live"
	}
	return "unknown"
}

// A TableRecord is what the keyring tells of a table without a call to a key
// service.
type TableRecord struct {
	Name        string
	ID          ID
	State       TableState
	CreatedAt   time.Time
	Incarnation ID       // the life of the table, bound into its files
	Roots       []string // URIs of the root keys that wrap the newest table key
	Version     uint32   // the newest version of the table key
	Versions    []uint32 // all versions, ascending
}

// A Tombstone is what is left of a dropped table.
type Tombstone struct {
	ID        ID
	Name      string
	DroppedAt time.Time
	Versions  []uint32 // of the table key, ascending
	Roots     []string // URIs of the root keys that wrapped it when it was dropped
}

// A tableRow is one table in memory: its line of the list and its entry.
type tableRow struct {
	id          ID
	name        string
	state       TableState
	createdAt   time.Time
	incarnation ID
	closed      []byte // the engine's clean-close record
	entry       *keyEntry
	offset      int64 // of the entry in the file that holds it
}

func (t *tableRow) record() TableRecord {
	return TableRecord{
		Name: t.name, ID: t.id, State: t.state, CreatedAt: t.createdAt, Incarnation: t.incarnation,
		Roots: t.entry.roots(), Version: t.entry.newest().number, Versions: t.entry.numbers(),
	}
}

// The sealed list, once opened:
//
//	16         id of the journal that supersedes the clean-close records; or 0
//	 4         count of tables, ascending by id, one for each entry of the file
//	   16      table id
//	    4+n    name
//	    1      state: 1 creating, 2 live
//	    8      created at, nanoseconds since 1970
//	   16      incarnation
//	    4+n    clean-close record, the engine's business
//	 4         count of tombstones, in the order of dropping
//	   16      table id
//	    4+n    name
//	    8      dropped at, nanoseconds since 1970
//	    4      count of key versions;  4 each
//	    4      count of root keys;     4+n each: the URI
func (s *state) encodeList() []byte {
	n := 16 + 4 + 4
	for i := range s.tables {
		n += 16 + 4 + len(s.tables[i].name) + 1 + 8 + 16 + 4 + len(s.tables[i].closed)
	}
	w := codec.Writer{B: make([]byte, 0, n)} // and what tombstones add
	w.Raw(s.journal[:])
	w.U32(uint32(len(s.tables)))
	for i := range s.tables {
		t := &s.tables[i]
		w.Raw(t.id[:])
		w.Str(t.name)
		w.U8(uint8(t.state))
		w.U64(uint64(t.createdAt.UnixNano()))
		w.Raw(t.incarnation[:])
		w.Bytes(t.closed)
	}
	w.U32(uint32(len(s.tombstones)))
	for i := range s.tombstones {
		t := &s.tombstones[i]
		w.Raw(t.ID[:])
		w.Str(t.Name)
		w.U64(uint64(t.DroppedAt.UnixNano()))
		w.U32(uint32(len(t.Versions)))
		for _, v := range t.Versions {
			w.U32(v)
		}
		w.U32(uint32(len(t.Roots)))
		for _, u := range t.Roots {
			w.Str(u)
		}
	}
	return w.B
}

// parseList reads a list into s, whose journal, tables (without entries) and
// tombstones it sets.
func (s *state) parseList(b []byte) error {
	bad := func(format string, args ...any) error {
		return corrupt.New(corrupt.ErrFormat, "", -1, "list of tables: "+format, args...)
	}
	r := codec.NewReader(b)
	r.Fill(s.journal[:])
	s.tables = make([]tableRow, r.Count(MaxTables, 16+4+1+8+16+4))
	names := make(map[string]bool, len(s.tables))
	for i := range s.tables {
		t := &s.tables[i]
		r.Fill(t.id[:])
		t.name = r.Str(MaxNameLen)
		t.state = TableState(r.U8())
		t.createdAt = unixNano(r.U64())
		r.Fill(t.incarnation[:])
		t.closed = bytes.Clone(r.Bytes(MaxStateLen))
		if r.Err() != nil {
			break
		}
		if t.id.IsZero() || i > 0 && compareIDs(s.tables[i-1].id, t.id) >= 0 {
			return bad("table %s out of order", t.id)
		}
		if t.name == "" || names[t.name] {
			return bad("table %s has no name, or another's", t.id)
		}
		names[t.name] = true
		if t.state != TableCreating && t.state != TableLive {
			return bad("table %s has unknown state %d", t.id, uint8(t.state))
		}
	}
	s.tombstones = make([]Tombstone, r.Count(MaxTombstones, 16+4+8+4+4))
	for i := range s.tombstones {
		t := &s.tombstones[i]
		r.Fill(t.ID[:])
		t.Name = r.Str(MaxNameLen)
		t.DroppedAt = unixNano(r.U64())
		t.Versions = make([]uint32, r.Count(MaxVersions, 4))
		for j := range t.Versions {
			t.Versions[j] = r.U32()
		}
		t.Roots = make([]string, r.Count(MaxWraps, 4))
		for j := range t.Roots {
			t.Roots[j] = strings.Clone(r.Str(MaxURILen))
		}
	}
	if err := r.Done(); err != nil {
		return bad("%v", err)
	}
	return nil
}

func compareIDs(a, b ID) int { return bytes.Compare(a[:], b[:]) }

// find returns the index of a table, or where it belongs.
func (s *state) find(id ID) (int, bool) {
	return slices.BinarySearchFunc(s.tables, id, func(t tableRow, id ID) int { return compareIDs(t.id, id) })
}

func (s *state) named(name string) bool {
	return slices.ContainsFunc(s.tables, func(t tableRow) bool { return t.name == name })
}

// sortedByName is for callers that list tables to people.
func sortedByName(rs []TableRecord) []TableRecord {
	slices.SortFunc(rs, func(a, b TableRecord) int { return cmp.Compare(a.Name, b.Name) })
	return rs
}

func unixNano(n uint64) time.Time { return time.Unix(0, int64(n)).UTC() }
