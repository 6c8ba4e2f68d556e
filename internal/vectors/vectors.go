// Package vectors loads the published test vectors of testdata/vectors in the
// tests of the packages that read these formats.
//
// A vector is a file of JSON. It holds one rule of a format's page, what a
// reader is handed, and what must come out:
//
//	{
//		"rule":    "one sentence",
//		"section": "docs/format.md#the-header",
//		"in":      { … },
//		"out":     { … },
//		"error":   { "class": "ErrAuth", "offset": 234 }
//	}
//
// Out is missing where nothing may come out, error where the input is valid.
// A log may give frames and then an error, and has both. Each format has a
// type for in and one for out, below; the README beside the vectors tells the
// same to those who write in another language.
//
// Only tests import this package, and the program that makes the vectors.
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Formats are the formats that have vectors, each a directory.
var Formats = []string{
	"backup-index", "backup-manifest", "backup-names", "clean-close", "csv", "export", "header", "jsonl", "key-service", "keyring", "keyring-list",
	"local-wrap", "lockbox", "log-part", "manifest-note", "names", "overlay", "passphrase", "recovery", "recovery-sheet", "sstable", "table-metadata", "table-state", "wal",
}

// A Vector is one vector of a format.
type Vector[In, Out any] struct {
	Name    string `json:"-"`       // of the file, without .json
	Rule    string `json:"rule"`    // one sentence
	Section string `json:"section"` // where the rule stands: a path, # and a title
	In      In     `json:"in"`
	Out     *Out   `json:"out,omitempty"`
	Error   *Fault `json:"error,omitempty"`
}

// A Fault is the error that must come out.
type Fault struct {
	Class  string `json:"class"`            // a name of the format's page, such as ErrAuth
	Offset *int64 `json:"offset,omitempty"` // in the file, in bytes; nil where none applies
}

// Dir is the directory of the vectors, below the root of the module that holds
// the working directory: a test runs in its package's.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "vectors")
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("the working directory is in no module")
		}
		dir = up
	}
}

// Load reads all vectors of a format, in order of name. It fails where there
// is none, and where one has a field that In or Out does not.
func Load[In, Out any](t testing.TB, format string) []Vector[In, Out] {
	t.Helper()
	if !slices.Contains(Formats, format) {
		t.Fatalf("%q is no format", format)
	}
	return load[In, Out](t, filepath.Join(Dir(t), format))
}

func load[In, Out any](t testing.TB, dir string) []Vector[In, Out] {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatalf("no vectors in %s", dir)
	}
	var all []Vector[In, Out]
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			t.Fatalf("%s in %s is no vector", e.Name(), dir)
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		v := Vector[In, Out]{Name: name}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("vector %s: %v", name, err)
		}
		if v.Out == nil && v.Error == nil {
			t.Fatalf("vector %s says nothing of what must come out", name)
		}
		all = append(all, v)
	}
	return all
}

// Check compares an error with that of the vector. more are classes besides
// those of [Faults].
func (v *Vector[In, Out]) Check(t testing.TB, err error, more map[string]error) {
	t.Helper()
	switch {
	case v.Error == nil && err != nil:
		t.Errorf("%s: %s: it fails: %v", v.Name, v.Rule, err)
		return
	case v.Error == nil:
		return
	case err == nil:
		t.Errorf("%s: %s: no error, not %s", v.Name, v.Rule, v.Error.Class)
		return
	}
	class, ok := Faults()[v.Error.Class]
	if !ok {
		class, ok = more[v.Error.Class]
	}
	if !ok {
		t.Errorf("%s: unknown class %q", v.Name, v.Error.Class)
		return
	}
	if !errors.Is(err, class) {
		t.Errorf("%s: %s: not %s: %v", v.Name, v.Rule, v.Error.Class, err)
	}
	if v.Error.Offset == nil {
		return
	}
	if at, ok := Offset(err); !ok || at != *v.Error.Offset {
		t.Errorf("%s: %s: not at offset %d: %v", v.Name, v.Rule, *v.Error.Offset, err)
	}
}

// Hex is bytes, as hexadecimal digits.
type Hex []byte

// MarshalText gives the digits.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText reads digits.
func (h *Hex) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// Text is bytes that are mostly text: a string, or an object whose one member
// "hex" has hexadecimal digits.
type Text []byte

type textHex struct {
	Hex Hex `json:"hex"`
}

// MarshalJSON gives the string, where one says every byte.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.Valid(t) {
		return json.Marshal(string(t))
	}
	return json.Marshal(textHex{Hex(t)})
}

// UnmarshalJSON reads either form.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var h textHex
		if err := json.Unmarshal(b, &h); err != nil {
			return err
		}
		*t = Text(h.Hex)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("neither a string nor hexadecimal digits: %w", err)
	}
	*t = Text(s)
	return nil
}
