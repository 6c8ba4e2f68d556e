package crashfs

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A pair runs each operation on a FS and on Pebble's own, which must agree.
type pair struct {
	t        *testing.T
	rng      *rand.Rand
	fs       *FS
	mem      *vfs.MemFS
	handles  []pairHandle
	nth      int
	unsynced map[*inode]bool // directories and files that have changed since their sync
	moments  []pairMoment
	files    int // that a state was held against
}

// A pairMoment is a Moment and a state made of it.
type pairMoment struct {
	m     *Moment
	seed  uint64
	style Style
	state string
}

type pairHandle struct {
	a, b vfs.File
	path string
	dir  bool
}

func (p *pair) name() string {
	n := []string{"a", "b", "c", "d"}[p.rng.IntN(4)]
	switch p.rng.IntN(4) {
	case 0:
		return "/" + n
	case 1:
		return path.Join("x", "y", n)
	}
	return path.Join("x", n)
}

func (p *pair) agree(what string, a, b error) bool {
	p.t.Helper()
	require.Equal(p.t, b == nil, a == nil, "%s: %v, MemFS: %v", what, a, b)
	for _, class := range []error{os.ErrNotExist, os.ErrExist, io.EOF} {
		require.Equal(p.t, errors.Is(b, class), errors.Is(a, class), "%s: %v, MemFS: %v", what, a, b)
	}
	return a == nil
}

// isDir tells what a name is, so that the test keeps away from what MemFS
// allows and no operating system does.
func (p *pair) isDir(name string) (there, dir bool) {
	fi, err := p.mem.Stat(name)
	return err == nil, err == nil && fi.IsDir()
}

func (p *pair) add(name string, a, b vfs.File, ea, eb error) {
	if !p.agree("open "+name, ea, eb) {
		return
	}
	_, dir := p.isDir(name)
	p.handles = append(p.handles, pairHandle{a, b, name, dir})
}

func (p *pair) step() {
	const cat = vfs.WriteCategoryUnspecified
	name, other := p.name(), p.name()
	there, dir := p.isDir(name)
	otherThere, otherDir := p.isDir(other)
	switch p.rng.IntN(20) {
	case 18, 19:
		d := []string{"/", "/", "x", "x/y"}[p.rng.IntN(4)]
		if _, dir := p.isDir(d); dir {
			f, err := p.fs.OpenDir(d)
			require.NoError(p.t, err)
			require.NoError(p.t, f.Sync())
			delete(p.unsynced, f.(*file).ino)
			require.NoError(p.t, f.Close())
		}
	case 0, 1:
		if !dir {
			a, ea := p.fs.Create(name, cat)
			b, eb := p.mem.Create(name, cat)
			p.add(name, a, b, ea, eb)
		}
	case 2:
		a, ea := p.fs.Open(name)
		b, eb := p.mem.Open(name)
		p.add(name, a, b, ea, eb)
	case 3:
		if !dir {
			a, ea := p.fs.OpenReadWrite(name, cat)
			b, eb := p.mem.OpenReadWrite(name, cat)
			p.add(name, a, b, ea, eb)
		}
	case 4:
		if !dir {
			p.agree("link", p.fs.Link(name, other), p.mem.Link(name, other))
		}
	case 5:
		if dir || otherDir {
			break
		}
		if there && otherThere {
			// Two names of one inode: POSIX keeps both.
			require.NoError(p.t, p.fs.Remove(other))
			require.NoError(p.t, p.mem.Remove(other))
			break
		}
		if _, err := p.mem.Stat(path.Dir(other)); err != nil {
			break // MemFS loses the file
		}
		p.agree("rename", p.fs.Rename(name, other), p.mem.Rename(name, other))
	case 6:
		if there && !dir && !otherThere {
			if _, err := p.mem.Stat(path.Dir(other)); err != nil {
				break
			}
			a, ea := p.fs.ReuseForWrite(name, other, cat)
			b, eb := p.mem.ReuseForWrite(name, other, cat)
			p.agree("reuse", ea, eb)
			buf := make([]byte, 100)
			_, ea = a.Write(buf)
			_, eb = b.Write(slices.Clone(buf))
			p.agree("write", ea, eb)
			p.agree("close", a.Close(), b.Close())
		}
	case 7:
		if there {
			p.agree("remove", p.fs.Remove(name), p.mem.Remove(name))
		} else {
			require.ErrorIs(p.t, p.fs.Remove(name), os.ErrNotExist)
		}
	case 8:
		if p.rng.IntN(4) == 0 {
			d := []string{"x", "/x/y", name}[p.rng.IntN(3)]
			p.agree("removeall "+d, p.fs.RemoveAll(d), p.mem.RemoveAll(d))
		}
	case 9:
		d := []string{"x", "/x/y", name, "/"}[p.rng.IntN(4)]
		p.agree("mkdirall "+d, p.fs.MkdirAll(d, 0o755), p.mem.MkdirAll(d, 0o755))
	case 10:
		d := []string{"x", "/x/y", "/"}[p.rng.IntN(3)]
		a, ea := p.fs.List(d)
		b, eb := p.mem.List(d)
		p.agree("list "+d, ea, eb)
		slices.Sort(b)
		require.ElementsMatch(p.t, b, a)
		require.True(p.t, slices.IsSorted(a))
	case 11:
		a, ea := p.fs.Stat(name)
		b, eb := p.mem.Stat(name)
		if p.agree("stat "+name, ea, eb) {
			p.sameInfo(a, b)
		}
	case 12:
		a, ea := p.fs.Lock(name + ".lock")
		b, eb := p.mem.Lock(name + ".lock")
		if p.agree("lock", ea, eb) {
			_, ea = p.fs.Lock(name + ".lock")
			_, eb = p.mem.Lock(name + ".lock")
			require.Error(p.t, ea)
			p.agree("lock", ea, eb)
			require.NoError(p.t, a.Close())
			require.NoError(p.t, b.Close())
		}
	default:
		p.handle()
	}
}

func (p *pair) sameInfo(a, b vfs.FileInfo) {
	require.Equal(p.t, b.IsDir(), a.IsDir())
	require.Equal(p.t, b.IsDir(), a.Mode().IsDir())
	require.Equal(p.t, b.IsDir(), !a.Mode().IsRegular())
	require.Equal(p.t, b.Size(), a.Size())
}

func (p *pair) handle() {
	if len(p.handles) == 0 {
		return
	}
	i := p.rng.IntN(len(p.handles))
	h := p.handles[i]
	switch p.rng.IntN(11) {
	case 0, 1, 2:
		buf := p.bytes()
		na, ea := h.a.Write(slices.Clone(buf))
		nb, eb := h.b.Write(slices.Clone(buf))
		p.agree("write "+h.path, ea, eb)
		require.Equal(p.t, nb, na)
	case 3:
		if h.dir {
			break
		}
		buf, off := p.bytes(), p.rng.Int64N(3000)
		if len(buf) == 0 {
			break // MemFS grows the file
		}
		_, ea := h.a.WriteAt(slices.Clone(buf), off)
		_, eb := h.b.WriteAt(slices.Clone(buf), off)
		p.agree("writeat "+h.path, ea, eb)
	case 4:
		if h.dir {
			break
		}
		n := 1 + p.rng.IntN(2000)
		a, b := make([]byte, n), make([]byte, n)
		na, ea := h.a.Read(a)
		nb, eb := h.b.Read(b)
		p.agree("read "+h.path, ea, eb)
		require.Equal(p.t, b[:nb], a[:na])
	case 5:
		if h.dir {
			break
		}
		n, off := 1+p.rng.IntN(2000), p.rng.Int64N(4000)
		a, b := make([]byte, n), make([]byte, n)
		na, ea := h.a.ReadAt(a, off)
		nb, eb := h.b.ReadAt(b, off)
		p.agree("readat "+h.path, ea, eb)
		require.Equal(p.t, b[:nb], a[:na])
	case 6:
		a, ea := h.a.Stat()
		b, eb := h.b.Stat()
		p.agree("stat "+h.path, ea, eb)
		p.sameInfo(a, b)
	case 7, 8, 9:
		require.NoError(p.t, h.a.Sync())
		delete(p.unsynced, h.a.(*file).ino)
	case 10:
		p.agree("close", h.a.Close(), h.b.Close())
		require.ErrorIs(p.t, h.a.Close(), os.ErrClosed)
		p.handles = slices.Delete(p.handles, i, i+1)
	}
}

// bytes makes bytes that no other call makes.
func (p *pair) bytes() []byte {
	b := make([]byte, p.rng.IntN([]int{1, 50, 700, 3000}[p.rng.IntN(4)])+p.rng.IntN(2))
	for i := range b {
		p.nth++
		b[i] = byte(p.nth*7) | 1
	}
	return b
}

// sameTree compares all that there is.
func (p *pair) sameTree(fs vfs.FS, dir string) {
	a, err := fs.List(dir)
	require.NoError(p.t, err)
	b, err := p.mem.List(dir)
	require.NoError(p.t, err)
	slices.Sort(b)
	require.ElementsMatch(p.t, b, a, dir)
	for _, name := range a {
		at := path.Join(dir, name)
		if _, d := p.isDir(at); d {
			p.sameTree(fs, at)
			continue
		}
		require.Equal(p.t, contents(p.t, p.mem, at), contents(p.t, fs, at), at)
	}
}

func contents(t testing.TB, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return string(b)
}

// note is a hook: it notes what a crash may change.
func (p *pair) note(_ int, op Op) {
	mark := func(name string) {
		if ino, err := p.fs.lookup(name); err == nil {
			p.unsynced[ino] = true
		}
	}
	switch op.Kind {
	case OpWrite:
		// A file may have been removed or renamed since it was opened.
		for _, h := range p.handles {
			if h.path == op.Path {
				p.unsynced[h.a.(*file).ino] = true
			}
		}
		mark(op.Path)
	case OpCreate, OpMkdir, OpRemove:
		mark(path.Dir(op.Path))
	case OpLink:
		mark(path.Dir(op.To))
	case OpRename:
		mark(path.Dir(op.Path))
		mark(path.Dir(op.To))
	}
}

// settled holds a state against what no crash may change: the names of a
// directory that were all synced, and the content of files that were.
func (p *pair) settled(fs *FS, dir *inode, at, what string) {
	if p.unsynced[dir] {
		return
	}
	list, err := fs.List(at)
	require.NoError(p.t, err, what)
	require.Equal(p.t, dir.names(), list, "%s: %s", what, at)
	for _, name := range list {
		child, at := dir.child(name), path.Join(at, name)
		switch {
		case child.isDir():
			p.settled(fs, child, at, what)
		case !p.unsynced[child]:
			require.Equal(p.t, contents(p.t, p.fs, at), contents(p.t, fs, at), "%s: %s", what, at)
			p.files++
		}
	}
}

// crash takes a state and checks it.
func (p *pair) crash() {
	m, seed := p.fs.Moment(), p.rng.Uint64()
	for _, style := range Styles() {
		fs := m.Crash(rand.New(rand.NewPCG(seed, 0)), style)
		p.settled(fs, p.fs.root, "/", fmt.Sprintf("%s, seed %d", style, seed))
		if seed%32 == 0 {
			p.moments = append(p.moments, pairMoment{m, seed, style, fs.String()})
		}
	}
	p.sameTree(m.Crash(nil, AllKept), "/")
}

// TestAgainstMemFS runs random operations on a FS and on Pebble's own. Taking
// crash states meanwhile must not show. What was synced is in every one of
// them; that with all kept is the same tree.
func TestAgainstMemFS(t *testing.T) {
	t.Parallel()
	for range 12 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 0)), fs: New(Options{}), mem: vfs.NewMem(), unsynced: make(map[*inode]bool)}
			p.fs.OnOp(p.note)
			for i := range 3000 {
				p.step()
				if i%50 != 0 {
					continue
				}
				p.sameTree(p.fs, "/")
				p.crash()
				require.Equal(t, p.used(p.fs.root)+p.orphans(), p.fs.Used())
			}
			require.NotZero(t, p.files)
			for _, m := range p.moments {
				// What came after has not changed it.
				require.Equal(t, m.state, m.m.Crash(rand.New(rand.NewPCG(m.seed, 0)), m.style).String())
			}
			for _, h := range p.handles {
				require.NoError(t, h.a.Close())
			}
			require.Equal(t, p.used(p.fs.root), p.fs.Used())
			require.NoError(t, p.fs.RemoveAll("x"))
			for _, name := range p.fs.root.names() {
				require.NoError(t, p.fs.RemoveAll(name))
			}
			require.EqualValues(t, inodeLen, p.fs.Used())
		})
	}
}

// used adds up the space of a tree.
func (p *pair) used(dir *inode) int64 {
	seen := make(map[*inode]bool)
	var sum func(*inode) int64
	sum = func(ino *inode) int64 {
		if seen[ino] {
			return 0
		}
		seen[ino] = true
		n := ino.space()
		for _, name := range ino.names() {
			n += sum(ino.child(name))
		}
		return n
	}
	return sum(dir)
}

// orphans adds up the space of what is open and has no name.
func (p *pair) orphans() int64 {
	seen := make(map[*inode]bool)
	var n int64
	for _, h := range p.handles {
		if ino := h.a.(*file).ino; ino.links == 0 && !seen[ino] && ino != p.fs.root {
			seen[ino] = true
			n += ino.space()
		}
	}
	return n
}
