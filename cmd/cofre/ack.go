package main

import (
	"bytes"
	"io"
	"os"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
)

// An ackFile holds the keys of committed batches, one a line: as they are, or
// as a Go string literal where they are not printable text. Lines are written
// after their batch's commit has returned, in one write a batch and unbuffered;
// so after a kill the file holds committed keys alone, and perhaps a last line
// that lacks its end. A nil ackFile takes nothing.
type ackFile struct{ f *os.File }

// openAck opens the file at path for appending; "" is none.
func openAck(path string) (*ackFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := dropTornLine(f); err != nil {
		f.Close()
		return nil, err
	}
	return &ackFile{f}, nil
}

// dropTornLine cuts a last line without an end, which a killed run may have
// left. Completed by what comes next, it would name a key that nobody wrote.
func dropTornLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	end := info.Size()
	buf := make([]byte, 4096)
	for at := end; at > 0; {
		n := min(at, int64(len(buf)))
		at -= n
		if _, err := f.ReadAt(buf[:n], at); err != nil && err != io.EOF {
			return err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			if whole := at + int64(i) + 1; whole < end {
				return f.Truncate(whole)
			}
			return nil
		}
	}
	if end > 0 {
		return f.Truncate(0)
	}
	return nil
}

// line appends the line of a key to lines.
func (a *ackFile) line(lines, key []byte) []byte {
	if a == nil {
		return lines
	}
	return append(append(lines, records.Quote(key)...), '\n')
}

// write appends whole lines.
func (a *ackFile) write(lines []byte) error {
	if a == nil || len(lines) == 0 {
		return nil
	}
	_, err := a.f.Write(lines)
	return err
}

func (a *ackFile) close() error {
	if a == nil {
		return nil
	}
	return a.f.Close()
}
