package engine

import (
	"context"
	"slices"
	"time"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/keyring"
)

// KeyStatus says of every key of a store what it protects and what needs it. It
// holds no secret.
type KeyStatus struct {
	StoreID    keyring.ID       `json:"store_id"`
	Generation uint64           `json:"keyring_generation"`
	Roots      []RootStatus     `json:"root_keys"` // that wrap the store key, which opens the list of tables
	Tables     []TableKeyStatus `json:"tables"`
}

// A RootStatus is a root key that wraps a key of the store, as its service
// describes it.
type RootStatus struct {
	URI      string `json:"uri"`
	State    string `json:"state"` // of keyring.State; "unknown" where Err is set
	Sealed   bool   `json:"sealed"`
	Location string `json:"location,omitempty"`
	Note     string `json:"note,omitempty"`
	Err      string `json:"error,omitempty"` // why its service does not describe it
	Versions int    `json:"versions"`        // of its material
	// Grants are those for the table that its service has: two, or fewer where some
	// were revoked. nil where the service has none to give, does not tell, or for the
	// store key.
	Grants *int `json:"grants,omitempty"`
}

// TableKeyStatus is the state of one table's keys.
type TableKeyStatus struct {
	Name  string       `json:"name"`
	ID    keyring.ID   `json:"id"`
	Roots []RootStatus `json:"root_keys"` // that wrap the newest version
	// Weakest is the root key to worry about first: each opens the table, so the
	// table is as safe as this one. "" where none is worse than the others.
	Weakest  string             `json:"weakest,omitempty"`
	Versions []KeyVersionStatus `json:"versions"` // ascending
	DataKeys int                `json:"data_keys"`
	// Overlay is the number of data keys that the newest version wraps besides
	// their files' own headers.
	Overlay      int        `json:"overlay"`
	Open         bool       `json:"open"` // its keys are in memory
	LeaseEnds    *time.Time `json:"lease_ends,omitempty"`
	Locked       string     `json:"locked,omitempty"` // why
	Reencrypting *time.Time `json:"reencrypting,omitempty"`
	Schedule     Schedule   `json:"schedule"`
	Overdue      string     `json:"overdue,omitempty"` // why what the schedule asks for was not done
	Loss         *KeyLoss   `json:"key_loss,omitempty"`
	Err          string     `json:"error,omitempty"` // why files are told by their headers alone
}

// A KeyVersionStatus is the state of one version of a table's key.
type KeyVersionStatus struct {
	Number    uint32    `json:"number"`
	State     string    `json:"state"` // "current", "older" or "retired"
	CreatedAt time.Time `json:"created_at"`
	// Files and Bytes are live files that were sealed under it: who has had this
	// version, and the data keys that it wrapped, reads them until they are
	// re-encrypted. Share is their part of the table's bytes, 0 to 1.
	Files  int        `json:"files"`
	Bytes  int64      `json:"bytes"`
	Share  float64    `json:"share"`
	Oldest *time.Time `json:"oldest,omitempty"` // of these
	// Snapshots have files that were sealed under it.
	Snapshots []string `json:"snapshots,omitempty"`
	// NeededBy lists what cannot be opened without it, of an older version: nothing,
	// once the newest wraps all data keys and no repository has backups that need it.
	NeededBy []string `json:"needed_by,omitempty"`
}

// KeyStatus describes the keys of the store. It opens each table, for what its
// files need; a table that does not open is described by the headers of its files.
// Each root key is described by its service, once.
func (s *Store) KeyStatus(ctx context.Context) (*KeyStatus, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	known := make(map[string]RootStatus)
	describe := func(uris []string) (list []RootStatus) {
		for _, uri := range uris {
			if _, ok := known[uri]; !ok {
				known[uri] = s.describeRoot(ctx, uri)
			}
			list = append(list, known[uri])
		}
		return list
	}
	granted := s.countGrants(ctx)
	st := &KeyStatus{StoreID: s.ID(), Generation: s.ring.Generation(), Roots: describe(s.ring.Roots())}
	for _, info := range s.Tables() {
		t, err := s.Table(info.Name)
		if err != nil {
			continue // dropped meanwhile
		}
		ts := TableKeyStatus{Name: info.Name, ID: info.ID, Roots: describe(info.RootKeys)}
		for n := range ts.Roots {
			if r := &ts.Roots[n]; r.Err == "" {
				r.Grants = granted(r.URI, info.ID)
			}
		}
		ts.Weakest = weakest(ts.Roots)
		if err := t.keyStatus(ctx, &ts); err != nil {
			return nil, err
		}
		st.Tables = append(st.Tables, ts)
	}
	return st, ctx.Err()
}

func (s *Store) describeRoot(ctx context.Context, uri string) RootStatus {
	r := RootStatus{URI: uri, State: "unknown"}
	root := s.root(uri)
	if root == nil {
		r.Err = keyring.ErrRootNotPinned.Error()
		return r
	}
	d, err := root.Describe(ctx)
	if err != nil {
		r.Err = err.Error()
		return r
	}
	r.State, r.Sealed, r.Location, r.Note, r.Versions = d.State.String(), d.Sealed, d.Location, d.Note, len(d.Versions)
	return r
}

// countGrants counts the grants of a table on a root key. Each service is asked once.
func (s *Store) countGrants(ctx context.Context) func(uri string, table keyring.ID) *int {
	known := make(map[string]map[keyring.ID]int)
	return func(uri string, table keyring.ID) *int {
		count, asked := known[uri]
		if !asked {
			if service, ok := s.root(uri).(keyring.Granter); ok {
				if list, err := service.Grants(ctx, s.ID()); err == nil {
					count = make(map[keyring.ID]int)
					for i := range list {
						if of, ok := s.grantOf(&list[i]); ok {
							count[of]++
						}
					}
				}
			}
			known[uri] = count
		}
		if count == nil {
			return nil
		}
		n := count[table]
		return &n
	}
}

// weakest is the first root key that lies unsealed, if others do not.
func weakest(roots []RootStatus) string {
	at := slices.IndexFunc(roots, func(r RootStatus) bool { return r.Err == "" && !r.Sealed })
	if at < 0 || len(roots) < 2 || !slices.ContainsFunc(roots, func(r RootStatus) bool { return r.Sealed || r.Err != "" }) {
		return ""
	}
	return roots[at].URI
}

// keyStatus fills in what the table's files say.
func (t *Table) keyStatus(ctx context.Context, ts *TableKeyStatus) error {
	e, err := t.store.ring.Entry(t.id)
	if err != nil {
		return nil // dropped meanwhile
	}
	for _, v := range e.Versions {
		ts.Versions = append(ts.Versions, KeyVersionStatus{Number: v.Number, State: v.State, CreatedAt: v.CreatedAt})
	}
	files, m, o, err := t.statusFiles(ctx, ts)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		ts.Err = err.Error()
		files = t.headers()
	}
	var all int64
	seen := make(map[keyring.ID]bool)
	for _, f := range files {
		if f.snapshot == "" && !f.archived {
			all += f.Bytes
		}
		seen[f.ID] = true
	}
	ts.DataKeys = len(seen)
	if o != nil {
		ts.Overlay = o.Len()
	}
	for n := range ts.Versions {
		v := &ts.Versions[n]
		v.count(files, all)
		if err == nil && v.State == "older" {
			v.NeededBy = append(neededBy(o, files, v.Number), m.neededByBackups(v.Number)...)
		}
	}
	t.leaseStatus(ts)
	if err != nil { // else the key is back, which a store open for reading does not record
		ts.Loss = t.lossStatus()
	}
	return nil
}

// statusFiles opens the table and reads what its files need, with its metadata.
func (t *Table) statusFiles(ctx context.Context, ts *TableKeyStatus) ([]fileKey, *metadata, *keyring.Overlay, error) {
	i, err := t.use()
	if err != nil {
		return nil, nil, nil, err
	}
	defer i.leave()
	keys := i.keys.Clone()
	defer keys.Wipe()
	m, err := t.readMetadata(keys)
	if err != nil {
		return nil, nil, nil, err
	}
	ts.Schedule = m.schedule
	if !m.reencrypting.IsZero() {
		ts.Reencrypting = &m.reencrypting
	}
	files, err := t.fileKeys(ctx, i, keys, m)
	for n := 0; err != nil && n < 3 && ctx.Err() == nil; n++ {
		// A snapshot may have been dropped meanwhile.
		if m, err = t.readMetadata(keys); err == nil {
			files, err = t.fileKeys(ctx, i, keys, m)
		}
	}
	return files, m, i.keys.Overlay(), err
}

// headers are the keys of the table's files as their headers name them.
func (t *Table) headers() (list []fileKey) {
	snapshots := t.store.fs.PathJoin(t.dir, snapshotsDir)
	walk(t.store.fs, t.dir, func(path string, size int64) {
		h := t.store.headerOf(path)
		if h == nil {
			return
		}
		f := fileKey{KeyUse: sealfs.KeyUse{
			Name: t.store.fs.PathBase(path), Kind: h.Identity.Kind, ID: h.Identity.FileID,
			Version: h.KeyVersion, Bytes: size, CreatedAt: h.Identity.CreatedAt,
		}}
		if dir := t.store.fs.PathDir(path); t.store.fs.PathDir(dir) == snapshots {
			f.snapshot = t.store.fs.PathBase(dir) // its name is sealed
		}
		list = append(list, f)
	})
	return list
}

func (v *KeyVersionStatus) count(files []fileKey, all int64) {
	for _, f := range files {
		if f.Version != v.Number || f.archived {
			continue
		}
		if f.snapshot != "" {
			if !slices.Contains(v.Snapshots, f.snapshot) {
				v.Snapshots = append(v.Snapshots, f.snapshot)
			}
			continue
		}
		v.Files++
		v.Bytes += f.Bytes
		if at := f.CreatedAt; v.Oldest == nil || at.Before(*v.Oldest) {
			v.Oldest = &at
		}
	}
	slices.Sort(v.Snapshots)
	if all > 0 {
		v.Share = float64(v.Bytes) / float64(all)
	}
}

func (t *Table) leaseStatus(ts *TableKeyStatus) {
	if at := t.confirmed.Load(); at != nil {
		ends := at.Add(t.store.opts.KeyLease)
		ts.LeaseEnds = &ends
	}
	if why := t.overdue.Load(); why != nil {
		ts.Overdue = *why
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ts.Open = t.inst.Load() != nil
	if locked := t.locked.Load(); locked != nil {
		ts.Locked = locked.Error()
	}
}
