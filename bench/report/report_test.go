package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Report{"full": synthetic(3, 2, 0.02), "no results": {Format: Format}} {
		var b bytes.Buffer
		require.NoError(t, r.Write(&b), name)
		got, err := Read(bytes.NewReader(b.Bytes()))
		require.NoError(t, err, name)
		// A document without results reads as one with an empty list.
		require.Equal(t, len(r.Results), len(got.Results), name)
		if len(r.Results) > 0 {
			require.Equal(t, r, got, name)
		}
		var plain any
		require.NoError(t, json.Unmarshal(b.Bytes(), &plain), name)
	}
}

// TestWriteIsALineAResult keeps differences of two documents readable.
func TestWriteIsALineAResult(t *testing.T) {
	t.Parallel()
	r := synthetic(3, 2, 0.02)
	var b bytes.Buffer
	require.NoError(t, r.Write(&b))
	lines := strings.Split(b.String(), "\n")
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, `  {"workload":`) {
			n++
		}
	}
	require.Equal(t, len(r.Results), n)
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, (&Report{Format: Format}).Write(&b))
	good := b.String()
	for _, x := range []struct{ name, text, want string }{
		{"empty", "", "not a benchmark report"},
		{"no JSON", "cofre", "not a benchmark report"},
		{"truncated", good[:len(good)/2], "not a benchmark report"},
		{"unknown field", strings.Replace(good, `"seconds"`, `"hours": 1, "seconds"`, 1), "hours"},
		{"another format", strings.Replace(good, `"format": 1`, `"format": 2`, 1), "format 2"},
		{"another document", `{}`, "format 0"},
		{"two documents", good + good, "more than one"},
	} {
		_, err := Read(strings.NewReader(x.text))
		require.ErrorContains(t, err, x.want, x.name)
	}
}
