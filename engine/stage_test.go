package engine

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestStage: what a stage has is whole, or is not there; it has what it was told to keep;
// and a name leads nowhere else.
func TestStage(t *testing.T) {
	t.Parallel()
	s := memStore(t, nil)
	other := memStore(t, nil)
	id := keyring.NewID()
	g, err := s.Stage(id)
	require.NoError(t, err)
	_, err = s.Stage(id)
	require.ErrorIs(t, err, ErrStageBusy)
	put := func(name, text string, fails error) error {
		return g.Put(name, func(f vfs.File) error {
			_, err := f.Write([]byte(text))
			return errors.Join(err, fails)
		})
	}
	read := func(name string) (string, error) {
		f, err := g.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b := make([]byte, 100)
		n, _ := f.ReadAt(b, 0)
		return string(b[:n]), nil
	}
	require.NoError(t, put("000001.sst", "one", nil))
	require.NoError(t, put("000002.sst", "two", nil))
	damaged := errors.New("it is not what the index says")
	require.ErrorIs(t, put("000003.sst", "thr", damaged), damaged)
	_, err = read("000003.sst")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, put("000001.sst", "bad", damaged), damaged)
	text, err := read("000001.sst")
	require.NoError(t, err)
	require.Equal(t, "one", text)
	names, err := s.fs.List(g.dir)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"000001.sst", "000002.sst"}, names, "nothing of what failed is left")
	for _, name := range []string{"", ".", "..", "../escaped", "a/b", `a\b`} {
		require.Error(t, put(name, "x", nil), name)
		_, err = read(name)
		require.Error(t, err, name)
	}
	require.NoError(t, s.fs.MkdirAll(s.fs.PathJoin(g.dir, "folder"), 0o700))
	_, err = read("folder")
	require.Error(t, err)
	require.NoError(t, g.Keep(map[string]bool{"000002.sst": true}))
	names, err = s.fs.List(g.dir)
	require.NoError(t, err)
	require.Equal(t, []string{"000002.sst"}, names)

	// Another store's stage is not taken over.
	tab := memTable(t, s, "a.b")
	err = tab.WithKeys(t.Context(), func(keys *keyring.TableKeys) error {
		_, err := other.RestoreTable(t.Context(), "c.d", RestoreOptions{}, RestoreSource{Stage: g, Keys: keys})
		return err
	})
	require.ErrorContains(t, err, "a stage of its store")
	g.Close()
	g, err = s.Stage(id)
	require.NoError(t, err)
	text, err = read("000002.sst")
	require.NoError(t, err)
	require.Equal(t, "two", text, "it outlives its Close")
	require.NoError(t, g.Discard())
}

// TestWithKeysWipes: keys that a call is lent are wiped when it returns.
func TestWithKeysWipes(t *testing.T) {
	t.Parallel()
	tab := memTable(t, memStore(t, nil), "a.b")
	var lent *keyring.TableKeys
	require.NoError(t, tab.WithKeys(t.Context(), func(keys *keyring.TableKeys) error {
		lent = keys
		_, err := keys.NewDataKey(keyring.NewID())
		return err
	}))
	_, err := lent.NewDataKey(keyring.NewID())
	require.ErrorIs(t, err, keyring.ErrKeysWiped)
}

// TestRestoreKeepsOptions: a restored table is compressed, or not, as the table was that was
// held, and has its schedule.
func TestRestoreKeepsOptions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	root := newMemRoot("a")
	opts := crashOptions(root, vfs.NewCrashableMem())
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{NoCompression: true, SeparateValuesFrom: 512})
	require.NoError(t, err)
	schedule := Schedule{KeyAge: 1000 * time.Hour, DataAge: 2000 * time.Hour}
	require.NoError(t, tab.SetSchedule(ctx, schedule))
	putRows(t, tab, 0, 10)
	h := hold(t, tab)
	r, err := s.RestoreTable(ctx, "restored.one", RestoreOptions{}, source(t, stage(t, s, h), h, root))
	require.NoError(t, err)
	m, err := r.metadata(ctx)
	require.NoError(t, err)
	require.True(t, m.noCompression)
	require.Equal(t, 512, m.separateFrom)
	require.Equal(t, schedule, m.schedule)
}

// TestRestoreLogFails: where a batch of the log cannot be had, or not be applied, there is no
// table.
func TestRestoreLogFails(t *testing.T) {
	t.Parallel()
	s, tab, opts, _ := heldStore(t)
	defer func() { require.NoError(t, s.Close()) }()
	h := hold(t, tab)
	gone := errors.New("gone")
	for what, c := range map[string]struct {
		b     ArchivedBatch
		err   error
		class error
	}{
		"not to be had": {err: gone, class: gone},
		"too short":     {b: ArchivedBatch{Repr: []byte("x"), Count: 1}, class: ErrCorruption},
		"of more operations than it has": {
			b: ArchivedBatch{Repr: append(make([]byte, 8), 2, 0, 0, 0, 0, 1, 'k'), Count: 2}, class: ErrCorruption,
		},
		"of another kind": {
			b: ArchivedBatch{Repr: append(make([]byte, 8), 1, 0, 0, 0, 2, 1, 'k', 1, 'v'), Count: 1}, class: ErrUnknownOperation,
		},
	} {
		src := source(t, stage(t, s, h), h, opts.RootKey)
		src.Log = func(yield func(ArchivedBatch, error) bool) { yield(c.b, c.err) }
		_, err := s.RestoreTable(t.Context(), "restored.one", RestoreOptions{}, src)
		require.ErrorIs(t, err, c.class, what)
		require.Len(t, s.Tables(), 1, what)
	}
}

// TestRestoreBounds: what is restored is what all of From, To and Prefix allow.
func TestRestoreBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, prefix, wantFrom, wantTo string }{
		{"", "", "b", "b", "c"},
		{"a", "", "b", "b", "c"},
		{"b5", "", "b", "b5", "c"},
		{"", "d", "b", "b", "c"},
		{"", "b7", "b", "b", "b7"},
		{"b5", "d", "b", "b5", "c"},
		{"", "", "\xff", "\xff", ""},
		{"a", "d", "", "a", "d"},
	} {
		r := RestoreSource{Prefix: []byte(c.prefix)}
		if c.from != "" {
			r.From = []byte(c.from)
		}
		if c.to != "" {
			r.To = []byte(c.to)
		}
		from, to, err := r.bounds()
		require.NoError(t, err, "%+v", c)
		require.Equal(t, c.wantFrom, string(from), "%+v", c)
		require.Equal(t, c.wantTo, string(to), "%+v", c)
	}
	for _, r := range []RestoreSource{
		{From: []byte("b"), To: []byte("b")},
		{From: []byte("c"), Prefix: []byte("b")},
		{To: []byte("b"), Prefix: []byte("b")},
	} {
		_, _, err := r.bounds()
		require.Error(t, err)
	}
}
