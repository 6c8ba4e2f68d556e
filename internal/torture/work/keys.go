package work

import (
	"context"
	"fmt"
	"strconv"

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
