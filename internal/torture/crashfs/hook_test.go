package crashfs

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// someOps are an operation of every kind that changes something.
func someOps(t testing.TB, fs *FS) {
	require.NoError(t, fs.MkdirAll("/d//e/", 0o700))
	require.NoError(t, fs.MkdirAll("d/e", 0o755))
	f, err := fs.Create("d/e/f", "")
	require.NoError(t, err)
	_, err = f.Write([]byte("abc"))
	require.NoError(t, err)
	_, err = f.Write(nil)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("d"), 3)
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(0, 1000))
	require.NoError(t, f.SyncData())
	_, err = f.SyncTo(1)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	d, err := fs.OpenDir("d")
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	_, err = d.SyncTo(1)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, fs.Link("d/e/f", "g"))
	require.NoError(t, fs.Rename("g", "h"))
	require.NoError(t, fs.Rename("h", "d/e/f")) // two names of one file
	f, err = fs.ReuseForWrite("h", "i", "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	f, err = fs.Create("i", "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	l, err := fs.Lock("LOCK")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l, err = fs.Lock("LOCK")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoError(t, fs.Remove("i"))
	require.ErrorIs(t, fs.Remove("i"), os.ErrNotExist)
	require.NoError(t, fs.RemoveAll("d"))
	require.NoError(t, fs.RemoveAll("d"))
}

// TestOps holds what is counted, and in which order, to a list.
func TestOps(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	var ops []string
	fs.OnOp(func(n int, op Op) {
		require.Equal(t, len(ops)+1, n)
		require.Equal(t, n, fs.Ops())
		ops = append(ops, op.String())
	})
	someOps(t, fs)
	require.Equal(t, strings.Split(`mkdir /d
mkdir /d/e
create d/e/f
write d/e/f 0+3
write d/e/f 3+1
preallocate d/e/f 0+1000
syncdata d/e/f
syncto d/e/f
sync d/e/f
syncdir d
link d/e/f to g
rename g to h
rename h to i
remove i
create i
create LOCK
remove i
remove d/e/f
remove d/e
remove d`, "\n"), ops)
	require.Equal(t, "/LOCK 0 00000000\n", fs.String())
}

// TestFailEach fails each operation in turn: that one fails, and what it was to
// change stays.
func TestFailEach(t *testing.T) {
	t.Parallel()
	for _, fault := range []Fault{EIO, ENOSPC, EROFS} {
		whole := New(Options{})
		var trees []string
		var kinds []Kind
		whole.OnOp(func(_ int, op Op) { trees, kinds = append(trees, whole.String()), append(kinds, op.Kind) })
		someOps(t, whole)
		for n := 2; n <= len(trees); n++ {
			fs := New(Options{})
			fs.FailOp(n, fault, true)
			var failed []Op
			fs.OnOp(func(_ int, op Op) {
				if op.Err != nil {
					failed = append(failed, op)
				}
			})
			func() {
				defer func() { _ = recover() }()
				someOps(&stopper{TB: t}, fs)
			}()
			if !fault.Hits(kinds[n-1]) {
				continue
			}
			require.Len(t, failed, fs.Faults())
			require.NotEmpty(t, failed)
			require.Equal(t, kinds[n-1], failed[0].Kind)
			require.ErrorIs(t, failed[0].Err, fault.err())
			if fault != ENOSPC { // under which removals go on
				require.Equal(t, trees[n-2], fs.String())
			}
			fs.Heal()
			require.NoError(t, fs.MkdirAll("healed", 0o755))
		}
	}
}

// A stopper is a test that may fail: it panics.
type stopper struct{ testing.TB }

func (*stopper) Errorf(string, ...any) {}
func (*stopper) FailNow()              { panic("stop") }

func TestFaultOnce(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	f, err := fs.Create("f", "")
	require.NoError(t, err)
	fs.FailOp(3, EIO, false)
	fs.FailOp(5, FailedSyncPagesClean, false) // a write, which it does not hit
	p := []byte("x")
	for n := 2; n < 8; n++ {
		_, err := f.Write(p)
		require.Equal(t, n, fs.Ops())
		if n == 3 {
			require.ErrorIs(t, err, syscall.EIO)
		} else {
			require.NoError(t, err)
		}
	}
	require.Equal(t, 1, fs.Faults())
	require.Equal(t, "xxxxx", contents(t, fs, "f"))
}

func TestInject(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	f, err := fs.Create("a.log", "")
	require.NoError(t, err)
	fs.Inject(func(_ int, op Op) Fault {
		switch {
		case strings.HasSuffix(op.Path, ".log") && op.Kind == OpSync:
			return EROFS
		case op.Kind == OpWrite && op.Off == 1:
			return ShortWrite
		case op.Kind == OpRead:
			return ReadEIO
		}
		return ENOSPC // which hits all but removals
	})
	require.ErrorIs(t, f.Sync(), syscall.EROFS)
	n, err := f.WriteAt([]byte("abcde"), 1)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, io.ErrShortWrite)
	_, err = f.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.EIO)
	_, err = f.Stat()
	require.NoError(t, err)
	require.True(t, vfs.IsNoSpaceError(fs.Link("a.log", "b")))
	require.NoError(t, fs.Remove("a.log"))
	require.Equal(t, 4, fs.Faults())
	fs.Inject(nil)
	require.NoError(t, f.Sync())
}

// TestReadFaults fails each operation that changes nothing.
func TestReadFaults(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	f, err := fs.Create("f", "")
	require.NoError(t, err)
	_, err = f.Write([]byte("abc"))
	require.NoError(t, err)
	reads := []func() error{
		func() error { _, err := fs.Open("f"); return err },
		func() error { _, err := fs.OpenDir("/"); return err },
		func() error { _, err := fs.OpenReadWrite("f", ""); return err },
		func() error { _, err := fs.List("/"); return err },
		func() error { _, err := fs.Stat("f"); return err },
		func() error { _, err := f.Stat(); return err },
		func() error { _, err := f.ReadAt(make([]byte, 3), 0); return err },
		func() error { _, err := fs.GetDiskUsage("/"); return err },
	}
	for i := range reads {
		at := fs.Reads() + i + 1
		fs.FailOp(at, ReadEIO, false)
		for j, read := range reads {
			if i == j {
				require.ErrorIs(t, read(), syscall.EIO)
			} else {
				require.NoError(t, read())
			}
		}
		require.Equal(t, i+1, fs.Faults())
	}
	require.Equal(t, 2, fs.Ops())
	fs.FailOp(1, ReadEIO, true)
	for _, read := range reads {
		require.ErrorIs(t, read(), syscall.EIO)
	}
	fs.Heal()
	require.Equal(t, "abc", contents(t, fs, "f"))
}

// TestCapture captures every operation three ways, which agree.
func TestCapture(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	var hook []*Moment
	var crashes []string
	fs.OnOp(func(int, Op) {
		hook = append(hook, fs.Moment())
		crashes = append(crashes, fs.Crash(nil, AllKept).String())
	})
	fs.CaptureAt(3, 1, 1000, 12)
	someOps(t, fs)
	require.Len(t, hook, fs.Ops())
	captured := fs.Captured()
	require.Len(t, captured, 3)
	for i, n := range []int{1, 3, 12} {
		require.Equal(t, n, captured[i].Op())
		require.Equal(t, n, hook[n-1].Op())
		for _, style := range Styles() {
			a := captured[i].Crash(rand.New(rand.NewPCG(1, 2)), style)
			b := hook[n-1].Crash(rand.New(rand.NewPCG(1, 2)), style)
			require.Equal(t, a.String(), b.String())
			require.Zero(t, a.Ops())
			require.Zero(t, a.Reads())
		}
		require.Equal(t, crashes[n-1], captured[i].Crash(nil, AllKept).String())
	}
}

// TestErrors holds errors to what callers look for.
func TestErrors(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	require.NoError(t, fs.MkdirAll("d/e", 0o750))
	f, err := fs.Create("d/f", "")
	require.NoError(t, err)
	_, err = f.Write([]byte("abc"))
	require.NoError(t, err)
	r, err := fs.Open("d/f", vfs.SequentialReadsOption, vfs.RandomReadsOption)
	require.NoError(t, err)
	d, err := fs.Open("d")
	require.NoError(t, err)
	_, lockErr := fs.Lock("nowhere/LOCK")
	ops := fs.Ops()

	_, err = fs.Open("nowhere")
	var pathErr *os.PathError
	require.ErrorAs(t, err, &pathErr)
	require.Equal(t, "nowhere", pathErr.Path)
	for what, c := range map[string]struct{ err, want error }{
		"open":           {err, os.ErrNotExist},
		"open below":     {second(fs.Open("d/f/g")), syscall.ENOTDIR},
		"create":         {second(fs.Create("nowhere/f", "")), os.ErrNotExist},
		"create dir":     {second(fs.Create("d/e", "")), syscall.EISDIR},
		"open dir":       {second(fs.OpenReadWrite("d", "")), syscall.EISDIR},
		"reuse":          {second(fs.ReuseForWrite("nowhere", "x", "")), os.ErrNotExist},
		"reuse dir":      {second(fs.ReuseForWrite("d", "x", "")), syscall.EISDIR},
		"stat":           {second(fs.Stat("d/x")), os.ErrNotExist},
		"list":           {second(fs.List("nowhere")), os.ErrNotExist},
		"list file":      {second(fs.List("d/f")), syscall.ENOTDIR},
		"usage":          {second(fs.GetDiskUsage("nowhere")), os.ErrNotExist},
		"link":           {fs.Link("d/x", "y"), os.ErrNotExist},
		"link over":      {fs.Link("d/f", "d/e"), os.ErrExist},
		"link dir":       {fs.Link("d", "e"), syscall.EPERM},
		"rename":         {fs.Rename("d/x", "y"), os.ErrNotExist},
		"rename over":    {fs.Rename("d/f", "d/e"), syscall.EISDIR},
		"rename dir":     {fs.Rename("d/e", "d/f"), syscall.ENOTDIR},
		"rename below":   {fs.Rename("d", "d/e/x"), syscall.EINVAL},
		"rename root":    {fs.Rename("/", "x"), syscall.EBUSY},
		"rename to root": {fs.Rename("d", "/"), syscall.EBUSY},
		"remove":         {fs.Remove("d/x"), os.ErrNotExist},
		"remove full":    {fs.Remove("d"), syscall.ENOTEMPTY},
		"remove root":    {fs.Remove("/"), syscall.EBUSY},
		"mkdir":          {fs.MkdirAll("d/f/g", 0o755), syscall.ENOTDIR},
		"lock":           {lockErr, os.ErrNotExist},
		"write":          {second(r.Write([]byte("x"))), syscall.EBADF},
		"write dir":      {second(d.Write([]byte("x"))), syscall.EISDIR},
		"write before":   {second(f.WriteAt([]byte("x"), -1)), syscall.EINVAL},
		"read dir":       {second(d.Read(make([]byte, 1))), syscall.EISDIR},
		"read before":    {second(r.ReadAt(make([]byte, 1), -1)), syscall.EINVAL},
		"read beyond":    {second(r.ReadAt(make([]byte, 1), 3)), io.EOF},
		"read across":    {second(r.ReadAt(make([]byte, 3), 2)), io.EOF},
		"preallocate":    {r.Preallocate(0, 1), syscall.EBADF},
		"no space":       {f.Preallocate(0, 1<<41), nil},
	} {
		if c.want != nil {
			require.ErrorIs(t, c.err, c.want, what)
		}
	}
	require.Equal(t, ops+1, fs.Ops(), "only the last has begun")
	require.True(t, vfs.IsNoSpaceError(f.Preallocate(0, 1<<41)))

	require.NoError(t, f.Close())
	for _, err := range []error{
		f.Close(), f.Sync(), f.SyncData(), second(f.SyncTo(1)), second(f.Stat()), f.Preallocate(0, 1),
		second(f.Read(nil)), second(f.ReadAt(nil, 0)), second(f.Write(nil)), second(f.WriteAt(nil, 0)),
	} {
		require.ErrorIs(t, err, os.ErrClosed)
	}

	fi, err := fs.Stat("d/e")
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o750, fi.Mode())
	require.Equal(t, "e", fi.Name())
	fi, err = r.Stat()
	require.NoError(t, err)
	require.True(t, fi.Mode().IsRegular())
	require.False(t, fi.ModTime().IsZero())
	require.Equal(t, vfs.InvalidFd, r.Fd())
	require.Nil(t, fs.Unwrap())
	require.Equal(t, vfs.FS(fs), vfs.Root(fs))
}

func second[T any](_ T, err error) error { return err }

// TestSpace holds the disk usage to what there is.
func TestSpace(t *testing.T) {
	t.Parallel()
	fs := New(Options{Capacity: 10 << 10})
	f, err := fs.Create("f", "")
	require.NoError(t, err)
	n, err := f.Write(make([]byte, 20<<10))
	require.Equal(t, 9<<10, n)
	require.True(t, vfs.IsNoSpaceError(err))
	require.EqualValues(t, 10<<10, fs.Used())
	require.NoError(t, fs.Remove("f"))
	require.EqualValues(t, 10<<10, fs.Used(), "it is open")
	du, err := fs.GetDiskUsage("/")
	require.NoError(t, err)
	require.Equal(t, vfs.DiskUsage{AvailBytes: 0, TotalBytes: 10 << 10, UsedBytes: 10 << 10}, du)
	// The disk of a crash has room again: nobody holds the file.
	require.EqualValues(t, inodeLen, fs.Crash(nil, AllKept).Used())
	fs.SetCapacity(12 << 10)
	require.NoError(t, fs.MkdirAll("d", 0o755))
	require.NoError(t, f.Close())
	require.EqualValues(t, 2*inodeLen, fs.Used())

	// What is taken in advance is durable with the next sync.
	f, err = fs.Create("f", "")
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(0, 4096))
	require.EqualValues(t, 3*inodeLen+4096, fs.Used())
	d, err := fs.OpenDir("/")
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	require.EqualValues(t, 3*inodeLen, fs.Crash(nil, SyncedOnly).Used())
	require.EqualValues(t, 3*inodeLen+4096, fs.Crash(nil, AllKept).Used())
	require.NoError(t, f.Sync())
	require.EqualValues(t, 3*inodeLen+4096, fs.Crash(nil, SyncedOnly).Used())
}

// TestBeyondTheEnd writes beyond the end of files that a crash has cut: the gap
// reads as zeros, not as what had been written there.
func TestBeyondTheEnd(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	f, err := fs.Create("f", "")
	require.NoError(t, err)
	for _, n := range []int{100, 200, 40000} {
		_, err = f.Write([]byte(strings.Repeat("A", n)))
		require.NoError(t, err)
	}
	sizes := make(map[int64]bool)
	for seed := range uint64(200) {
		after := fs.Crash(rand.New(rand.NewPCG(seed, 0)), Lengths)
		f, err := after.OpenReadWrite("f", "")
		require.NoError(t, err)
		fi, err := f.Stat()
		require.NoError(t, err)
		n := int(fi.Size())
		sizes[fi.Size()] = true
		_, err = f.WriteAt([]byte("B"), int64(n+40000))
		require.NoError(t, err)
		got := contents(t, after, "f")
		require.Equal(t, strings.Repeat("A", n)+strings.Repeat("\x00", 40000)+"B", got)
	}
	for _, n := range []int64{0, 100, 300, 40300} {
		require.True(t, sizes[n], "%d", n)
	}
	require.Greater(t, len(sizes), 20)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, s := range Styles() {
		require.NotContains(t, s.String(), "style")
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(styleNames[:]))), len(styleNames))
	require.Equal(t, "style 200", Style(200).String())
	require.Equal(t, "fault 200", Fault(200).String())
	require.Equal(t, "kind 200", Kind(200).String())
	require.Equal(t, "rename a to b: input/output error", Op{Kind: OpRename, Path: "a", To: "b", Err: errors.New("input/output error")}.String())
}
