package engine

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofredb/cofre/keyring"
)

// Stats describe a store and its files.
type Stats struct {
	StoreID           keyring.ID   `json:"store_id"`
	Dir               string       `json:"dir"`
	KeyringGeneration uint64       `json:"keyring_generation"`
	Tables            []TableStats `json:"tables"`
	Files             []FileClass  `json:"files"` // of the whole store, by kind
	DataKeys          int          `json:"data_keys"`
	MemoryBudget      int64        `json:"memory_budget"`
}

// TableStats describe a table and its files, snapshots and log segments that wait
// for the archive included. A file that
// several directories link counts once.
type TableStats struct {
	TableInfo
	Entries   uint64         `json:"entries"` // in sorted files; approximate where keys were overwritten or removed
	DiskBytes int64          `json:"disk_bytes"`
	Files     []FileClass    `json:"files"`
	DataKeys  int            `json:"data_keys"` // distinct file ids, one a data key
	Oldest    time.Time      `json:"oldest_file"`
	Snapshots []SnapshotInfo `json:"snapshots"`
	Err       string         `json:"error,omitempty"` // why entries and snapshots are missing
}

// A FileClass counts the files of a kind.
type FileClass struct {
	Kind  string `json:"kind"` // of keyring.FileKind, or "keyring", "audit", "marker", "other"
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// Stats walks the store's files and reads their headers. It opens each table,
// for its count of entries; a table that does not open is listed with the
// reason.
func (s *Store) Stats(ctx context.Context) (*Stats, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	st := &Stats{StoreID: s.ID(), Dir: s.dir, KeyringGeneration: s.ring.Generation(), MemoryBudget: s.opts.MemoryBudget}
	all := newCensus()
	walk(s.fs, s.path(keyringDir), func(path string, size int64) { all.add(s.headerOf(path), "keyring", size) })
	walk(s.fs, s.path(auditDir), func(_ string, size int64) { all.add(nil, "audit", size) })
	for _, info := range s.Tables() {
		t, err := s.Table(info.Name)
		if err != nil {
			continue // dropped meanwhile
		}
		ts := TableStats{TableInfo: info}
		if err := t.count(ctx, &ts); err != nil {
			ts.Err = err.Error()
		}
		own := newCensus()
		for _, dir := range []string{t.dir, t.archiveDir()} {
			walk(s.fs, dir, func(path string, size int64) {
				h := s.headerOf(path)
				own.add(h, "marker", size)
				all.add(h, "marker", size)
			})
		}
		ts.Files, ts.DataKeys, ts.Oldest, ts.DiskBytes = own.classes(), len(own.seen), own.oldest, own.bytes
		st.Tables = append(st.Tables, ts)
	}
	st.Files, st.DataKeys = all.classes(), len(all.seen)
	return st, nil
}

func (t *Table) count(ctx context.Context, ts *TableStats) (err error) {
	if ts.Snapshots, err = t.Snapshots(ctx); err != nil {
		return err
	}
	i, err := t.use()
	if err != nil {
		return err
	}
	defer i.leave()
	levels, err := i.db.SSTables(pebble.WithProperties())
	if err = i.result(err); err != nil {
		return err
	}
	for _, level := range levels {
		for _, f := range level {
			if f.Properties != nil && f.Properties.NumEntries >= f.Properties.NumDeletions {
				ts.Entries += f.Properties.NumEntries - f.Properties.NumDeletions
			}
		}
	}
	return nil
}

// headerOf reads a file's header; nil if it has none that parses.
func (s *Store) headerOf(path string) *keyring.Header {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var buf [keyring.HeaderLen]byte
	if n, _ := io.ReadFull(io.NewSectionReader(f, 0, keyring.HeaderLen), buf[:]); n < len(buf) {
		return nil
	}
	h, err := keyring.ParseHeader(buf[:])
	if err != nil {
		return nil
	}
	return h
}

// A census counts files by kind and data keys by file id.
type census struct {
	kinds  map[string]*FileClass
	seen   map[keyring.ID]bool
	oldest time.Time
	bytes  int64
}

func newCensus() *census {
	return &census{kinds: make(map[string]*FileClass), seen: make(map[keyring.ID]bool)}
}

// add counts a file; without a header it is of the kind given.
func (c *census) add(h *keyring.Header, kind string, size int64) {
	if h != nil {
		if c.seen[h.Identity.FileID] {
			return // another link to it
		}
		c.seen[h.Identity.FileID] = true
		kind = h.Identity.Kind.String()
		if at := h.Identity.CreatedAt; c.oldest.IsZero() || at.Before(c.oldest) {
			c.oldest = at
		}
	} else if kind == "marker" && size > 0 {
		kind = "other"
	}
	k := c.kinds[kind]
	if k == nil {
		k = &FileClass{Kind: kind}
		c.kinds[kind] = k
	}
	k.Files++
	k.Bytes += size
	c.bytes += size
}

func (c *census) classes() []FileClass {
	list := make([]FileClass, 0, len(c.kinds))
	for _, k := range c.kinds {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b FileClass) int { return cmp.Compare(a.Kind, b.Kind) })
	return list
}
