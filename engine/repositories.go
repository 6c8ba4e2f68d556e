package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

// A BackupNote tells a table what of it lies in a backup repository, so that no
// version of its key is retired that a backup needs.
type BackupNote struct {
	Repository keyring.ID `json:"repository"`
	Location   string     `json:"location"` // for people; at most 512 bytes
	Versions   []uint32   `json:"versions"` // of the table's key that its backups need, ascending
	At         time.Time  `json:"at"`       // when this was so
}

const (
	maxLocation         = 512
	minRepositoryLength = 16 + 4 + 8 + 4
)

// NoteBackups records what a repository has of the table; no versions, that it has
// nothing any more. It is durable when it returns, and costs nothing where the table
// knows. Errors: ErrReadOnly, ErrKeyInaccessible, and those of the file system.
func (t *Table) NoteBackups(ctx context.Context, n BackupNote) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	if len(n.Location) > maxLocation {
		n.Location = n.Location[:maxLocation]
	}
	n.Versions = slices.Clone(n.Versions)
	slices.Sort(n.Versions)
	n.Versions = slices.Compact(n.Versions)
	if len(n.Versions) > keyring.MaxVersions {
		return fmt.Errorf("engine: backups of %s need %d versions of its key, it can have %d", t.name, len(n.Versions), keyring.MaxVersions)
	}
	n.At = n.At.UTC()
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if !m.noteBackups(n) {
		return nil
	}
	return t.editMetadata(ctx, keys, func(m *metadata) error {
		m.noteBackups(n)
		if len(m.repositories) > maxRepositories {
			return fmt.Errorf("engine: %s has backups in %d repositories, the most a table may have", t.name, maxRepositories)
		}
		return nil
	}, nil)
}

// noteBackups changes the list, and tells whether that made a difference.
func (m *metadata) noteBackups(n BackupNote) bool {
	at := slices.IndexFunc(m.repositories, func(o BackupNote) bool { return o.Repository == n.Repository })
	switch {
	case at < 0 && len(n.Versions) == 0:
		return false
	case at < 0:
		m.repositories = append(m.repositories, n)
	case len(n.Versions) == 0:
		m.repositories = slices.Delete(m.repositories, at, at+1)
	case slices.Equal(m.repositories[at].Versions, n.Versions) && m.repositories[at].Location == n.Location:
		return false
	default:
		m.repositories[at] = n
	}
	return true
}

// Backups lists the repositories that have backups of the table, as far as it was
// told. It asks the key service for the table's key.
func (t *Table) Backups(ctx context.Context) ([]BackupNote, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return nil, err
	}
	return m.repositories, nil
}

// neededByBackups lists the repositories that need a version of the table's key.
func (m *metadata) neededByBackups(version uint32) (by []string) {
	for _, n := range m.repositories {
		if slices.Contains(n.Versions, version) {
			by = append(by, fmt.Sprintf("backups in %s", cmp.Or(n.Location, n.Repository.String())))
		}
	}
	return by
}

func putRepositories(w *codec.Writer, list []BackupNote) {
	w.U32(uint32(len(list)))
	for _, n := range list {
		w.Raw(n.Repository[:])
		w.Str(n.Location)
		w.U64(uint64(n.At.UnixNano()))
		w.U32(uint32(len(n.Versions)))
		for _, v := range n.Versions {
			w.U32(v)
		}
	}
}

func readRepositories(r *codec.Reader) (list []BackupNote) {
	for range r.Count(maxRepositories, minRepositoryLength) {
		var n BackupNote
		r.Fill(n.Repository[:])
		n.Location = r.Str(maxLocation)
		n.At = time.Unix(0, int64(r.U64())).UTC()
		for range r.Count(keyring.MaxVersions, 4) {
			n.Versions = append(n.Versions, r.U32())
		}
		list = append(list, n)
	}
	return list
}
