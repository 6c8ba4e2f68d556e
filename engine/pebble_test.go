package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPebbleHazards holds the engine away from what Pebble v2.1.7 gets wrong
// where a read fails: a compaction whose first range key cannot be read goes
// on as if its inputs were empty, one that only deletes by excising drops keys,
// one that meets a SingleDelete panics, and so does the rewrite of a blob for
// its garbage.
func TestPebbleHazards(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	calls := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			calls++
			for _, hazard := range []string{"RangeKey", "SingleDelete", "Ingest", "Excise"} {
				require.NotContains(t, call.Sel.Name, hazard, name)
			}
			return true
		})
	}
	require.Greater(t, calls, 500)

	o := new(Store).pebbleOptions(&metadata{separateFrom: 1})
	require.Nil(t, o.Experimental.EnableDeleteOnlyCompactionExcises)
	require.GreaterOrEqual(t, o.Experimental.ValueSeparationPolicy().TargetGarbageRatio, 1.0)
}
