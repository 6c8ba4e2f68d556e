package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestNoteBackups refuses to retire a version that a repository's backups need, over a
// restart, until it is told that they do not any more.
func TestNoteBackups(t *testing.T) {
	t.Parallel()
	s, tab, opts, dir := heldStore(t)
	repo := keyring.NewID()
	at := time.Now()
	require.NoError(t, tab.NoteBackups(t.Context(), BackupNote{Repository: repo, Location: "/backups", Versions: []uint32{2, 1, 1}, At: at}))
	generation := s.ring.Generation()
	require.NoError(t, tab.NoteBackups(t.Context(), BackupNote{Repository: repo, Location: "/backups", Versions: []uint32{1, 2}, At: at}))
	require.NoError(t, tab.NoteBackups(t.Context(), BackupNote{Repository: keyring.NewID()}))
	require.Equal(t, generation, s.ring.Generation()) // it knew
	require.NoError(t, tab.RotateKey(t.Context()))
	require.NoError(t, s.Close())

	s = openStore(t, dir, opts)
	tab, err := s.Table("clinic.patients")
	require.NoError(t, err)
	list, err := tab.Backups(t.Context())
	require.NoError(t, err)
	require.Equal(t, []BackupNote{{Repository: repo, Location: "/backups", Versions: []uint32{1, 2}, At: at.UTC().Round(0)}}, list)
	var needed *NeededError
	require.ErrorAs(t, tab.RetireKey(t.Context(), 1), &needed)
	require.Equal(t, []string{"backups in /backups"}, needed.By)
	require.NoError(t, tab.NoteBackups(t.Context(), BackupNote{Repository: repo}))
	require.NoError(t, tab.RetireKey(t.Context(), 1))
}

// TestNoteTooMuch refuses a note that the table's metadata could not be read with: a
// repository is not trusted.
func TestNoteTooMuch(t *testing.T) {
	t.Parallel()
	s, tab, opts, dir := heldStore(t)
	n := BackupNote{Repository: keyring.NewID()}
	for v := range uint32(keyring.MaxVersions + 1) {
		n.Versions = append(n.Versions, v+1)
	}
	require.Error(t, tab.NoteBackups(t.Context(), n))
	require.NoError(t, s.Close())
	s = openStore(t, dir, opts)
	tab, err := s.Table("clinic.patients")
	require.NoError(t, err)
	_, err = tab.Get([]byte("000001"))
	require.NoError(t, err)
}
