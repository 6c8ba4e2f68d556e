// Package records reads what "cofre import" takes in and writes what
// "cofre export" gives out. It knows nothing of stores: an entry is a key and
// a value.
//
// Four inputs:
//
//	tree    every regular file of a directory tree; the key is its
//	        slash-separated path relative to the tree's root, the value is
//	        its content. Symbolic links and special files are left out and
//	        counted.
//	csv     RFC 4180 with a header; the key is a named column, the value a
//	        JSON object of the row, its fields in the header's order
//	jsonl   a JSON object a line; the key is the string or number at a path
//	        of field names, the value is the line without its end
//	export  what [Writer] writes
//
// The streams (all but tree) may be compressed with zstd, which is found out
// from their first bytes, and may begin with a UTF-8 byte order mark. They
// must be UTF-8: what is not would be changed on its way through JSON.
//
// The format of an export is JSON Lines. A line holds one entry:
//
//	{"key":"net/http/server.go","value":"package http\n"}
//	{"key_b64":"/w==","value_b64":"AAEC"}
//
// A field is a string where the bytes are valid UTF-8 and their JSON form is
// not much more than twice as long; else it is standard base64 under the name
// with _b64. Key and value choose independently.
package records

import "fmt"

// An Entry is a key with its value.
type Entry struct{ Key, Value []byte }

// A Reader gives the entries of an input in the order of the input. It is
// not safe for concurrent use.
type Reader interface {
	// Next reads the next entry into e, whose buffers it reuses. The error is
	// io.EOF at the end of the input; a *BadEntry where an entry cannot be
	// taken, after which Next goes on with the one behind it; any other error
	// ends the input.
	Next(e *Entry) error
}

// Limits bound keys and values, in bytes.
type Limits struct{ Key, Value int }

func (l Limits) check(where string, key, value int) error {
	switch {
	case key == 0:
		return &BadEntry{Where: where, Reason: "the key is empty"}
	case key > l.Key:
		return &BadEntry{Where: where, Reason: fmt.Sprintf("a key of %d bytes; the limit is %d", key, l.Key)}
	case value > l.Value:
		return l.tooLarge(where, int64(value))
	}
	return nil
}

func (l Limits) tooLarge(where string, value int64) error {
	return &BadEntry{Where: where, Reason: fmt.Sprintf("a value of %d bytes; the limit is %d", value, l.Value)}
}

// A BadEntry says why an entry of the input cannot be taken. It names the
// place and the fault, and no content.
type BadEntry struct {
	Where  string // "line 17", or a path
	Reason string
	Err    error // the cause, where there is one beyond the reason
}

func (e *BadEntry) Error() string {
	if e.Reason == "" {
		return e.Where + ": " + e.Err.Error()
	}
	return e.Where + ": " + e.Reason
}

// Unwrap gives the cause.
func (e *BadEntry) Unwrap() error { return e.Err }

func badLine(line int64, format string, args ...any) *BadEntry {
	return &BadEntry{Where: fmt.Sprintf("line %d", line), Reason: fmt.Sprintf(format, args...)}
}

var _ = []Reader{(*Tree)(nil), (*CSV)(nil), (*JSONLines)(nil), (*Export)(nil)}
