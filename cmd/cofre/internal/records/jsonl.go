package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// JSONLines reads JSON Lines: one object a line, of which the value at a path
// of field names is the key.
type JSONLines struct {
	lines lineReader
	path  []string
	lim   Limits
}

// NewJSONLines reads r. The path is field names with dots between them.
func NewJSONLines(r io.Reader, path string, lim Limits) (*JSONLines, error) {
	names := strings.Split(path, ".")
	for _, name := range names {
		if name == "" {
			return nil, fmt.Errorf("key path %q has an empty field name", path)
		}
	}
	br, err := stream(r)
	if err != nil {
		return nil, err
	}
	return &JSONLines{lines: lineReader{r: br, max: lim.Value + len("\r\n")}, path: names, lim: lim}, nil
}

// Next implements [Reader].
func (j *JSONLines) Next(e *Entry) error {
	text, err := j.lines.next()
	if err != nil {
		return err
	}
	line := j.lines.line
	at := text
	for i, name := range j.path {
		fields, err := object(at, line)
		if err != nil {
			if i > 0 {
				return badLine(line, "%q is not an object", strings.Join(j.path[:i], "."))
			}
			return err
		}
		var ok bool
		if at, ok = fields[name]; !ok {
			return badLine(line, "no field %q", strings.Join(j.path[:i+1], "."))
		}
	}
	var key []byte
	switch c := at[0]; {
	case c == '"':
		if key, err = jsonText(at); err != nil {
			return badLine(line, "the key %v", err)
		}
	case c == '-' || '0' <= c && c <= '9':
		key = at // a number's own text: no rounding
	default:
		return badLine(line, "the key is neither a string nor a number")
	}
	if err := j.lim.check(fmt.Sprintf("line %d", line), len(key), len(text)); err != nil {
		return err
	}
	e.Key = append(e.Key[:0], key...)
	e.Value = append(e.Value[:0], text...)
	return nil
}

// object takes a line's object apart.
func object(b []byte, line int64) (map[string]json.RawMessage, error) {
	if !utf8.Valid(b) {
		return nil, badLine(line, "not UTF-8")
	}
	var fields map[string]json.RawMessage
	err := json.Unmarshal(b, &fields)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		// The error's own text shows a byte of the line.
		return nil, badLine(line, "not JSON, at byte %d of the line", syntax.Offset)
	case err != nil || fields == nil:
		return nil, badLine(line, "not a JSON object")
	}
	return fields, nil
}

// jsonText decodes a JSON string. The decoder puts U+FFFD for half a surrogate
// pair; two keys could become one that way, so that is an error.
func jsonText(raw []byte) ([]byte, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, errors.New("is not a string")
	}
	if strings.ContainsRune(s, utf8.RuneError) && !bytes.Contains(raw, []byte(string(utf8.RuneError))) &&
		!bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return nil, errors.New("holds half a surrogate pair")
	}
	return []byte(s), nil
}
