package sealfs

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// openHook calls behind, once, when a file was opened.
type openHook struct {
	vfs.FS
	behind func()
}

func (h *openHook) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.Open(name, opts...)
	if behind := h.behind; behind != nil && err == nil {
		h.behind = nil
		behind()
	}
	return f, err
}

// TestResealRemoved has Pebble remove a table between its opening and the look into the
// file map: it is gone, and not foreign.
func TestResealRemoved(t *testing.T) {
	t.Parallel()
	hook := &openHook{FS: vfs.NewMem()}
	fs := newTable(t, 256).over(hook)
	require.NoError(t, fs.MkdirAll("t", 0o700))
	name := fs.PathJoin("t", "000007.sst")
	writeFile(t, fs, name, []byte("a table"))
	hook.behind = func() { require.NoError(t, fs.Remove(name)) }
	require.ErrorIs(t, fs.Reseal("t", "000007.sst", nil), ErrGone)
	writeFile(t, fs, name, []byte("a table"))
	hook.behind = func() { require.NoError(t, fs.Remove(name)) }
	require.ErrorIs(t, fs.Sealed("t", "000007.sst"), ErrGone)
}
