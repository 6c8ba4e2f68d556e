package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// memRoot is a root key in memory. It is no Anchor: an anchor would take every
// clone of an earlier moment for a keyring that was put back.
type memRoot struct {
	uri string

	mu     sync.Mutex
	keys   map[string]*keyring.Secret // by wrap and context
	err    error                      // what calls fail with
	wraps  int
	unwrap int
}

func newMemRoot(name string) *memRoot {
	return &memRoot{uri: "mem:" + name, keys: make(map[string]*keyring.Secret)}
}

func (r *memRoot) URI() string { return r.uri }

func (r *memRoot) Wrap(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wraps++
	if r.err != nil {
		return nil, r.err
	}
	b := make([]byte, 16)
	rand.Read(b)
	r.keys[string(b)+string(ec.Canonical())] = key.Clone()
	return b, nil
}

func (r *memRoot) Unwrap(_ context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unwrap++
	if r.err != nil {
		return nil, r.err
	}
	k := r.keys[string(wrapped)+string(ec.Canonical())]
	if k == nil {
		return nil, keyring.ErrWrongContext
	}
	return k.Clone(), nil
}

func (r *memRoot) Describe(context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.uri, State: keyring.StateEnabled}, nil
}

// fail makes all later calls fail with err; nil ends that.
func (r *memRoot) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// An effect is a part of an operation on a table: put, delete or delete range.
type effect struct {
	kind byte // 'p', 'd' or 'r'
	a, b string
}

type state map[string]string

func (s state) apply(op []effect) {
	for _, e := range op {
		switch e.kind {
		case 'p':
			s[e.a] = e.b
		case 'd':
			delete(s, e.a)
		case 'r':
			maps.DeleteFunc(s, func(k, _ string) bool { return e.a <= k && k < e.b })
		}
	}
}

// A history is what was done to one table, in order: each operation counts
// once it is issued, and cannot be lost once it is durable.
type history struct {
	name     string
	id       keyring.ID // zero until the creation has returned
	ops      [][]effect // all that were issued; shared, so never changed in place
	durable  int        // of ops
	created  bool
	dropping bool
	dropped  bool
	snaps    map[string]snapState
}

type snapState struct {
	at       int // number of ops that it holds
	created  bool
	dropping bool
	dropped  bool
}

func (h *history) state(n int) state {
	s := make(state)
	for _, op := range h.ops[:n] {
		s.apply(op)
	}
	return s
}

// find returns how many operations lead to the state found: the most, where
// some change nothing.
func (h *history) find(found state) (int, error) {
	last := -1
	s := h.state(h.durable)
	for n := h.durable; n <= len(h.ops); n++ {
		if maps.Equal(s, found) {
			last = n
		}
		if n < len(h.ops) {
			s.apply(h.ops[n])
		}
	}
	if last >= 0 {
		return last, nil
	}
	want := h.state(h.durable)
	var diff []string
	for _, k := range slices.Sorted(maps.Keys(mergeKeys(want, found))) {
		if want[k] != found[k] {
			diff = append(diff, fmt.Sprintf("%s: %s, durable %s", k, brief(found, k), brief(want, k)))
		}
	}
	return 0, fmt.Errorf("table %s: what is there is no state between operation %d, durable, and %d, issued; differences to the former:\n%s",
		h.name, h.durable, len(h.ops), strings.Join(diff, "\n"))
}

func mergeKeys(a, b state) state {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

func brief(s state, k string) string {
	v, ok := s[k]
	if !ok {
		return "none"
	}
	return fmt.Sprintf("%.16q", v)
}

// A world is the history of all tables of a store.
type world struct {
	mu     sync.Mutex // guards all below
	made   bool       // the store's first Open has returned
	tables []*history
}

// clone copies the world; the caller holds mu.
func (w *world) clone() *world {
	c := &world{made: w.made}
	for _, h := range w.tables {
		d := *h
		d.ops, d.snaps = slices.Clip(h.ops), maps.Clone(h.snaps)
		c.tables = append(c.tables, &d)
	}
	return c
}

// note runs f under the world's lock.
func (w *world) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// verified is an error if Verify finds a fault.
func verified(s *Store) error {
	var faults []error
	_, err := s.Verify(context.Background(), func(f Finding) {
		if !f.Warning {
			faults = append(faults, fmt.Errorf("verify: %s at %d: %s: %s", f.Path, f.Offset, f.Class, f.Detail))
		}
	})
	return errors.Join(append(faults, err)...)
}

func requireVerified(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, verified(s))
}

// contents reads a table, a view or a snapshot whole.
func contents(scan func(ScanOptions) func(func(Entry, error) bool)) (state, error) {
	s := make(state)
	for e, err := range scan(ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		s[string(e.Key)] = string(e.Value)
	}
	return s, nil
}

func (t *Table) contents() (state, error) {
	return contents(func(o ScanOptions) func(func(Entry, error) bool) { return t.Scan(o) })
}

func (v *View) contents() (state, error) {
	return contents(func(o ScanOptions) func(func(Entry, error) bool) { return v.Scan(o) })
}

// match holds a store against the world. What it finds there is what counts
// from then on: it returns the tables that live.
func (w *world) match(s *Store) (live []*history, err error) {
	found := make(map[keyring.ID]bool)
	for _, info := range s.Tables() {
		i := slices.IndexFunc(w.tables, func(h *history) bool {
			return h.id == info.ID || h.id.IsZero() && h.name == info.Name
		})
		if i < 0 {
			return nil, fmt.Errorf("table %s (%s) is nobody's", info.Name, info.ID)
		}
		h := w.tables[i]
		found[info.ID] = true
		if h.dropped {
			return nil, fmt.Errorf("table %s was dropped, and is there", h.name)
		}
		if err := w.matchTable(s, h); err != nil {
			return nil, err
		}
		w.note(func() { h.id, h.created, h.dropping = info.ID, true, false })
		live = append(live, h)
	}
	for _, h := range w.tables {
		if h.created && !h.dropping && !found[h.id] {
			return nil, fmt.Errorf("table %s is gone", h.name)
		}
	}
	w.note(func() { w.tables = live })
	return live, nil
}

func (w *world) matchTable(s *Store, h *history) error {
	ctx := context.Background()
	t, err := s.Table(h.name)
	if err != nil {
		return err
	}
	got, err := t.contents()
	if err != nil {
		return fmt.Errorf("table %s: %w", h.name, err)
	}
	n, err := h.find(got)
	if err != nil {
		return err
	}
	// What was read once may not be lost by the next crash.
	w.note(func() { h.ops, h.durable = slices.Clip(h.ops[:n]), n })
	list, err := t.Snapshots(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool)
	for _, info := range list {
		there[info.Name] = true
		sn, ok := h.snaps[info.Name]
		if !ok || sn.dropped {
			return fmt.Errorf("snapshot %s of %s is nobody's", info.Name, h.name)
		}
		if sn.at > n {
			return fmt.Errorf("snapshot %s of %s holds %d operations, the table %d", info.Name, h.name, sn.at, n)
		}
		v, err := t.OpenSnapshot(ctx, info.Name)
		if err != nil {
			return fmt.Errorf("snapshot %s of %s: %w", info.Name, h.name, err)
		}
		got, err := v.contents()
		if err = errors.Join(err, v.Close()); err != nil {
			return fmt.Errorf("snapshot %s of %s: %w", info.Name, h.name, err)
		}
		if !maps.Equal(got, h.state(sn.at)) {
			return fmt.Errorf("snapshot %s of %s is not the table after %d operations", info.Name, h.name, sn.at)
		}
		w.note(func() { h.snaps[info.Name] = snapState{at: sn.at, created: true} })
	}
	for name, sn := range h.snaps {
		if sn.created && !sn.dropping && !there[name] {
			return fmt.Errorf("snapshot %s of %s is gone", name, h.name)
		}
		if !there[name] {
			w.note(func() { delete(h.snaps, name) })
		}
	}
	return nil
}

// A worker does things to the table of one name, and says so to the world.
type worker struct {
	w    *world
	s    *Store
	name string
	opts TableOptions
	rng  *mathrand.Rand
	h    *history // nil while there is no table
	n    int      // values and snapshots made
}

func (k *worker) key() string { return fmt.Sprintf("k%02d", k.rng.IntN(60)) }

func (k *worker) value() string {
	k.n++
	b := make([]byte, []int{0, 20, 300, 900, 5000}[min(k.rng.IntN(5), k.rng.IntN(5))])
	for i := range b {
		b[i] = byte(k.rng.Uint32())
	}
	return fmt.Sprintf("%d/%s", k.n, hex.EncodeToString(b))
}

func (k *worker) effect() effect {
	switch n := k.rng.IntN(10); {
	case n < 7:
		return effect{'p', k.key(), k.value()}
	case n < 9:
		return effect{'d', k.key(), ""}
	}
	a, b := k.key(), k.key()
	return effect{'r', min(a, b), max(a, b) + "x"}
}

// mutate runs an operation of the given effects.
func (k *worker) mutate(t *Table, op []effect) error {
	return k.mutateAs(t, op, &WriteOptions{NoSync: k.rng.IntN(3) > 0})
}

func (k *worker) mutateAs(t *Table, op []effect, wo *WriteOptions) error {
	k.w.note(func() { k.h.ops = append(k.h.ops, op) })
	err := applyTo(t, op, wo)
	if err == nil && !wo.NoSync {
		k.durable()
	}
	return err
}

// applyTo writes to a table: one effect by itself, several as a batch.
func applyTo(t *Table, op []effect, wo *WriteOptions) error {
	if len(op) == 1 {
		e := op[0]
		switch e.kind {
		case 'p':
			return t.Put([]byte(e.a), []byte(e.b), wo)
		case 'd':
			return t.Delete([]byte(e.a), wo)
		}
		return t.DeleteRange([]byte(e.a), []byte(e.b), wo)
	}
	b := t.NewBatch()
	defer b.Close()
	for _, e := range op {
		var err error
		switch e.kind {
		case 'p':
			err = b.Put([]byte(e.a), []byte(e.b))
		case 'd':
			err = b.Delete([]byte(e.a))
		case 'r':
			err = b.DeleteRange([]byte(e.a), []byte(e.b))
		}
		if err != nil {
			return err
		}
	}
	return b.Commit(wo)
}

func (k *worker) durable() { k.w.note(func() { k.h.durable = len(k.h.ops) }) }

func (k *worker) create(ctx context.Context) error {
	h := &history{name: k.name, snaps: make(map[string]snapState)}
	k.w.note(func() { k.w.tables = append(k.w.tables, h) })
	t, err := k.s.CreateTable(ctx, k.name, k.opts)
	if err != nil {
		return err
	}
	k.w.note(func() { h.created, h.id = true, t.ID() })
	k.h = h
	return nil
}

func (k *worker) drop(ctx context.Context) error {
	k.w.note(func() { k.h.dropping = true })
	if _, err := k.s.DropTable(ctx, k.name, DropOptions{WithSnapshots: true}); err != nil {
		return err
	}
	k.w.note(func() { k.h.dropped = true })
	k.h = nil
	return nil
}

func (k *worker) snapshot(ctx context.Context, t *Table) error {
	k.n++
	name := fmt.Sprintf("s%d", k.n)
	set := func(sn snapState) { k.w.note(func() { k.h.snaps[name] = sn }) }
	sn := snapState{at: len(k.h.ops)}
	set(sn)
	if _, err := t.Snapshot(ctx, name); err != nil {
		return err
	}
	sn.created = true
	set(sn)
	k.durable()
	return nil
}

func (k *worker) dropSnapshot(ctx context.Context, t *Table) error {
	for name, sn := range k.h.snaps {
		if sn.dropped {
			continue
		}
		sn.dropping = true
		k.w.note(func() { k.h.snaps[name] = sn })
		if err := t.DropSnapshot(ctx, name); err != nil {
			return err
		}
		sn.dropped = true
		k.w.note(func() { k.h.snaps[name] = sn })
		return nil
	}
	return nil
}

// step does one thing at random.
func (k *worker) step(ctx context.Context) error {
	if k.h == nil {
		return k.create(ctx)
	}
	t, err := k.s.Table(k.name)
	if err != nil {
		return err
	}
	switch n := k.rng.IntN(100); {
	case n < 70:
		return k.mutate(t, []effect{k.effect()})
	case n < 86:
		op := make([]effect, 2+k.rng.IntN(12))
		for i := range op {
			op[i] = k.effect()
		}
		return k.mutate(t, op)
	case n < 90:
		if err = t.Flush(); err == nil {
			k.durable()
		}
		return err
	case n < 92:
		return t.Compact(ctx, nil, nil)
	case n < 94:
		return k.snapshot(ctx, t)
	case n < 96:
		return k.dropSnapshot(ctx, t)
	case n < 98:
		if err = t.Close(); err == nil {
			k.durable()
		}
		return err
	case n < 99:
		return k.drop(ctx)
	}
	_, err = t.contents()
	return err
}
