package records

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
)

type vector = vectors.Vector[vectors.ImportIn, vectors.ImportOut]

func loadVectors(t testing.TB, format string) []vector {
	return vectors.Load[vectors.ImportIn, vectors.ImportOut](t, format)
}

// errInput is what ends an input; a vector does not say more.
var errInput = errors.New("the input ends here")

func openVector(format string, v vector) (Reader, error) {
	in, lim := bytes.NewReader(v.In.Input), Limits{Key: v.In.MaxKey, Value: v.In.MaxValue}
	switch format {
	case "csv":
		return NewCSV(in, v.In.Key, lim)
	case "jsonl":
		return NewJSONLines(in, v.In.Key, lim)
	}
	return NewExport(in, lim)
}

// badLineOf tells the line that an error names.
func badLineOf(t *testing.T, b *BadEntry) int {
	line, err := strconv.Atoi(strings.TrimPrefix(b.Where, "line "))
	require.NoError(t, err, "%v names no line", b)
	return line
}

// TestVectors reads the inputs of testdata/vectors at the module's root.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"csv", "jsonl", "export"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			for _, v := range loadVectors(t, format) {
				var results []vectors.ImportResult
				r, err := openVector(format, v)
				for err == nil {
					var e Entry
					var bad *BadEntry
					err = r.Next(&e)
					if errors.As(err, &bad) {
						results = append(results, vectors.ImportResult{BadLine: badLineOf(t, bad)})
						err = nil
					} else if err == nil {
						results = append(results, vectors.ImportResult{Key: e.Key, Value: e.Value})
					}
				}
				if err == io.EOF {
					err = nil
				} else {
					err = errors.Join(errInput, err)
				}
				v.Check(t, err, map[string]error{"ErrInput": errInput})
				require.Len(t, results, len(v.Out.Results), "%s: %s", v.Name, v.Rule)
				for i, want := range v.Out.Results {
					require.Equal(t, want.BadLine, results[i].BadLine, "%s: %s", v.Name, v.Rule)
					require.Equal(t, string(want.Key), string(results[i].Key), "%s: %s", v.Name, v.Rule)
					require.Equal(t, string(want.Value), string(results[i].Value), "%s: %s", v.Name, v.Rule)
				}
			}
		})
	}
}

// addVectors seeds a fuzz target with a format's inputs.
func addVectors(f *testing.F, format string) {
	for _, v := range loadVectors(f, format) {
		f.Add([]byte(v.In.Input))
	}
}
