package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	mdLink  = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	mdTitle = regexp.MustCompile(`(?m)^#+ (.+)$`)
	mdCode  = regexp.MustCompile("(?s)```.*?```")
	mdDrop  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the names that a page's titles have in links.
func anchors(page string) map[string]bool {
	set := map[string]bool{"": true}
	for _, m := range mdTitle.FindAllStringSubmatch(mdCode.ReplaceAllString(page, ""), -1) {
		set["#"+strings.ReplaceAll(mdDrop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return set
}

// TestLinks follows every link from one file of the project to another.
func TestLinks(t *testing.T) {
	t.Parallel()
	links := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || path == filepath.Join(root, "demo")) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(string(page), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			target := path
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(m[1]))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s, which is not there", path, m[1])
			} else if b, err := os.ReadFile(target); m[2] != "" && (err != nil || !anchors(string(b))[m[2]]) {
				t.Errorf("%s: link to %s%s, which has no such title", path, m[1], m[2])
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.NotZero(t, links)
}

// TestReadmeExample holds README's examples to those that compile and run.
func TestReadmeExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for folder, name := range map[string]string{"engine": "ExampleOpen", "backup": "ExampleRepository"} {
		src, err := os.ReadFile(filepath.Join(root, folder, "example_test.go"))
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(src), "\nfunc "+name+"() {\n")
		require.True(t, ok)
		body, _, ok := strings.Cut(rest, "\n}\n")
		require.True(t, ok)
		require.Contains(t, string(readme), "```go\nfunc "+name+"() {\n"+body+"\n}\n```",
			"README.md must show %s as it is in %s/example_test.go", name, folder)
	}
}

var exitLine = regexp.MustCompile(`(?m)^ {2,}(\d+)  (\S.*?)` + "`?\\)?,?$")

// TestReadmeExitCodes holds README's exit codes to those of the command's help.
func TestReadmeExitCodes(t *testing.T) {
	t.Parallel()
	help, err := os.ReadFile(filepath.Join(root, "cmd", "cofre", "help.go"))
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	lines := exitLine.FindAllStringSubmatch(string(help), -1)
	require.Greater(t, len(lines), 5, "no exit codes in the help: the test looks in the wrong place")
	for _, m := range lines {
		require.Contains(t, strings.ReplaceAll(string(readme), "`", ""), "| "+m[1]+" | "+m[2]+" |")
	}
}
