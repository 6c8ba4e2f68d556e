package backup

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/lease"
)

// TestCopyDamaged: what is damaged is not copied as if it were whole, and what lies in the
// place of a copy with other bytes is put right.
func TestCopyDamaged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 100)
	b := w.create(CreateOptions{}).Backup
	path := filepath.Join(t.TempDir(), "copy")
	st, err := dir.Open(path, dir.Options{Create: true})
	require.NoError(t, err)
	defer st.Close()
	to, err := Open(ctx, st, Options{Create: true})
	require.NoError(t, err)
	copied := &world{t: t, storage: st, repo: to, root: w.root, dir: path}

	object := w.objects(dataPrefix)[0]
	flip(t, w.path(object), -1)
	_, err = w.repo.CopyTo(ctx, to, CopyOptions{})
	require.ErrorIs(t, err, ErrCorruption)
	require.Empty(t, copied.objects(backupsPrefix))
	require.NotContains(t, copied.objects(dataPrefix), object)
	flip(t, w.path(object), -1)

	for _, n := range []string{object, w.objects(lockboxPrefix)[0], indexName(b.Name, b.Tables[0].Table)} {
		whole, err := os.ReadFile(w.path(n))
		require.NoError(t, err)
		whole[len(whole)-1] ^= 1
		require.NoError(t, os.MkdirAll(filepath.Dir(copied.path(n)), 0o700))
		require.NoError(t, os.WriteFile(copied.path(n), whole, 0o600))
	}
	_, err = w.repo.CopyTo(ctx, to, CopyOptions{})
	require.NoError(t, err)
	copied.verify()
}

// TestWriteWithoutLease: what was done under a lease that somebody took is not reported as
// done.
func TestWriteWithoutLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := w.repo.write(t.Context(), "test", func(ctx context.Context) error { return w.storage.Delete(ctx, lockName) })
	require.ErrorIs(t, err, lease.ErrLost)
}

// TestCreateNotEmpty: no repository is made among other objects.
func TestCreateNotEmpty(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, "letter"), []byte("x"), 0o600))
	st, err := dir.Open(path, dir.Options{})
	require.NoError(t, err)
	defer st.Close()
	_, err = Open(t.Context(), st, Options{Create: true})
	require.ErrorIs(t, err, ErrNotEmpty)
	require.NoFileExists(t, filepath.Join(path, repositoryName))
}
