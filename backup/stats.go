package backup

import (
	"context"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// Stats are figures of a repository.
type Stats struct {
	Repository keyring.ID  `json:"repository"`
	Location   string      `json:"location"`
	Backups    int         `json:"backups"`
	Pinned     int         `json:"pinned"`
	Tables     int         `json:"tables"` // that have backups
	Stores     int         `json:"stores"`
	Oldest     time.Time   `json:"oldest,omitzero"`
	Newest     time.Time   `json:"newest,omitzero"`
	Backed     int64       `json:"backed_up_bytes"` // sum of the backups' files
	Data       ObjectStats `json:"data"`            // objects that hold them
	Unneeded   ObjectStats `json:"unneeded"`        // of these, named by no backup
	Archive    ObjectStats `json:"archive"`         // parts of logs
	Other      ObjectStats `json:"other"`           // manifests, indexes, lockboxes
}

// ObjectStats are figures of a kind of objects.
type ObjectStats struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Stats adds up what the repository has. It lists every object and reads manifests and
// indexes.
func (r *Repository) Stats(ctx context.Context) (*Stats, error) {
	list, err := r.Backups(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stats{Repository: r.id, Location: r.st.Location(), Backups: len(list)}
	tables, stores := make(map[keyring.ID]bool), make(map[keyring.ID]bool)
	for i, b := range list {
		if i == 0 {
			s.Oldest = b.Time
		}
		s.Newest = b.Time
		s.Backed += b.Bytes()
		stores[b.Store] = true
		if b.Pinned {
			s.Pinned++
		}
		for _, t := range b.Tables {
			tables[t.Table] = true
		}
	}
	s.Tables, s.Stores = len(tables), len(stores)
	needed, err := r.named(ctx, list)
	if err != nil {
		return nil, err
	}
	for o, err := range r.st.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(o.Name, dataPrefix):
			s.Data.add(o.Size)
			if !needed[o.Name] {
				s.Unneeded.add(o.Size)
			}
		case strings.HasPrefix(o.Name, archivePrefix):
			s.Archive.add(o.Size)
		default:
			s.Other.add(o.Size)
		}
	}
	return s, nil
}

func (s *ObjectStats) add(size int64) {
	s.Objects++
	s.Bytes += size
}
