package storage

import (
	"fmt"
	"strings"
)

// Bounds of names, in bytes. An S3 key has at most 1024, of which half is left
// to the prefix of the repository; a file's name has 255 on most file systems,
// of which some are left to names of temporary files.
const (
	MaxName    = 512
	MaxElement = 200
)

// CheckName tells whether an object can have this name. The error is [ErrName].
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: %d bytes, not 1 to %d", ErrName, len(name), MaxName)
	}
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case element == "":
			return fmt.Errorf("%w: an element is empty", ErrName)
		case len(element) > MaxElement:
			return fmt.Errorf("%w: an element has %d bytes, the limit is %d", ErrName, len(element), MaxElement)
		case element[0] == '.' || element[len(element)-1] == '.':
			return fmt.Errorf("%w: an element begins or ends with a dot", ErrName)
		}
	}
	return checkBytes(name)
}

// CheckPrefix tells whether names can begin with prefix; all begin with "".
// The error is [ErrName].
func CheckPrefix(prefix string) error {
	folder, last := "", prefix
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		folder, last = prefix[:i], prefix[i+1:]
		if err := CheckName(folder); err != nil {
			return err
		}
	}
	if len(prefix) > MaxName || len(last) > MaxElement || strings.HasPrefix(last, ".") {
		return fmt.Errorf("%w: no name begins like this", ErrName)
	}
	return checkBytes(last)
}

func checkBytes(s string) error {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '/':
		default:
			return fmt.Errorf("%w: byte 0x%02x at %d", ErrName, c, i)
		}
	}
	return nil
}
