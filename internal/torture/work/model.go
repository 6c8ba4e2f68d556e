package work

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
)

// A Model is a store as a plain map.
type Model struct {
	tables map[string]*modelTable
	views  map[string]*modelView
}

type entry struct{ key, value string }

type modelTable struct {
	tree  *btree.BTreeG[entry]
	snaps map[string]*btree.BTreeG[entry]
}

type modelView struct {
	of       *modelTable
	tree     *btree.BTreeG[entry]
	snapshot string // "" for a view of the table
	ended    bool
}

var _ Subject = (*Model)(nil)

// NewModel makes an empty model.
func NewModel() *Model {
	return &Model{tables: make(map[string]*modelTable), views: make(map[string]*modelView)}
}

func newTree() *btree.BTreeG[entry] {
	return btree.NewG(16, func(a, b entry) bool { return a.key < b.key })
}

func (m *Model) viewNames() []string { return slices.Sorted(maps.Keys(m.views)) }

func (m *Model) table(name string) (*modelTable, error) {
	if t := m.tables[name]; t != nil {
		return t, nil
	}
	return nil, ErrNoTable
}

// end ends the views of a table, or of all tables.
func (m *Model) end(of *modelTable) {
	for _, v := range m.views {
		if of == nil || v.of == of {
			v.ended = true
		}
	}
}

func (m *Model) Create(table string) error {
	if m.tables[table] != nil {
		return ErrTableExists
	}
	m.tables[table] = &modelTable{tree: newTree(), snaps: make(map[string]*btree.BTreeG[entry])}
	return nil
}

func (m *Model) Drop(table string, withSnapshots bool) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	if len(t.snaps) > 0 && !withSnapshots {
		return ErrSnapshotsExist
	}
	m.end(t)
	delete(m.tables, table)
	return nil
}

func (m *Model) List() []oracle.Listed {
	var list []oracle.Listed
	for _, name := range slices.Sorted(maps.Keys(m.tables)) {
		list = append(list, oracle.Listed{Name: name})
	}
	return list
}

func (m *Model) Write(table string, w []oracle.Effect, _ bool) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	for _, e := range w {
		switch e.Kind {
		case oracle.Put:
			t.tree.ReplaceOrInsert(entry{e.A, e.B})
		case oracle.Delete:
			t.tree.Delete(entry{key: e.A})
		case oracle.DeleteRange:
			var gone []entry
			t.tree.AscendRange(entry{key: e.A}, entry{key: e.B}, func(x entry) bool { gone = append(gone, x); return true })
			for _, x := range gone {
				t.tree.Delete(x)
			}
		}
	}
	return nil
}

func (m *Model) source(from Source) (*btree.BTreeG[entry], error) {
	if from.View == "" {
		t, err := m.table(from.Table)
		if err != nil {
			return nil, err
		}
		return t.tree, nil
	}
	v := m.views[from.View]
	switch {
	case v == nil:
		return nil, ErrNoView
	case v.ended:
		return nil, ErrEnded
	}
	return v.tree, nil
}

func (m *Model) Get(from Source, key string) (string, bool, error) {
	tree, err := m.source(from)
	if err != nil {
		return "", false, err
	}
	e, ok := tree.Get(entry{key: key})
	return e.value, ok, nil
}

func (m *Model) Scan(from Source, o engine.ScanOptions, visit func(key, value string) bool) error {
	tree, err := m.source(from)
	if err != nil {
		return err
	}
	n := 0
	see := func(e entry) bool {
		k := []byte(e.key)
		if !strings.HasPrefix(e.key, string(o.Prefix)) ||
			o.From != nil && bytes.Compare(k, o.From) < 0 || o.To != nil && bytes.Compare(k, o.To) >= 0 {
			return true
		}
		if o.Limit > 0 && n == o.Limit {
			return false
		}
		n++
		if o.KeysOnly {
			return visit(e.key, "")
		}
		return visit(e.key, e.value)
	}
	if o.Reverse {
		tree.Descend(see)
	} else {
		tree.Ascend(see)
	}
	return nil
}

func (m *Model) View(table, view string) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	m.views[view] = &modelView{of: t, tree: t.tree.Clone()}
	return nil
}

func (m *Model) CloseView(view string) error {
	if m.views[view] == nil {
		return ErrNoView
	}
	delete(m.views, view)
	return nil
}

func (m *Model) Snapshot(table, name string) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	if t.snaps[name] != nil {
		return ErrSnapshotExists
	}
	t.snaps[name] = t.tree.Clone()
	return nil
}

func (m *Model) DropSnapshot(table, name string) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	if t.snaps[name] == nil {
		return ErrNoSnapshot
	}
	for _, v := range m.views {
		if v.of == t && v.snapshot == name && !v.ended {
			return ErrInUse
		}
	}
	delete(t.snaps, name)
	return nil
}

func (m *Model) Snapshots(table string) ([]string, error) {
	t, err := m.table(table)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(t.snaps)), nil
}

func (m *Model) OpenSnapshot(table, name, view string) error {
	t, err := m.table(table)
	if err != nil {
		return err
	}
	if t.snaps[name] == nil {
		return ErrNoSnapshot
	}
	m.views[view] = &modelView{of: t, tree: t.snaps[name].Clone(), snapshot: name}
	return nil
}

func (m *Model) Flush(table string) error         { return m.there(table) }
func (m *Model) Compact(table, _, _ string) error { return m.there(table) }

func (m *Model) there(table string) error {
	_, err := m.table(table)
	return err
}

func (m *Model) CloseTable(table string) error {
	t, err := m.table(table)
	if err == nil {
		m.end(t)
	}
	return err
}

func (m *Model) Reopen() error { m.end(nil); return nil }
func (m *Model) Crash() error  { m.end(nil); return nil }
