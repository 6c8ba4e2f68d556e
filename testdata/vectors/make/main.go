// Command make writes the test vectors below a directory:
//
//	go run ./testdata/vectors/make testdata/vectors
//
// It is written from docs/format.md, docs/keyring-format.md and
// docs/repository.md alone, and shares no code with what it tests, but for the types of the files' JSON. So
// it is a second implementation of the writing half of these pages, and a
// fault that both the pages' code and its tests have in common shows.
//
// What is random in a store (keys, nonces, IVs, salts, ids) comes here from
// SHA-256 of a label, so each run writes the same bytes. Never seal anything
// but vectors this way.
//
// A vector of a released version stays as it is for ever. What is new gets a
// name of its own.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/internal/vectors"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: make DIRECTORY")
	}
	s := &set{files: make(map[string][]byte), inputs: make(map[string]string)}
	headers(s)
	sstables(s)
	logs(s)
	keyrings(s)
	lists(s)
	keyServices(s)
	keyServices2(s)
	localWraps(s)
	passphrases(s)
	recoveries(s)
	recoverySheets(s)
	manifestNotes(s)
	cleanCloses(s)
	tableStates(s)
	tableMetadata(s)
	rekeyed(s)
	overlays(s)
	names(s)
	lockboxes(s)
	backupIndexes(s)
	backupManifests(s)
	backupNames(s)
	logParts(s)
	imports(s)
	for name, b := range s.files {
		path := filepath.Join(os.Args[1], filepath.FromSlash(name))
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, b, 0o644))
	}
}

// A set is all vectors.
type set struct {
	files  map[string][]byte // by path
	inputs map[string]string // path by content: no two vectors say the same
}

// A group adds vectors of one format and one section of its page.
type group struct {
	set     *set
	format  string
	section string
}

func (s *set) group(format, section string) *group { return &group{s, format, section} }

// in is the group of another section.
func (g *group) in(section string) *group { return &group{g.set, g.format, section} }

func (g *group) add(name, rule string, in, out any, fault *vectors.Fault) {
	v := struct {
		Rule    string         `json:"rule"`
		Section string         `json:"section"`
		In      any            `json:"in"`
		Out     any            `json:"out,omitempty"`
		Error   *vectors.Fault `json:"error,omitempty"`
	}{rule, g.section, in, out, fault}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	check(e.Encode(v))
	path := g.format + "/" + name + ".json"
	if g.set.files[path] != nil {
		log.Fatalf("two vectors are named %s", path)
	}
	input := g.format + string(must(json.Marshal(in)))
	if other := g.set.inputs[input]; other != "" {
		log.Fatalf("%s and %s have the same input", path, other)
	}
	g.set.files[path], g.set.inputs[input] = b.Bytes(), path
}

// valid adds a vector that opens.
func (g *group) valid(name, rule string, in, out any) { g.add(name, rule, in, out, nil) }

// invalid adds a vector that fails with the class. An offset of -1 stands for
// none.
func (g *group) invalid(name, rule, class string, offset int, in any) {
	g.add(name, rule, in, nil, fault(class, offset))
}

func fault(class string, offset int) *vectors.Fault {
	f := &vectors.Fault{Class: class}
	if offset >= 0 {
		at := int64(offset)
		f.Offset = &at
	}
	return f
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(fmt.Sprintf("make: %v", err))
	}
}
