package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/recovery"
)

// maxRecoveryFile bounds the file of recovery recipients, in bytes.
const maxRecoveryFile = 64 << 10

// recoveryPath is the file that holds the public keys of recovery keys: what
// --recovery names, or recovery.pub beside the key service's default file. chosen
// tells which.
func (a *app) recoveryPath() (path string, chosen bool, err error) {
	if a.recovery != "" {
		return a.recovery, true, nil
	}
	if a.keys != "" {
		return filepath.Join(filepath.Dir(a.keys), "recovery.pub"), false, nil
	}
	path, err = local.DefaultPath()
	return filepath.Join(filepath.Dir(path), "recovery.pub"), false, err
}

// recipients reads the recovery keys that are configured. They are pins as --key
// names some: a table's key is wrapped to no other.
func (a *app) recipients() ([]*recovery.Recipient, error) {
	path, chosen, err := a.recoveryPath()
	if err != nil { // this machine has no place for it by default
		return nil, nil
	}
	rs, err := readRecipients(path)
	if errors.Is(err, fs.ErrNotExist) && (!chosen || a.recoveryMade) {
		return nil, nil
	}
	if err != nil {
		return nil, &failure{exitKey, err, "the file holds public keys of recovery keys, and only its owner may write to it (chmod 600); --recovery names another"}
	}
	return rs, nil
}

// readRecipients reads a file that only its owner may write to: who could would plant
// a key of his own.
func readRecipients(path string) ([]*recovery.Recipient, error) {
	info, err := os.Stat(path) // first: opening a FIFO would hang
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("recovery file %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode.Perm()&0o022 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("recovery file %s: others may write to it (mode %04o)", path, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRecoveryFile+1))
	if err != nil {
		return nil, fmt.Errorf("recovery file: %w", err)
	}
	rs, err := recovery.ParseRecipients(text)
	if err != nil {
		return nil, fmt.Errorf("recovery file %s: %w", path, err)
	}
	return rs, nil
}

// keepRecipient adds a recovery key to the file of them, durably. If we crash, the
// file is that of before or that of after.
func (a *app) keepRecipient(r *recovery.Recipient) (path string, err error) {
	path, _, err = a.recoveryPath()
	if err != nil {
		return "", err
	}
	rs, err := readRecipients(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(rs) >= recovery.MaxRecipients {
		return "", fmt.Errorf("recovery file %s: it has %d keys, and takes no more: name another with --recovery", path, len(rs))
	}
	var b bytes.Buffer
	for _, r := range append(slices.Clone(rs), r) {
		text, err := r.MarshalText()
		if err != nil {
			return "", err
		}
		b.Write(text)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, syncDir(dir)
}
