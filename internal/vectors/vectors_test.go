package vectors

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

const root = "../.."

// TestFormats: no directory of vectors is of a format that nobody reads, and
// the README tells of each.
func TestFormats(t *testing.T) {
	t.Parallel()
	require.True(t, slices.IsSorted(Formats))
	entries, err := os.ReadDir(Dir(t))
	require.NoError(t, err)
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "make" {
			dirs = append(dirs, e.Name())
		}
	}
	require.Equal(t, Formats, dirs)
	readme, err := os.ReadFile(filepath.Join(Dir(t), "README.md"))
	require.NoError(t, err)
	for _, f := range Formats {
		require.Contains(t, string(readme), "\n| `"+f+"` |")
	}
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)

// TestSections: each vector names a section that is there, and a rule.
func TestSections(t *testing.T) {
	t.Parallel()
	titles := make(map[string]bool)
	for _, page := range []string{"docs/format.md", "docs/keyring-format.md", "docs/repository.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
				anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
				titles[page+"#"+anchor] = true
			}
		}
	}
	titles["cmd/cofre/internal/records/records.go"] = true
	for _, format := range Formats {
		for _, v := range Load[json.RawMessage, json.RawMessage](t, format) {
			require.True(t, titles[v.Section], "%s/%s: no section %q", format, v.Name, v.Section)
			require.True(t, len(v.Rule) > 10 && v.Rule[len(v.Rule)-1] == '.', "%s/%s: %q is no sentence", format, v.Name, v.Rule)
		}
	}
}

// TestMade runs the program that made the vectors: it writes what is there,
// and nothing else.
func TestMade(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		return // the full round does it, once
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "-mod=readonly", "./testdata/vectors/make", dir)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	made := readTree(t, dir)
	there := readTree(t, Dir(t))
	require.NotEmpty(t, made)
	for name, b := range made {
		require.Equal(t, b, there[name], "%s is not what the program makes", name)
	}
	require.Len(t, there, len(made), "a vector that the program does not make")
}

func readTree(t *testing.T, dir string) map[string]string {
	files := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(b)
		return err
	}))
	return files
}

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

// fails tells whether f fails the test that it is handed.
func fails(f func(t testing.TB)) bool {
	r, done := &recorder{}, make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r.failed
}

// TestLoadFails: what is no vector is not passed over.
func TestLoadFails(t *testing.T) {
	t.Parallel()
	type in struct {
		A Hex `json:"a"`
	}
	good := `{"rule": "r", "section": "s", "in": {"a": "00ff"}, "out": {}}`
	for name, c := range map[string]struct {
		file, content string
		fails         bool
	}{
		"good":               {"v.json", good, false},
		"unknown input":      {"v.json", strings.Replace(good, `"a"`, `"b"`, 1), true},
		"unknown field":      {"v.json", strings.Replace(good, `"rule"`, `"role"`, 1), true},
		"not hexadecimal":    {"v.json", strings.Replace(good, "ff", "fg", 1), true},
		"no outcome":         {"v.json", strings.Replace(good, `, "out": {}`, "", 1), true},
		"not JSON":           {"v.json", good[1:], true},
		"another kind of it": {"v.txt", good, true},
		"nothing":            {"", "", true},
	} {
		dir := t.TempDir()
		if c.file != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o644))
		}
		require.Equal(t, c.fails, fails(func(t testing.TB) { load[in, struct{}](t, dir) }), name)
	}
	require.True(t, fails(func(t testing.TB) { Load[in, struct{}](t, "none") }))
}

// TestCheckFails: an error that is not the one of the vector fails the test.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	at := int64(7)
	auth := corrupt.New(corrupt.ErrAuth, "f", 7, "x")
	for name, c := range map[string]struct {
		want  *Fault
		err   error
		fails bool
	}{
		"none, as it must be":    {nil, nil, false},
		"the one":                {&Fault{"ErrAuth", &at}, auth, false},
		"the one, no offset":     {&Fault{"ErrAuth", nil}, auth, false},
		"one of its own":         {&Fault{"ErrMine", nil}, fs.ErrExist, false},
		"one where none must be": {nil, auth, true},
		"none where one must be": {&Fault{"ErrAuth", nil}, nil, true},
		"another class":          {&Fault{"ErrFormat", &at}, auth, true},
		"another offset":         {&Fault{"ErrAuth", &at}, corrupt.New(corrupt.ErrAuth, "f", 8, "x"), true},
		"no offset":              {&Fault{"ErrAuth", &at}, corrupt.New(corrupt.ErrAuth, "f", -1, "x"), true},
		"no class":               {&Fault{"ErrAuth", nil}, errors.New("x"), true},
		"unknown class":          {&Fault{"ErrNone", nil}, auth, true},
	} {
		v := Vector[struct{}, struct{}]{Error: c.want}
		require.Equal(t, c.fails, fails(func(t testing.TB) { v.Check(t, c.err, map[string]error{"ErrMine": fs.ErrExist}) }), name)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "text", "\x00\n\u2028<", "\xff", "a\xc3"} {
		b, err := json.Marshal(Text(s))
		require.NoError(t, err)
		var back Text
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, s, string(back))
	}
	var x Text
	require.Error(t, json.Unmarshal([]byte("7"), &x))
}
