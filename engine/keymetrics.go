package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// KeyMetrics are figures of the use of keys since the store was opened, for a
// program's own metrics. They cost no call to a key service and no read of a file;
// KeyStatus tells the bytes under each version of a key.
type KeyMetrics struct {
	Calls  []audit.CallStats `json:"calls"` // to key services
	Tables []TableKeyMetrics `json:"tables"`
}

// TableKeyMetrics are those of one table, by name.
type TableKeyMetrics struct {
	Name       string     `json:"name"`
	ID         keyring.ID `json:"id"`
	KeyVersion uint32     `json:"key_version"`
	// LeaseAge is how long ago the key service has confirmed the keys that are in
	// memory; negative if none are.
	LeaseAge     time.Duration     `json:"lease_age_ns"`
	Locked       bool              `json:"locked"`
	KeyLost      bool              `json:"key_lost"` // KeyLossPolicy keeps a clock for it
	Overdue      bool              `json:"overdue"`  // what its schedule asks for could not be done
	Reencrypting bool              `json:"reencrypting"`
	Progress     ReencryptProgress `json:"progress"` // of the re-encryption in this process, if any
}

// KeyMetrics returns the figures of now.
func (s *Store) KeyMetrics() KeyMetrics {
	m := KeyMetrics{Calls: s.audit.Calls()}
	for _, info := range s.Tables() {
		t, err := s.Table(info.Name)
		if err != nil {
			continue // dropped meanwhile
		}
		tm := TableKeyMetrics{
			Name: info.Name, ID: info.ID, KeyVersion: info.KeyVersion, LeaseAge: -1,
			Locked: t.locked.Load() != nil, KeyLost: t.loss() != nil, Overdue: t.overdue.Load() != nil, Reencrypting: t.reencrypting.Load(),
		}
		if at := t.confirmed.Load(); at != nil {
			tm.LeaseAge = time.Since(*at)
		}
		if p := t.progress.Load(); p != nil && tm.Reencrypting {
			tm.Progress = *p
		}
		m.Tables = append(m.Tables, tm)
	}
	slices.SortFunc(m.Tables, func(a, b TableKeyMetrics) int { return strings.Compare(a.Name, b.Name) })
	return m
}
