package system

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// copiedPebble is plain Pebble, with backups that are copies of checkpoints: what costs
// least where nothing is checked and nothing shared.
type copiedPebble struct {
	*plainPebble
	dir string
}

var _ Backer = (*copiedPebble)(nil)

func (s *copiedPebble) Backup(ctx context.Context) error {
	checkpoint, backup := filepath.Join(s.dir, "checkpoint"), filepath.Join(s.dir, "backup")
	if err := errors.Join(os.RemoveAll(checkpoint), os.RemoveAll(backup)); err != nil {
		return err
	}
	if err := s.db.Checkpoint(checkpoint, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	return errors.Join(copyTree(ctx, backup, checkpoint), os.RemoveAll(checkpoint))
}

func (s *copiedPebble) Restore(ctx context.Context) error {
	path := filepath.Join(s.dir, "restored")
	return errors.Join(copyTree(ctx, path, filepath.Join(s.dir, "backup")), os.RemoveAll(path))
}

// copyTree copies a directory of files, one after the other, and syncs each when all are
// copied, as cp and sync do.
func copyTree(ctx context.Context, to, from string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	var written []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || !e.Type().IsRegular() {
			return err
		}
		target := filepath.Join(to, e.Name())
		written = append(written, target)
		return copyFile(target, path)
	})
	if err != nil {
		return err
	}
	for _, path := range append(written, to) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
