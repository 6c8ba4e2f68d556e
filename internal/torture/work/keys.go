package work

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// NewTableKey is the number of no root key: Rotate makes a new table key.
const NewTableKey = -1

// rotateVerb changes a table's keys, and nothing that it holds:
//
//	rotate ks.a key
//	rotate ks.a 1
var rotateVerb = Verb{
	Name: "rotate", Weight: 4, Args: 2,
	Make: func(g *Gen) []string {
		return []string{g.table(), []string{"key", "0", "1"}[g.rng.IntN(3)]}
	},
	Run: func(s Subject, a []string) string {
		if a[1] == "key" {
			return answer(s.Rotate(a[0], NewTableKey))
		}
		root, err := strconv.ParseUint(a[1], 10, 8)
		if err != nil {
			return "no such op"
		}
		return answer(s.Rotate(a[0], int(root)))
	},
}

func (m *Model) Rotate(table string, _ int) error { return m.there(table) }

func (e *Engine) Rotate(table string, root int) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	if root == NewTableKey {
		err = t.RotateKey(context.Background())
	} else {
		roots := append([]keyring.RootKey{e.Options.RootKey}, e.Options.Roots...)
		err = t.RotateRoot(context.Background(), roots[root%len(roots)])
	}
	if err != nil {
		return err
	}
	return e.heard(t)
}

// heard holds that an open table uses the key version that the keyring has.
func (e *Engine) heard(t *engine.Table) error {
	for _, info := range e.Store.Tables() {
		if info.ID != t.ID() || !info.Open {
			continue
		}
		if m, err := t.Metrics(); err == nil && m.KeyVersion < info.KeyVersion {
			return fmt.Errorf("table %s is at key version %d and goes on under %d", info.Name, info.KeyVersion, m.KeyVersion)
		}
	}
	return nil
}

func (w *watch) Rotate(table string, root int) error { return w.keep(w.Engine.Rotate(table, root)) }

// renewVerb seals what a table holds under new keys, or destroys the version of its
// key before the newest; what the table holds does not change:
//
//	renew ks.a data
//	renew ks.a part
//	renew ks.a retire
//
// A part is all but the last step, which a view keeps waiting: sorted files have new
// keys, and the same MANIFEST goes on.
var renewVerb = Verb{
	Name: "renew", Weight: 3, Args: 2,
	Make: func(g *Gen) []string {
		return []string{g.table(), []string{"data", "part", "retire"}[g.rng.IntN(3)]}
	},
	Run: func(s Subject, a []string) string {
		switch a[1] {
		case "data", "part":
			return answer(s.Reencrypt(a[0], a[1] == "part"))
		case "retire":
			return answer(s.Retire(a[0]))
		}
		return "no such op"
	},
}

func (m *Model) Reencrypt(table string, _ bool) error { return m.there(table) }
func (m *Model) Retire(table string) error            { return m.there(table) }

// patience is how long a re-encryption works before it is interrupted: open views
// would keep it waiting. The next one goes on from there.
const patience = 300 * time.Millisecond

func (e *Engine) Reencrypt(table string, part bool) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var opts engine.ReencryptOptions
	if part {
		v, err := t.View()
		if err != nil {
			return err
		}
		defer v.Close()
		opts.Progress = func(p engine.ReencryptProgress) {
			if p.Waiting {
				cancel()
			}
		}
	}
	_, err = t.Reencrypt(ctx, opts)
	if errors.Is(err, context.DeadlineExceeded) || part && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (e *Engine) Retire(table string) error {
	t, err := e.table(table)
	if err != nil {
		return err
	}
	for _, info := range e.Store.Tables() {
		if info.ID != t.ID() || info.KeyVersion < 2 {
			continue
		}
		err := t.RetireKey(context.Background(), info.KeyVersion-1)
		// It was retired before, or a compaction still writes under it.
		if !errors.Is(err, keyring.ErrVersionUnknown) && !errors.Is(err, engine.ErrVersionNeeded) {
			return err
		}
	}
	return nil
}

func (w *watch) Reencrypt(table string, part bool) error {
	return w.keep(w.Engine.Reencrypt(table, part))
}
func (w *watch) Retire(table string) error { return w.keep(w.Engine.Retire(table)) }
