package records

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Quote gives a key or value as one word of a line of text: as it is where it
// is printable UTF-8 and cannot be taken for a quoted one, else as a Go string
// literal, which says every byte and which strconv.Unquote reads. A terminal
// can print it safely.
func Quote(b []byte) string {
	if len(b) == 0 || b[0] == '"' || !utf8.Valid(b) {
		return strconv.Quote(string(b))
	}
	for _, r := range string(b) {
		if !strconv.IsPrint(r) {
			return strconv.Quote(string(b))
		}
	}
	return string(b)
}

// Unquote reads what Quote gave.
func Unquote(s string) ([]byte, error) {
	if len(s) == 0 || s[0] != '"' {
		return []byte(s), nil
	}
	t, err := strconv.Unquote(s)
	if err != nil {
		return nil, fmt.Errorf("not a quoted key: %w", err)
	}
	return []byte(t), nil
}

// Abridge is Quote for people: what is longer than max bytes is cut at a
// character, and followed by its length.
func Abridge(b []byte, max int) string {
	if len(b) <= max {
		return Quote(b)
	}
	cut := max
	for i := max; i > max-utf8.UTFMax && i >= 0; i-- {
		if utf8.RuneStart(b[i]) {
			cut = i
			break
		}
	}
	return Quote(b[:cut]) + fmt.Sprintf("… (%d bytes)", len(b))
}
