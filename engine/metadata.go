package engine

import (
	"context"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

// metadata is what a table keeps about itself, sealed under its own key in its
// keyring entry:
//
//	version (1) created (8) separate values from (8) flags (1)
//	snapshots: count (4) × { id (16) name created (8) files (8) bytes (8) seal }
type metadata struct {
	createdAt     time.Time
	separateFrom  int
	noCompression bool
	snapshots     []snapshot
}

// A snapshot is a directory of links whose name is recorded here, which is
// what makes it exist.
type snapshot struct {
	SnapshotInfo
	seal []byte // of sealfs
}

const (
	metadataVersion    = 1
	flagNoCompression  = 1
	maxSnapshots       = 1024 // with their seals, half of what an entry may hold
	minSnapshotEncoded = 16 + 4 + 8 + 8 + 8 + 4
)

func (m *metadata) encode() []byte {
	var w codec.Writer
	w.U8(metadataVersion)
	w.U64(uint64(m.createdAt.UnixNano()))
	w.U64(uint64(m.separateFrom))
	var flags uint8
	if m.noCompression {
		flags |= flagNoCompression
	}
	w.U8(flags)
	w.U32(uint32(len(m.snapshots)))
	for _, s := range m.snapshots {
		w.Raw(s.ID[:])
		w.Str(s.Name)
		w.U64(uint64(s.CreatedAt.UnixNano()))
		w.U64(uint64(s.Files))
		w.U64(uint64(s.Bytes))
		w.Bytes(s.seal)
	}
	return w.B
}

func decodeMetadata(b []byte) (*metadata, error) {
	r := codec.NewReader(b)
	bad := func(what string) error {
		return corrupt.New(corrupt.ErrFormat, keyringDir, -1, "table metadata: %s", what)
	}
	if v := r.U8(); v != metadataVersion {
		return nil, corrupt.New(corrupt.ErrVersion, keyringDir, -1, "table metadata version %d", v)
	}
	m := &metadata{createdAt: time.Unix(0, int64(r.U64())).UTC(), separateFrom: int(r.U64())}
	flags := r.U8()
	m.noCompression = flags&flagNoCompression != 0
	for range r.Count(maxSnapshots, minSnapshotEncoded) {
		var s snapshot
		r.Fill(s.ID[:])
		s.Name = r.Str(MaxNameLen)
		s.CreatedAt = time.Unix(0, int64(r.U64())).UTC()
		s.Files = int(r.U64())
		s.Bytes = int64(r.U64())
		s.seal = slices.Clone(r.Bytes(1 << 20))
		m.snapshots = append(m.snapshots, s)
	}
	if err := r.Done(); err != nil {
		return nil, bad(err.Error())
	}
	if flags&^flagNoCompression != 0 || m.separateFrom < 0 {
		return nil, bad("unknown flags")
	}
	return m, nil
}

// Options returns what the table was made with; RootKey is nil, TableInfo tells
// the root keys. It asks the key service for the table's key.
func (t *Table) Options(ctx context.Context) (TableOptions, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return TableOptions{}, err
	}
	return TableOptions{SeparateValuesFrom: m.separateFrom, NoCompression: m.noCompression}, nil
}

// find returns the snapshot of a name.
func (m *metadata) find(name string) (*snapshot, bool) {
	for i := range m.snapshots {
		if m.snapshots[i].Name == name {
			return &m.snapshots[i], true
		}
	}
	return nil, false
}

// has tells whether a snapshot has the id.
func (m *metadata) has(id string) bool {
	return slices.ContainsFunc(m.snapshots, func(s snapshot) bool { return s.ID.String() == id })
}
