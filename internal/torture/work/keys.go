package work

import (
	"context"
	"strconv"

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
		return t.RotateKey(context.Background())
	}
	roots := append([]keyring.RootKey{e.Options.RootKey}, e.Options.Roots...)
	return t.RotateRoot(context.Background(), roots[root%len(roots)])
}

func (w *watch) Rotate(table string, root int) error { return w.keep(w.Engine.Rotate(table, root)) }
