package hole

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A brittle FS fails what is asked of it.
type brittle struct {
	vfs.FS
	fail map[string]error
}

func (b *brittle) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := b.fail["create"]; err != nil {
		return nil, err
	}
	f, err := b.FS.Create(name, c)
	return &brittleFile{f, b}, err
}

func (b *brittle) Link(oldname, newname string) error {
	return errors.Join(b.fail["link"], b.FS.Link(oldname, newname))
}

func (b *brittle) Remove(name string) error {
	return errors.Join(b.fail["remove"], b.FS.Remove(name))
}

func (b *brittle) List(dir string) ([]string, error) {
	if err := b.fail["list"]; err != nil {
		return nil, err
	}
	return b.FS.List(dir)
}

type brittleFile struct {
	vfs.File
	b *brittle
}

func (f *brittleFile) Write(p []byte) (int, error) {
	if err := f.b.fail["write"]; err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *brittleFile) Sync() error { return errors.Join(f.b.fail["sync"], f.File.Sync()) }

func (f *brittleFile) Stat() (vfs.FileInfo, error) {
	if err := f.b.fail["stat"]; err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *brittleFile) Abort() error {
	f.b.fail["aborted"] = errors.New("yes")
	return f.File.Close()
}

func newBrittle() (*brittle, *FS, *[]error) {
	b := &brittle{FS: vfs.NewMem(), fail: make(map[string]error)}
	var trips []error
	return b, New(b, func(err error) { trips = append(trips, err) }), &trips
}

func create(t *testing.T, fs vfs.FS, name string) vfs.File {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	return f
}

// TestEachFailureTrips fails each change once: it is reported as a success,
// and the FS has tripped, with that error and no later one.
func TestEachFailureTrips(t *testing.T) {
	t.Parallel()
	for op, do := range map[string]func(*testing.T, *FS, vfs.File) error{
		"create": func(t *testing.T, fs *FS, _ vfs.File) error {
			_, err := fs.Create("new", vfs.WriteCategoryUnspecified)
			return err
		},
		"write":  func(t *testing.T, _ *FS, f vfs.File) error { _, err := f.Write([]byte("x")); return err },
		"sync":   func(t *testing.T, _ *FS, f vfs.File) error { return f.Sync() },
		"link":   func(t *testing.T, fs *FS, _ vfs.File) error { return fs.Link("f", "g") },
		"remove": func(t *testing.T, fs *FS, _ vfs.File) error { return fs.Remove("f") },
		"stat":   func(t *testing.T, _ *FS, f vfs.File) error { _, err := f.Stat(); return err },
		"list":   func(t *testing.T, fs *FS, _ vfs.File) error { _, err := fs.List(""); return err },
	} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			b, fs, trips := newBrittle()
			f := create(t, fs, "f")
			b.fail[op] = syscall.EIO
			require.NoError(t, do(t, fs, f))
			require.ErrorIs(t, fs.Err(), syscall.EIO)
			fs.Trip(syscall.ENOSPC)
			require.Equal(t, []error{fs.Err()}, *trips)
		})
	}
}

// TestInTheHole wants a tripped FS to report success and to touch nothing.
func TestInTheHole(t *testing.T) {
	t.Parallel()
	b, fs, _ := newBrittle()
	f := create(t, fs, "f")
	_, err := f.Write([]byte("before"))
	require.NoError(t, err)
	fs.Trip(syscall.EIO)

	for range 2 {
		n, err := f.Write([]byte("after"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	require.NoError(t, f.Sync())
	require.NoError(t, f.SyncData())
	require.NoError(t, fs.Remove("f"))
	require.NoError(t, fs.RemoveAll("f"))
	require.NoError(t, fs.Rename("f", "g"))
	require.NoError(t, fs.Link("f", "h"))
	require.NoError(t, fs.MkdirAll("d", 0o700))
	s := create(t, fs, "sink")
	n, err := s.Write([]byte("nothing"))
	require.NoError(t, err)
	require.Equal(t, 7, n)
	fi, err := s.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 7, fi.Size())
	require.NoError(t, errors.Join(s.Sync(), s.Close()))
	d, err := fs.OpenDir("")
	require.NoError(t, err)
	require.NoError(t, errors.Join(d.Sync(), d.Close()))

	// Reads fail with the error, and no read gets the end of a file.
	_, err = fs.Open("f")
	require.ErrorIs(t, err, syscall.EIO)
	_, err = fs.Stat("f")
	require.ErrorIs(t, err, syscall.EIO)
	for _, r := range []io.Reader{f, s} {
		_, err = r.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.EIO)
	}
	names, err := fs.List("")
	require.NoError(t, err)
	require.Empty(t, names)

	require.NoError(t, f.Close())
	require.Error(t, b.fail["aborted"], "the file was finished")
	names, err = b.FS.List("")
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names)
	g, err := b.FS.Open("f")
	require.NoError(t, err)
	content, err := io.ReadAll(g)
	require.NoError(t, err)
	require.Equal(t, "before", string(content))
}

// TestNoFault lists what fails without being a fault of the disk.
func TestNoFault(t *testing.T) {
	t.Parallel()
	b, fs, _ := newBrittle()
	create(t, fs, "f")
	require.ErrorIs(t, fs.Remove("none"), os.ErrNotExist)
	b.fail["link"] = ErrNoLink
	require.ErrorIs(t, fs.Link("f", "g"), ErrNoLink)
	_, err := fs.List("none")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = fs.Open("none")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, fs.Err())
}

// TestWriteAllocates wants a write that succeeds to allocate nothing here. It is
// not parallel: AllocsPerRun counts those of the whole process.
func TestWriteAllocates(t *testing.T) {
	fs := New(vfs.NewMem(), nil)
	require.Zero(t, testing.AllocsPerRun(100, func() { fs.Trip(nil) }))
}
