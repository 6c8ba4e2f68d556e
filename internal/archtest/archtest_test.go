package archtest

import (
	"bytes"
	"flag"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/core_modules anew")

const root = "../.."

// readTree parses the imports of every file of the module that ships.
func readTree(t *testing.T) []source {
	var tree []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			// What the go command does not see, and what is no part of the module.
			if path != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || path == filepath.Join(root, "demo")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := source{Dir: filepath.ToSlash(dir), File: name, Package: f.Name.Name}
		for _, imp := range f.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			s.Imports = append(s.Imports, p)
		}
		tree = append(tree, s)
		return nil
	})
	require.NoError(t, err)
	return tree
}

func TestImports(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	ciphers := 0
	for _, s := range tree {
		if slices.Contains(s.Imports, "crypto/cipher") {
			ciphers++
		}
	}
	require.NotZero(t, ciphers, "no file imports crypto/cipher: the test looks in the wrong place")
	for _, f := range check(tree) {
		t.Error(f)
	}
}

// TestRules shows each rule a file that breaks it and one that does not.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		dir, imp string
		want     string // part of the fault; "" where there is none
	}{
		{"wal", module + "/keyring", ""},
		{"wal", module + "/internal/floe", ""},
		{"wal", module + "/sstable", "sstable is not below wal"},
		{"sstable", module + "/wal", "wal is not below sstable"},
		{"wal", pebble + "/vfs", ""},
		{"wal", pebble, "do not know Pebble"},
		{"wal", "github.com/klauspost/compress/s2", ""},
		{"sstable", "github.com/klauspost/compress/s2", "may import of other modules only"},
		{"engine", pebble, ""},
		{"engine", pebble + "/sstable", ""},
		{"engine/internal/sealfs", module + "/sstable", ""},
		{"engine/internal/sealfs", module + "/engine", ""},
		{"engine/internal/sealfs", module + "/backup", "backup is not below engine"},
		{"engine", module + "/keyring/local", "the core knows no key service"},
		{"engine", module + "/keyring/audit", ""},
		{"keyring/audit", module + "/keyring/local", "the core knows no key service"},
		{"engine", "github.com/aws/aws-sdk-go-v2/service/kms", "links no client"},
		{"keyring", "github.com/hashicorp/vault/api", "links no client"},
		{"keyring", "golang.org/x/crypto/argon2", "may import of other modules only"},
		{"keyring/passphrase", "golang.org/x/crypto/argon2", ""},
		{"keyring/passphrase", "golang.org/x/crypto/chacha20poly1305", "may import of other modules only"},
		{"keyring", module + "/engine", "engine is not below keyring"},
		{"internal/floe", module + "/keyring", "keyring is not below internal"},
		{"internal/floe", module + "/internal/aead", ""},
		{"internal/vectors", module + "/internal/corrupt", ""},
		{"wal", module + "/internal/vectors", "internal/vectors is not below wal"},
		{"internal/aead", "crypto/cipher", ""},
		{"internal/floe", "crypto/cipher", "internal/aead"},
		{"cmd/cofre", "crypto/cipher", "internal/aead"},
		{"bench/internal/ctrfs", "crypto/cipher", ""},
		{"bench/system", "crypto/cipher", "internal/aead"},
		{"backup", module + "/engine", ""},
		{"backup", module + "/backup/storage/locate", ""},
		{"backup", module + "/backup/storage/s3test", "is not below backup"},
		{"backup/storage/dir", module + "/backup", "backup is not below backup/storage"},
		{"backup/storage", module + "/engine", "engine is not below backup/storage"},
		{"engine", module + "/backup/storage", "backup/storage is not below engine"},
		{"backup/storage/s3", "github.com/aws/smithy-go/middleware", ""},
		{"backup/storage/s3test", "github.com/aws/aws-sdk-go-v2/aws", ""},
		{"backup/storage/dir", "github.com/aws/aws-sdk-go-v2/aws", "one package speaks S3"},
		{"backup", "github.com/aws/aws-sdk-go-v2/service/s3", "one package speaks S3"},
		{"cmd/cofre", "github.com/aws/aws-sdk-go-v2/service/s3", "one package speaks S3"},
		{"engine", "github.com/aws/aws-sdk-go-v2/service/s3", "links no client"},
		{"cmd/cofre", "github.com/spf13/cobra", ""},
		{"cmd/cofre", module + "/keyring/local", ""},
		{"engine", "log", "slog"},
		{"engine", "log/slog", ""},
		{"engine", "C", "without cgo"},
		{"engine/util", "fmt", "says nothing"},
		{"tools", "fmt", "has no layer"},
	} {
		s := source{Dir: tc.dir, File: "x.go", Package: tc.dir[strings.LastIndex(tc.dir, "/")+1:], Imports: []string{tc.imp}}
		faults := strings.Join(check([]source{s}), "\n")
		if tc.want == "" {
			require.Empty(t, faults, "%s imports %s", tc.dir, tc.imp)
		} else {
			require.Contains(t, faults, tc.want, "%s imports %s", tc.dir, tc.imp)
		}
	}
}

// TestCoreModules lists what the core links, through all of its imports. The
// platforms differ, and so do builds with and without cgo.
func TestCoreModules(t *testing.T) {
	t.Parallel()
	platforms := [][]string{
		{"GOOS=linux", "CGO_ENABLED=0"},
		{"GOOS=linux", "CGO_ENABLED=1"},
		{"GOOS=darwin", "CGO_ENABLED=0"},
		{"GOOS=windows", "CGO_ENABLED=0"},
	}
	lists := make([][]byte, len(platforms))
	errs := make([]error, len(platforms))
	var wg sync.WaitGroup
	for i, env := range platforms {
		wg.Go(func() {
			var stderr bytes.Buffer
			cmd := exec.Command("go", "list", "-mod=readonly", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}",
				"./engine/...", "./sstable/...", "./wal/...", "./keyring")
			cmd.Dir = root
			cmd.Env = append(os.Environ(), env...)
			cmd.Stderr = &stderr
			lists[i], errs[i] = cmd.Output()
			if errs[i] != nil {
				errs[i] = &listError{stderr.String(), errs[i]}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	modules := strings.Fields(string(bytes.Join(lists, nil)))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	require.Contains(t, modules, module)

	for _, m := range modules {
		for _, p := range keyServices {
			require.False(t, within(m, p), "the core links %s, the client of a key service: "+
				"put it in a sub-package of keyring and hand the engine a keyring.RootKey", m)
		}
	}

	const golden = "testdata/core_modules"
	got := strings.Join(modules, "\n") + "\n"
	if *rewrite {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got,
		"the modules that the core links have changed; if that is meant: go test ./internal/archtest -rewrite")
}

type listError struct {
	output string
	err    error
}

func (e *listError) Error() string { return e.err.Error() + ": " + e.output }
func (e *listError) Unwrap() error { return e.err }
