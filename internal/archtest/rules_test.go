package archtest

import (
	"fmt"
	"slices"
	"strings"
)

const (
	module = "github.com/cofredb/cofre"
	pebble = "github.com/cockroachdb/pebble/v2"
)

// A source is what one file that ships imports. Dir is relative to the
// module's root and uses slashes.
type source struct {
	Dir, File, Package string
	Imports            []string
}

// layers says which folders a folder's packages may import, besides
// themselves. The longest folder that holds a package decides. A folder that is
// not here may not exist.
var layers = map[string][]string{
	"internal": {},
	// The published vectors: only tests load them.
	"internal/vectors": {"internal"},
	// What only tests use: it may drive the whole product, and nothing that
	// ships may import it.
	"internal/torture": {"internal", "keyring", "sstable", "wal", "engine", "backup", "backup/storage"},

	"keyring": {"internal"},
	"sstable": {"internal", "keyring"},
	"wal":     {"internal", "keyring"},
	"engine":  {"internal", "keyring", "sstable", "wal"},
	"backup":  {"internal", "keyring", "sstable", "wal", "engine", "backup/storage"},
	"bench":   {"internal", "keyring", "sstable", "wal", "engine", "backup", "backup/storage"},
	"cmd":     {"internal", "keyring", "sstable", "wal", "engine", "backup", "backup/storage", "bench"},

	// Where a repository's objects lie knows nothing of what they are.
	"backup/storage": {"internal"},
	// What only tests of storages use.
	"backup/storage/storagetest": {"internal", "backup/storage"},
	"backup/storage/s3test":      {"internal", "backup/storage"},
}

// thirdParty says which packages of other modules a folder may import. The
// longest folder that holds the file decides; a package covers what is below
// it. Folders outside the core are free, as nil is.
var thirdParty = map[string][]string{
	"internal":           {},
	"internal/torture":   nil, // free: nothing that ships links it
	"keyring":            {pebble + "/vfs"},
	"keyring/passphrase": {pebble + "/vfs", "golang.org/x/crypto/argon2"},
	"sstable":            {pebble + "/vfs"},
	"wal":                {pebble + "/vfs", "github.com/klauspost/compress/s2"},
	"engine":             {pebble, "github.com/google/btree"},

	"backup/storage":             {"golang.org/x/sys/windows"},
	"backup/storage/s3":          {aws},
	"backup/storage/s3test":      nil,
	"backup/storage/storagetest": nil,
}

// aws is the client of AWS. One package speaks S3; a program that keeps its
// backups in a directory, and one that keeps none, need not link it.
const aws = "github.com/aws"

// keyServices are the clients of key services, as module or package prefixes.
var keyServices = []string{
	"cloud.google.com/",
	"github.com/Azure/",
	"github.com/ThalesGroup/crypto11",
	"github.com/aws/",
	"github.com/google/go-tpm",
	"github.com/google/tink",
	"github.com/hashicorp/vault",
	"github.com/miekg/pkcs11",
	"github.com/openbao/",
	"github.com/tink-crypto/",
	"google.golang.org/api",
	"google.golang.org/grpc",
	"gocloud.dev",
}

// unauthenticated encrypts without sealing, to tell what that would cost. No
// store of Cofre's is made with it.
const unauthenticated = "bench/internal/ctrfs"

var emptyNames = []string{"common", "helper", "helpers", "misc", "util", "utils"}

// within tells whether path is prefix or lies below it.
func within(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// holder is the longest of the folders that holds dir, or "".
func holder(folders map[string][]string, dir string) string {
	var longest string
	for f := range folders {
		if within(dir, f) && len(f) > len(longest) {
			longest = f
		}
	}
	return longest
}

func topFolder(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

// core tells whether dir belongs to the core: what every program links that
// opens a store.
func core(dir string) bool {
	switch topFolder(dir) {
	case "engine", "sstable", "wal":
		return true
	case "keyring":
		return dir == "keyring" || dir == "keyring/audit"
	}
	return false
}

// check returns what is wrong with the tree, one line a fault, and what to do
// instead.
func check(tree []source) []string {
	var faults []string
	for _, s := range tree {
		fault := func(format string, args ...any) {
			faults = append(faults, s.Dir+"/"+s.File+": "+fmt.Sprintf(format, args...))
		}
		for _, name := range []string{s.Package, s.Dir[strings.LastIndex(s.Dir, "/")+1:]} {
			if slices.Contains(emptyNames, name) {
				fault("%q says nothing: name the package by its role", name)
				break
			}
		}
		if holder(layers, s.Dir) == "" {
			fault("folder %q has no layer: give it one in layers, and in docs/README.md its one job", topFolder(s.Dir))
			continue
		}
		for _, imp := range s.Imports {
			switch {
			case within(imp, module):
				if msg := checkOwn(s, strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")); msg != "" {
					fault("imports %s: %s", imp, msg)
				}
			case strings.Contains(topFolder(imp), "."):
				if msg := checkThirdParty(s, imp); msg != "" {
					fault("imports %s: %s", imp, msg)
				}
			default:
				if msg := checkStandard(s, imp); msg != "" {
					fault("imports %s: %s", imp, msg)
				}
			}
		}
	}
	return faults
}

// checkOwn judges the import of a package of this module.
func checkOwn(s source, dir string) string {
	from, to := holder(layers, s.Dir), holder(layers, dir)
	if from != to && !slices.Contains(layers[from], to) {
		return fmt.Sprintf("%s is not below %s; imports point cmd → bench → backup → engine → sstable, wal → keyring → internal. Declare an interface in %s, or move what both need to internal", to, from, from)
	}
	if core(s.Dir) && to == "keyring" && !core(dir) {
		return "the core knows no key service; take a keyring.RootKey from the caller"
	}
	return ""
}

// checkThirdParty judges the import of a package of another module.
func checkThirdParty(s source, imp string) string {
	if core(s.Dir) {
		for _, p := range keyServices {
			if within(imp, p) {
				return "the core links no client of a key service; put it in a sub-package of keyring and hand the engine a keyring.RootKey"
			}
		}
	}
	if (within(s.Dir, "sstable") || within(s.Dir, "wal")) && imp == pebble {
		return "the sealed formats do not know Pebble; use " + pebble + "/vfs, and let engine map Pebble's files onto them"
	}
	if within(imp, aws) && !within(s.Dir, "backup/storage/s3") && !within(s.Dir, "backup/storage/s3test") && !within(s.Dir, "keyring") {
		return "one package speaks S3; use backup/storage/s3, or backup/storage/locate"
	}
	folder := holder(thirdParty, s.Dir)
	if thirdParty[folder] == nil {
		return ""
	}
	for _, p := range thirdParty[folder] {
		if within(imp, p) {
			return ""
		}
	}
	return fmt.Sprintf("%s may import of other modules only %q; use the standard library, or argue for a new entry in thirdParty and a page in docs/adr", folder, thirdParty[folder])
}

// checkStandard judges the import of a package of the standard library.
func checkStandard(s source, imp string) string {
	switch {
	case imp == "crypto/cipher" && s.Dir != "internal/aead" && s.Dir != unauthenticated:
		return "one package touches ciphers; seal through internal/aead"
	case imp == "C" && topFolder(s.Dir) != "bench":
		return "Cofre builds without cgo; use a Go implementation"
	case imp == "log" && topFolder(s.Dir) != "cmd" && topFolder(s.Dir) != "bench":
		return "a library does not write to stderr; log to the *slog.Logger of the options"
	}
	return ""
}
