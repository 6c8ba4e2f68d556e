package engine

import (
	"context"
	"slices"
	"time"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// metadata is what a table keeps about itself, sealed under its own key in its
// keyring entry:
//
//	version (1) created (8) separate values from (8) flags (1)
//	snapshots: count (4) × { id (16) name created (8) files (8) bytes (8) seal }
//	from version 2 on:
//	overlay: id (16), zeros if there is none; SHA-256 of its file (32)
//	re-encryption that is under way: begun at (8), zero if none is
//	schedule: maximum age of the table key (8), of data (8); zero if none
//	from version 3 on, beside a flag of archiving:
//	name of the table
//	origins: count (4) × { store id (16) table id (16) }
//	repositories: count (4) × { id (16) location noted (8) versions: count (4) × (4) }
type metadata struct {
	createdAt     time.Time
	separateFrom  int
	noCompression bool
	locked        bool // by Table.Lock
	archiving     bool // by Table.SetArchiving
	snapshots     []snapshot
	overlay       overlayRef
	reencrypting  time.Time // zero unless a job is under way
	schedule      Schedule
	name          string // of the table; empty in metadata of before version 3
	// origins are the tables that files of this one may come from, since it was
	// restored from their backups.
	origins      []sealfs.Origin
	repositories []BackupNote // that have backups of the table
}

// An overlayRef names the overlay of a table's data keys.
type overlayRef struct {
	id     keyring.ID
	digest [32]byte
}

// A snapshot is a directory of links whose name is recorded here, which is
// what makes it exist.
type snapshot struct {
	SnapshotInfo
	seal []byte // of sealfs
	// unsealed: it was made without the table's key, and is recorded in the table's
	// state, not here.
	unsealed bool
}

const (
	metadataVersion    = 3
	maxOrigins         = 256
	maxRepositories    = 64
	flagNoCompression  = 1
	flagLocked         = 2
	flagArchiving      = 4
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
	if m.locked {
		flags |= flagLocked
	}
	if m.archiving {
		flags |= flagArchiving
	}
	w.U8(flags)
	putSnapshots(&w, slices.DeleteFunc(slices.Clone(m.snapshots), func(s snapshot) bool { return s.unsealed }))
	w.Raw(m.overlay.id[:])
	w.Raw(m.overlay.digest[:])
	var begun int64
	if !m.reencrypting.IsZero() {
		begun = m.reencrypting.UnixNano()
	}
	w.U64(uint64(begun))
	w.U64(uint64(m.schedule.KeyAge))
	w.U64(uint64(m.schedule.DataAge))
	w.Str(m.name)
	w.U32(uint32(len(m.origins)))
	for _, o := range m.origins {
		w.Raw(o.Store[:])
		w.Raw(o.Table[:])
	}
	putRepositories(&w, m.repositories)
	return w.B
}

func decodeMetadata(b []byte) (*metadata, error) {
	r := codec.NewReader(b)
	bad := func(what string) error {
		return corrupt.New(corrupt.ErrFormat, keyringDir, -1, "table metadata: %s", what)
	}
	version := r.U8()
	if version < 1 || version > metadataVersion {
		return nil, corrupt.New(corrupt.ErrVersion, keyringDir, -1, "table metadata version %d, this build knows %d", version, metadataVersion)
	}
	m := &metadata{createdAt: time.Unix(0, int64(r.U64())).UTC(), separateFrom: int(r.U64())}
	flags := r.U8()
	m.noCompression, m.locked, m.archiving = flags&flagNoCompression != 0, flags&flagLocked != 0, flags&flagArchiving != 0
	m.snapshots = readSnapshots(r, maxSnapshots)
	if version >= 2 {
		r.Fill(m.overlay.id[:])
		r.Fill(m.overlay.digest[:])
		if at := r.U64(); at != 0 {
			m.reencrypting = time.Unix(0, int64(at)).UTC()
		}
		m.schedule.KeyAge, m.schedule.DataAge = time.Duration(r.U64()), time.Duration(r.U64())
	}
	if version >= 3 {
		m.name = r.Str(MaxNameLen)
		for range r.Count(maxOrigins, 32) {
			var o sealfs.Origin
			r.Fill(o.Store[:])
			r.Fill(o.Table[:])
			m.origins = append(m.origins, o)
		}
		m.repositories = readRepositories(r)
	}
	if err := r.Done(); err != nil {
		return nil, bad(err.Error())
	}
	if flags&^(flagNoCompression|flagLocked|flagArchiving) != 0 || m.archiving && version < 3 || m.separateFrom < 0 {
		return nil, bad("unknown flags")
	}
	if !m.reencrypting.IsZero() && m.reencrypting.Before(m.createdAt) {
		return nil, bad("a re-encryption begun before the table was made")
	}
	if m.schedule.check() != nil {
		return nil, bad("a schedule that no table can have")
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
