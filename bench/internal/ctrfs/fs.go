// Package ctrfs is a file system that encrypts what lies on it with AES-256 in
// counter mode and authenticates nothing: the cheapest encryption at rest that
// there is below a store, kept here to be measured against. It keeps rows from
// being read on disk. It does not keep them from being changed there: a flipped
// bit on disk is a flipped bit of the plaintext. No store that matters belongs
// on it.
//
// A file is
//
//	16  nonce, random: the counter of the first block
//	    the content, each byte xored with the key stream
//
// The nonce is written with the first byte of content, so an empty file stays
// empty. Names, sizes and directories are in the clear.
//
// A file is written once, from its beginning to its end. One that is reused
// gets a new nonce, for two contents under one key stream tell their
// difference. WriteAt, and writing to a file that has content, are refused.
package ctrfs

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// KeyLen is the length of a key in bytes.
const KeyLen = 32

const nonceLen = aes.BlockSize

// An FS encrypts the content of files of the file system below it.
type FS struct {
	vfs.FS
	block cipher.Block
}

// New returns a file system on base with the key, of KeyLen bytes.
func New(base vfs.FS, key []byte) (*FS, error) {
	if len(key) != KeyLen {
		return nil, fmt.Errorf("ctrfs: the key has %d bytes, not %d", len(key), KeyLen)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return &FS{FS: base, block: block}, nil
}

// Unwrap returns the file system below.
func (s *FS) Unwrap() vfs.FS { return s.FS }

// Create makes an empty file and opens it for reading and writing.
func (s *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &file{File: f, block: s.block}, nil
}

// Open opens a file for reading.
func (s *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return s.existing(f, name)
}

// OpenReadWrite opens a file for reading, and for writing as long as it is
// empty.
func (s *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, err
	}
	return s.existing(f, name)
}

// existing reads the nonce of a file that has one.
func (s *FS) existing(base vfs.File, name string) (vfs.File, error) {
	fi, err := base.Stat()
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	f := &file{File: base, block: s.block}
	if fi.IsDir() || fi.Size() == 0 {
		return f, nil
	}
	if _, err := io.ReadFull(base, f.nonce[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("ctrfs: %s has no nonce: %w", name, err), base.Close())
	}
	f.begun, f.sealed = true, true
	return f, nil
}

// ReuseForWrite renames a file and opens it for writing with a new nonce. What
// it held is noise from then on: it opens under no nonce that is on disk.
func (s *FS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	base, err := s.FS.ReuseForWrite(oldname, newname, c)
	if err != nil {
		return nil, err
	}
	f := &file{File: base, block: s.block}
	if err := f.begin(); err != nil {
		return nil, errors.Join(err, base.Close())
	}
	return f, nil
}

// Stat tells of a file; its size is that of the content.
func (s *FS) Stat(name string) (vfs.FileInfo, error) {
	fi, err := s.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	return info{fi}, nil
}

// info is a file's with the size of its content.
type info struct{ vfs.FileInfo }

func (i info) Size() int64 {
	if i.IsDir() {
		return i.FileInfo.Size()
	}
	return max(0, i.FileInfo.Size()-nonceLen)
}
