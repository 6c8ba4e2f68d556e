package report

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	rewrite = flag.Bool("rewrite", false, "write the expected output anew")
	sample  = flag.String("sample", "", "directory to write the page and the chart of a synthetic report to, for looking at")
)

// golden compares output with a file below testdata.
func golden(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, write(&b))
	path := filepath.Join("testdata", name)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o666))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "if that is meant: go test ./bench/report -rewrite")
}

func TestSample(t *testing.T) {
	t.Parallel()
	dir := *sample
	if dir == "" {
		dir = t.TempDir()
	}
	r := synthetic(7, 5, 0.02)
	for name, write := range map[string]func(io.Writer, *Report) error{
		"report.html": WriteHTML, "small.html": func(w io.Writer, _ *Report) error { return WriteHTML(w, small()) },
		"chart.svg": WriteSVG, "report.txt": WriteText, "price.txt": WritePrice, "report.md": WriteMarkdown,
		"report.json": func(w io.Writer, r *Report) error { return r.Write(w) },
	} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, write(f, r))
		require.NoError(t, f.Close())
	}
}
