package ctrfs

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is an open file. As for any vfs.File, one goroutine writes, or reads in
// sequence; ReadAt may be called by many.
type file struct {
	vfs.File
	block  cipher.Block
	nonce  [nonceLen]byte
	begun  bool          // there is a nonce
	sealed bool          // there was content at open: nothing may be written
	stream cipher.Stream // at the place of the next Read or Write; nil at the beginning
}

// begin writes a new nonce.
func (f *file) begin() error {
	if _, err := rand.Read(f.nonce[:]); err != nil {
		return err
	}
	nonce := f.nonce // Write may change what it gets
	if _, err := f.File.Write(nonce[:]); err != nil {
		return err
	}
	f.begun = true
	return nil
}

// streamAt is the key stream from a place in the content on.
func (f *file) streamAt(off int64) cipher.Stream {
	var counter [nonceLen]byte
	lo, carry := bits.Add64(binary.BigEndian.Uint64(f.nonce[8:]), uint64(off)/nonceLen, 0)
	binary.BigEndian.PutUint64(counter[8:], lo)
	binary.BigEndian.PutUint64(counter[:], binary.BigEndian.Uint64(f.nonce[:])+carry)
	stream := cipher.NewCTR(f.block, counter[:])
	if skip := off % nonceLen; skip > 0 {
		var drop [nonceLen]byte
		stream.XORKeyStream(drop[:skip], drop[:skip])
	}
	return stream
}

// Write encrypts b in place, as it may, and appends it.
func (f *file) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if f.sealed {
		return 0, fmt.Errorf("ctrfs: write to a file that has content: %w", errors.ErrUnsupported)
	}
	if !f.begun {
		if err := f.begin(); err != nil {
			return 0, err
		}
	}
	if f.stream == nil {
		f.stream = f.streamAt(0)
	}
	f.stream.XORKeyStream(b, b)
	return f.File.Write(b)
}

func (f *file) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("ctrfs: write in place: %w", errors.ErrUnsupported)
}

// Read reads in sequence. The place in the file is past the nonce since open.
func (f *file) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	if n > 0 {
		if f.stream == nil {
			f.stream = f.streamAt(0)
		}
		f.stream.XORKeyStream(b[:n], b[:n])
	}
	return n, err
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("ctrfs: read at %d", off)
	}
	n, err := f.File.ReadAt(b, off+nonceLen)
	if n > 0 {
		f.streamAt(off).XORKeyStream(b[:n], b[:n])
	}
	return n, err
}

func (f *file) Stat() (vfs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return info{fi}, nil
}

func (f *file) Preallocate(off, length int64) error {
	return f.File.Preallocate(off+nonceLen, length)
}

func (f *file) SyncTo(length int64) (bool, error) { return f.File.SyncTo(length + nonceLen) }

func (f *file) Prefetch(off, length int64) error { return f.File.Prefetch(off+nonceLen, length) }
