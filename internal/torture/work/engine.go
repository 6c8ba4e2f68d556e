package work

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

// Dir is where the harness has its store, on file systems of its own.
const Dir = "var/lib/store"

// An Engine is a real store as a Subject.
type Engine struct {
	Dir     string // "" is Dir
	Options engine.Options
	Table   engine.TableOptions
	Archive bool          // of new tables: their log segments are kept
	World   *oracle.World // is told, unless nil
	// Restart is a power cut that loses what is not synced: it makes the
	// options of the next open. Without it Crash is Reopen.
	Restart func(o *engine.Options)

	Store *engine.Store // nil while it is closed
	views map[string]*engine.View
}

var (
	_ Subject      = (*Engine)(nil)
	_ oracle.Store = (*Engine)(nil)
)

// Open opens the store.
func (e *Engine) Open() error {
	dir := e.Dir
	if dir == "" {
		dir = Dir
	}
	s, err := engine.Open(context.Background(), dir, e.Options)
	if err != nil {
		return err
	}
	e.Store, e.views = s, make(map[string]*engine.View)
	if e.World != nil {
		e.World.Made()
	}
	return nil
}

// Close closes the store; what was acknowledged is durable then.
func (e *Engine) Close() error {
	if e.Store == nil {
		return nil
	}
	err := e.Store.Close()
	e.Store, e.views = nil, nil
	if err == nil && e.World != nil {
		for _, t := range e.World.Tables() {
			e.World.Durable(t)
		}
	}
	return err
}

// Verified is a violation if Verify finds a fault.
func (e *Engine) Verified() error {
	var faults []string
	_, err := e.Store.Verify(context.Background(), func(f engine.Finding) {
		if !f.Warning {
			faults = append(faults, fmt.Sprintf("%s at %d: %s: %s", f.Path, f.Offset, f.Class, f.Detail))
		}
	})
	if err != nil {
		return verdict.New(verdict.FalseAlarm, "verify: %v", err)
	}
	if len(faults) > 0 {
		return verdict.New(verdict.FalseAlarm, "verify: %q", faults)
	}
	return nil
}

// plain gives the answers that are no faults the names that models use.
func plain(err error) error {
	for _, m := range []struct{ is, as error }{
		{engine.ErrTableNotFound, ErrNoTable},
		{engine.ErrTableExists, ErrTableExists},
		{engine.ErrSnapshotNotFound, ErrNoSnapshot},
		{engine.ErrSnapshotExists, ErrSnapshotExists},
		{engine.ErrSnapshotsExist, ErrSnapshotsExist},
		{engine.ErrInUse, ErrInUse},
	} {
		if errors.Is(err, m.is) {
			return m.as
		}
	}
	return err
}

// IsAnswer tells whether an error is an answer and no fault.
func IsAnswer(err error) bool {
	return err == nil || slices.Contains([]error{ErrNoTable, ErrTableExists, ErrNoSnapshot, ErrSnapshotExists,
		ErrSnapshotsExist, ErrInUse, ErrNoView, ErrEnded}, err)
}

func (e *Engine) table(name string) (*engine.Table, error) {
	t, err := e.Store.Table(name)
	return t, plain(err)
}

// history is a table's, if the world is told.
func (e *Engine) history(name string) *oracle.Table {
	if e.World == nil {
		return nil
	}
	return e.World.Table(name)
}

func (e *Engine) Create(table string) error {
	_, err := e.table(table)
	if err == nil {
		return ErrTableExists
	}
	var h *oracle.Table
	if e.World != nil {
		h = e.World.Creating(table)
	}
	t, err := e.Store.CreateTable(context.Background(), table, e.Table)
	if err == nil && h != nil {
		e.World.Created(h, t.ID())
	}
	if err == nil && e.Archive {
		err = t.SetArchiving(context.Background(), true)
	}
	return plain(err)
}

func (e *Engine) Drop(table string, withSnapshots bool) error {
	if _, err := e.table(table); err != nil {
		return err
	}
	h := e.history(table)
	if h != nil {
		if names, err := e.Snapshots(table); err != nil || len(names) > 0 && !withSnapshots {
			h = nil // it will be refused
		}
	}
	if h != nil {
		e.World.Dropping(h)
	}
	_, err := e.Store.DropTable(context.Background(), table, engine.DropOptions{WithSnapshots: withSnapshots})
	if err == nil && h != nil {
		e.World.Dropped(h)
	}
	return plain(err)
}

func (e *Engine) List() []oracle.Listed {
	var list []oracle.Listed
	for _, info := range e.Store.Tables() {
		list = append(list, oracle.Listed{Name: info.Name, ID: info.ID})
	}
	return list
}

func (e *Engine) Write(table string, w []oracle.Effect, sync bool) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	h := e.history(table)
	if h != nil {
		e.World.Issue(h, w)
	}
	err = apply(t, w, &engine.WriteOptions{NoSync: !sync})
	if err == nil && h != nil {
		e.World.Ack(h, sync)
	}
	return err
}

// apply writes: one effect by itself, several as a batch.
func apply(t *engine.Table, w []oracle.Effect, wo *engine.WriteOptions) error {
	if len(w) == 1 {
		e := w[0]
		switch e.Kind {
		case oracle.Put:
			return t.Put([]byte(e.A), []byte(e.B), wo)
		case oracle.Delete:
			return t.Delete([]byte(e.A), wo)
		}
		return t.DeleteRange([]byte(e.A), []byte(e.B), wo)
	}
	b := t.NewBatch()
	defer b.Close()
	for _, e := range w {
		var err error
		switch e.Kind {
		case oracle.Put:
			err = b.Put([]byte(e.A), []byte(e.B))
		case oracle.Delete:
			err = b.Delete([]byte(e.A))
		case oracle.DeleteRange:
			err = b.DeleteRange([]byte(e.A), []byte(e.B))
		}
		if err != nil {
			return err
		}
	}
	return b.Commit(wo)
}

func (e *Engine) Get(from Source, key string) (string, bool, error) {
	var v []byte
	var err error
	if from.View != "" {
		view := e.views[from.View]
		if view == nil {
			return "", false, ErrNoView
		}
		v, err = view.Get([]byte(key))
		err = ended(err)
	} else {
		t, terr := e.table(from.Table)
		if terr != nil {
			return "", false, terr
		}
		v, err = t.Get([]byte(key))
	}
	if errors.Is(err, engine.ErrNotFound) {
		return "", false, nil
	}
	return string(v), err == nil, err
}

func ended(err error) error {
	if errors.Is(err, engine.ErrClosed) {
		return ErrEnded
	}
	return err
}

func (e *Engine) Scan(from Source, o engine.ScanOptions, visit func(key, value string) bool) error {
	var scan func(engine.ScanOptions) func(func(engine.Entry, error) bool)
	if from.View != "" {
		view := e.views[from.View]
		if view == nil {
			return ErrNoView
		}
		scan = func(o engine.ScanOptions) func(func(engine.Entry, error) bool) { return view.Scan(o) }
	} else {
		t, err := e.table(from.Table)
		if err != nil {
			return err
		}
		scan = func(o engine.ScanOptions) func(func(engine.Entry, error) bool) { return t.Scan(o) }
	}
	for x, err := range scan(o) {
		if err != nil {
			if from.View != "" {
				return ended(err)
			}
			return err
		}
		if !visit(string(x.Key), string(x.Value)) {
			return nil
		}
	}
	return nil
}

// Contents reads a table whole.
func (e *Engine) Contents(table string) (oracle.State, error) { return e.all(Source{Table: table}) }

func (e *Engine) all(from Source) (oracle.State, error) {
	s := make(oracle.State)
	err := e.Scan(from, engine.ScanOptions{}, func(k, v string) bool { s[k] = v; return true })
	return s, err
}

func (e *Engine) View(table, view string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	v, err := t.View()
	if err == nil {
		e.views[view] = v
	}
	return err
}

func (e *Engine) CloseView(view string) error {
	v := e.views[view]
	if v == nil {
		return ErrNoView
	}
	delete(e.views, view)
	return v.Close()
}

func (e *Engine) Snapshot(table, name string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	h := e.history(table)
	if h != nil {
		names, err := e.Snapshots(table)
		if err != nil {
			return err
		}
		if slices.Contains(names, name) {
			h = nil // it will be refused
		}
	}
	if h != nil {
		e.World.Snapshotting(h, name)
	}
	_, err = t.Snapshot(context.Background(), name)
	if err == nil && h != nil {
		e.World.Snapshotted(h, name)
	}
	return plain(err)
}

func (e *Engine) DropSnapshot(table, name string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	h := e.history(table)
	if h != nil {
		e.World.DroppingSnapshot(h, name)
	}
	err = t.DropSnapshot(context.Background(), name)
	if err == nil && h != nil {
		e.World.DroppedSnapshot(h, name)
	}
	return plain(err)
}

func (e *Engine) Snapshots(table string) ([]string, error) {
	return e.SnapshotNames(context.Background(), table)
}

// SnapshotNames lists a table's snapshots by name.
func (e *Engine) SnapshotNames(ctx context.Context, table string) ([]string, error) {
	t, err := e.table(table)
	if err != nil {
		return nil, err
	}
	list, err := t.Snapshots(ctx)
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names, err
}

// SnapshotContents reads a snapshot whole.
func (e *Engine) SnapshotContents(ctx context.Context, table, name string) (oracle.State, error) {
	const view = " contents"
	if err := e.OpenSnapshot(table, name, view); err != nil {
		return nil, err
	}
	s, err := e.all(Source{View: view})
	return s, errors.Join(err, e.CloseView(view))
}

func (e *Engine) OpenSnapshot(table, name, view string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	v, err := t.OpenSnapshot(context.Background(), name)
	if err == nil {
		e.views[view] = v
	}
	return plain(err)
}

func (e *Engine) Flush(table string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	if err = t.Flush(); err == nil {
		e.durable(table)
	}
	return err
}

func (e *Engine) durable(table string) {
	if h := e.history(table); h != nil {
		e.World.Durable(h)
	}
}

func (e *Engine) Compact(table, from, to string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	return t.Compact(context.Background(), bound(from), bound(to))
}

func (e *Engine) CloseTable(table string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	if err = t.Close(); err == nil {
		e.durable(table)
	}
	return err
}

// Reopen closes the store and opens it again. Views stay, ended.
func (e *Engine) Reopen() error {
	views := e.views
	err := e.Close()
	if err == nil {
		err = e.Open()
	}
	if err == nil {
		e.views = views
	}
	return err
}

func (e *Engine) Crash() error {
	if e.Restart == nil {
		return e.Reopen()
	}
	// A delete of nothing makes all before it durable.
	for _, l := range e.List() {
		if err := e.Write(l.Name, []oracle.Effect{{Kind: oracle.Delete, A: " never"}}, true); err != nil {
			return err
		}
	}
	old, views := e.Store, e.views
	e.Restart(&e.Options)
	if err := e.Open(); err != nil {
		return err
	}
	e.views = views
	return old.Close() // of the process that the crash has ended
}

// Attach has the engine use a store that another has open.
func (e *Engine) Attach(s *engine.Store) { e.Store, e.views = s, make(map[string]*engine.View) }

// Do runs an op and returns its error, if that is no answer.
func (e *Engine) Do(op Op) error {
	w := &watch{Engine: e}
	op.Run(w)
	if IsAnswer(w.err) {
		return nil
	}
	return w.err
}

// A watch keeps the error of a call that changes something.
type watch struct {
	*Engine
	err error
}

func (w *watch) keep(err error) error { w.err = err; return err }

func (w *watch) Create(table string) error          { return w.keep(w.Engine.Create(table)) }
func (w *watch) Drop(table string, with bool) error { return w.keep(w.Engine.Drop(table, with)) }
func (w *watch) Snapshot(table, name string) error  { return w.keep(w.Engine.Snapshot(table, name)) }
func (w *watch) Flush(table string) error           { return w.keep(w.Engine.Flush(table)) }
func (w *watch) CloseTable(table string) error      { return w.keep(w.Engine.CloseTable(table)) }
func (w *watch) Compact(table, from, to string) error {
	return w.keep(w.Engine.Compact(table, from, to))
}
func (w *watch) DropSnapshot(table, name string) error {
	return w.keep(w.Engine.DropSnapshot(table, name))
}
func (w *watch) Write(table string, ops []oracle.Effect, sync bool) error {
	return w.keep(w.Engine.Write(table, ops, sync))
}
func (w *watch) Snapshots(table string) ([]string, error) {
	names, err := w.Engine.Snapshots(table)
	return names, w.keep(err)
}

// ReopenTable closes a table and opens it again: the way out of a failure.
func (e *Engine) ReopenTable(ctx context.Context, table string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	return t.Reopen(ctx)
}
