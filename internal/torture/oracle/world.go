package oracle

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/keyring"
)

// A Table is the history of one table, from its creation to its drop.
type Table struct {
	Name string

	id       keyring.ID // zero until the creation has returned
	line     line
	created  bool
	dropping bool
	dropped  bool
	snaps    map[string]snapshot
}

type snapshot struct {
	states   []State // what it may hold; never changed in place
	created  bool
	dropping bool
	dropped  bool
}

// A World is the history of a store. Its methods are safe for concurrent use,
// as long as each table has one writer.
type World struct {
	mu     sync.Mutex // guards all below
	made   bool
	tables []*Table
}

// Clone copies the world, and runs at, if not nil, at the very same moment: no
// operation begins or returns in between.
func (w *World) Clone(at func()) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at != nil {
		at()
	}
	c := &World{made: w.made}
	for _, t := range w.tables {
		d := *t
		d.snaps = maps.Clone(t.snaps)
		c.tables = append(c.tables, &d)
	}
	return c
}

func (w *World) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// Made says that the store's first Open has returned.
func (w *World) Made() { w.note(func() { w.made = true }) }

// IsMade tells whether the store must be there.
func (w *World) IsMade() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

// Creating says that a table is about to be created.
func (w *World) Creating(name string) *Table {
	t := &Table{Name: name, line: newLine(), snaps: make(map[string]snapshot)}
	w.note(func() { w.tables = append(w.tables, t) })
	return t
}

// Created says that the creation has returned.
func (w *World) Created(t *Table, id keyring.ID) { w.note(func() { t.id, t.created = id, true }) }

// Dropping says that a table is about to be dropped.
func (w *World) Dropping(t *Table) { w.note(func() { t.dropping = true }) }

// Dropped says that the drop has returned.
func (w *World) Dropped(t *Table) { w.note(func() { t.dropped = true }) }

// Issue says that a write is about to be made. Until Ack it may be there or
// not.
func (w *World) Issue(t *Table, write []Effect) { w.note(func() { t.line.issue(write) }) }

// Ack says that the write was acknowledged.
func (w *World) Ack(t *Table, synced bool) {
	w.note(func() {
		t.line.answer()
		if synced {
			t.line.sync()
		}
	})
}

// Durable says that all acknowledged writes cannot be lost.
func (w *World) Durable(t *Table) { w.note(t.line.sync) }

// Snapshotting says that a snapshot is about to be made.
func (w *World) Snapshotting(t *Table, name string) {
	w.note(func() {
		var states []State
		t.line.walk(func(n int, all []State) bool {
			if n == t.line.end() {
				for _, s := range all {
					states = append(states, maps.Clone(s))
				}
			}
			return true
		})
		t.snaps[name] = snapshot{states: states}
	})
}

// Snapshotted says that it was made.
func (w *World) Snapshotted(t *Table, name string) {
	w.note(func() {
		s := t.snaps[name]
		s.created = true
		t.snaps[name] = s
		t.line.sync()
	})
}

// DroppingSnapshot says that a snapshot is about to be dropped.
func (w *World) DroppingSnapshot(t *Table, name string) {
	w.note(func() {
		if s, ok := t.snaps[name]; ok {
			s.dropping = true
			t.snaps[name] = s
		}
	})
}

// DroppedSnapshot says that it was dropped.
func (w *World) DroppedSnapshot(t *Table, name string) {
	w.note(func() {
		if s, ok := t.snaps[name]; ok {
			s.dropped = true
			t.snaps[name] = s
		}
	})
}

// Table finds the living table of a name: the newest that was not dropped.
func (w *World) Table(name string) *Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range slices.Backward(w.tables) {
		if t.Name == name && !t.dropped {
			return t
		}
	}
	return nil
}

// Tables are those that were created and not dropped.
func (w *World) Tables() []*Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	var live []*Table
	for _, t := range w.tables {
		if t.created && !t.dropped {
			live = append(live, t)
		}
	}
	return live
}

// A Listed is a table as a store lists it.
type Listed struct {
	Name string
	ID   keyring.ID
}

// A Store is what Match reads.
type Store interface {
	List() []Listed
	Contents(table string) (State, error)
	SnapshotNames(ctx context.Context, table string) ([]string, error)
	SnapshotContents(ctx context.Context, table, name string) (State, error)
}

// A reading is what a table was found to hold.
type reading struct {
	Listed
	state State
	snaps map[string]State
}

func read(ctx context.Context, s Store) ([]reading, error) {
	var all []reading
	for _, l := range s.List() {
		r := reading{Listed: l, snaps: make(map[string]State)}
		var err error
		if r.state, err = s.Contents(l.Name); err != nil {
			return nil, verdict.New(verdict.FalseAlarm, "table %s: %v", l.Name, err)
		}
		names, err := s.SnapshotNames(ctx, l.Name)
		if err != nil {
			return nil, verdict.New(verdict.FalseAlarm, "table %s: snapshots: %v", l.Name, err)
		}
		for _, name := range names {
			if r.snaps[name], err = s.SnapshotContents(ctx, l.Name, name); err != nil {
				return nil, verdict.New(verdict.FalseAlarm, "table %s: snapshot %s: %v", l.Name, name, err)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// Match holds a store that was opened against the world. An error of the
// store's is a false alarm. What is found is what counts from then on. Nobody
// writes meanwhile.
func (w *World) Match(ctx context.Context, s Store) error { return w.match(ctx, s, true) }

// MatchOpen is Match for a store that was not opened since calls failed: whether
// a table or a snapshot was created or dropped by one that failed is still open.
func (w *World) MatchOpen(ctx context.Context, s Store) error { return w.match(ctx, s, false) }

func (w *World) match(ctx context.Context, s Store, settle bool) error {
	// Reading opens tables, and who watches the disk may want the world.
	found, err := read(ctx, s)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var live []*Table
	for _, r := range found {
		i := slices.IndexFunc(w.tables, func(t *Table) bool { return t.id == r.ID })
		if i < 0 {
			i = slices.IndexFunc(w.tables, func(t *Table) bool { return t.id.IsZero() && t.Name == r.Name })
		}
		if i < 0 {
			return verdict.New(verdict.Phantom, "table %s (%s) is nobody's", r.Name, r.ID)
		}
		t := w.tables[i]
		if t.dropped {
			return verdict.New(verdict.Phantom, "table %s was dropped, and is there", t.Name)
		}
		if err := t.match(r, settle); err != nil {
			return verdict.In(err, "table %s", t.Name)
		}
		if settle {
			t.id, t.created, t.dropping = r.ID, true, false
		}
		live = append(live, t)
	}
	for _, t := range w.tables {
		if t.created && !t.dropping && !t.dropped && !slices.Contains(live, t) {
			return verdict.New(verdict.Lost, "table %s is gone", t.Name)
		}
	}
	if settle {
		w.tables = live
	}
	return nil
}

func (t *Table) match(r reading, settle bool) error {
	if v := t.line.match(r.state); v != nil {
		return v
	}
	there := make(map[string]snapshot)
	for name, held := range r.snaps {
		sn, ok := t.snaps[name]
		if !ok || sn.dropped {
			return verdict.New(verdict.Phantom, "snapshot %s is nobody's", name)
		}
		l := line{bases: sn.states}
		if v := l.match(held); v != nil {
			return verdict.In(v, "snapshot %s", name)
		}
		there[name] = snapshot{states: []State{held}, created: true}
	}
	for name, sn := range t.snaps {
		if _, ok := there[name]; !ok && sn.created && !sn.dropping && !sn.dropped {
			return verdict.New(verdict.Lost, "snapshot %s is gone", name)
		}
	}
	t.line.settle(r.state)
	if settle {
		t.snaps = there
	}
	return nil
}

// ID is the table's id, once it is known.
func (t *Table) ID() keyring.ID { return t.id }
