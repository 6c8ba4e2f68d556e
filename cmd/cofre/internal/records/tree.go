package records

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// A Tree reads the regular files below a directory. Nothing outside of it is
// reached: symbolic links are not followed, but for one that names the
// directory itself.
type Tree struct {
	root    *os.Root
	exclude []place
	lim     Limits
	walk    walk
	skipped Skipped
	read    atomic.Int64
}

// Skipped counts what a Tree leaves out by design.
type Skipped struct {
	Symlinks int `json:"symlinks"`
	Special  int `json:"special"`  // devices, pipes, sockets
	Excluded int `json:"excluded"` // what Exclude named
}

// OpenTree opens a directory.
func OpenTree(dir string, lim Limits) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root: root, lim: lim}, nil
}

// A place is a name in a directory.
type place struct {
	dir  os.FileInfo
	base string
}

// Exclude leaves out what is at path, a file or a directory, now or later: a
// store must not swallow itself. Not the file is compared, which may be
// replaced meanwhile, but its name and the directory that holds it.
func (t *Tree) Exclude(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir, err := os.Stat(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing can be there
	}
	t.exclude = append(t.exclude, place{dir, filepath.Base(path)})
	return err
}

// Close closes the directory.
func (t *Tree) Close() error { return t.root.Close() }

// Skipped is what Next has left out so far.
func (t *Tree) Skipped() Skipped { return t.skipped }

// Read is how many bytes of content Next has read. It is safe for concurrent
// use.
func (t *Tree) Read() int64 { return t.read.Load() }

// A Total is what a tree holds.
type Total struct {
	Files    int
	Bytes    int64
	TooLarge []*BadEntry // files over the limit
}

// Total walks the tree without reading the files. What cannot be listed is
// left for Next to report.
func (t *Tree) Total(ctx context.Context) (Total, error) {
	var sum Total
	var w walk
	for {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		name, mode, err := t.step(&w)
		var bad *BadEntry
		switch {
		case err == io.EOF:
			return sum, nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			return sum, err
		case !mode.IsRegular():
			continue
		}
		info, err := t.root.Lstat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if errors.As(t.lim.check(name, len(name), int(min(info.Size(), 1<<62))), &bad) {
			sum.TooLarge = append(sum.TooLarge, bad)
			continue
		}
		sum.Files++
		sum.Bytes += info.Size()
	}
}

// Next implements [Reader].
func (t *Tree) Next(e *Entry) error {
	for {
		name, mode, err := t.step(&t.walk)
		if err != nil {
			return err
		}
		switch {
		case mode&fs.ModeSymlink != 0:
			t.skipped.Symlinks++
		case !mode.IsRegular():
			t.skipped.Special++
		default:
			took, err := t.readFile(name, e)
			if took || err != nil {
				return err
			}
		}
	}
}

// readFile reads one file into e, unless it is to be left out.
func (t *Tree) readFile(name string, e *Entry) (took bool, err error) {
	// Between the listing and this, the file may have become a pipe; without
	// the flag, opening it would wait for a writer.
	f, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, &BadEntry{Where: name, Err: cause(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return false, &BadEntry{Where: name, Err: cause(err)}
	case !info.Mode().IsRegular():
		t.skipped.Special++
		return false, nil
	}
	if err := t.lim.check(name, len(name), int(min(info.Size(), 1<<62))); err != nil {
		return false, err
	}
	e.Key = append(e.Key[:0], name...)
	// One byte of room more than the size, to see the end without growing.
	e.Value = slices.Grow(e.Value[:0], int(info.Size())+1)
	for {
		n, err := f.Read(e.Value[len(e.Value):cap(e.Value)])
		e.Value = e.Value[:len(e.Value)+n]
		t.read.Add(int64(n))
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, &BadEntry{Where: name, Err: cause(err)}
		case len(e.Value) > t.lim.Value: // it grew meanwhile
			return false, t.lim.tooLarge(name, int64(len(e.Value)))
		case len(e.Value) == cap(e.Value):
			e.Value = slices.Grow(e.Value, 1)
		}
	}
}

// A walk is a place in a tree: the directories from the root to it, each with
// what has not been visited yet.
type walk struct {
	begun bool
	dirs  []level
}

type level struct {
	name string
	rest []fs.DirEntry
}

// step goes to the next thing that is not a directory.
func (t *Tree) step(w *walk) (name string, mode fs.FileMode, err error) {
	if !w.begun {
		w.begun = true
		if err := t.enter(w, "."); err != nil {
			return "", 0, err
		}
	}
	for len(w.dirs) > 0 {
		top := &w.dirs[len(w.dirs)-1]
		if len(top.rest) == 0 {
			w.dirs = w.dirs[:len(w.dirs)-1]
			continue
		}
		d := top.rest[0]
		top.rest = top.rest[1:]
		name := path.Join(top.name, d.Name())
		if !d.IsDir() {
			return name, d.Type(), nil
		}
		if err := t.enter(w, name); err != nil {
			return "", 0, &BadEntry{Where: name, Err: cause(err)}
		}
	}
	return "", 0, io.EOF
}

// enter lists a directory, in order of name.
func (t *Tree) enter(w *walk, name string) error {
	f, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	all := len(entries)
	entries = slices.DeleteFunc(entries, func(d fs.DirEntry) bool {
		return slices.ContainsFunc(t.exclude, func(p place) bool { return p.base == d.Name() && os.SameFile(p.dir, info) })
	})
	if w == &t.walk {
		t.skipped.Excluded += all - len(entries)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	w.dirs = append(w.dirs, level{name, entries})
	return nil
}

// cause strips the path that the operating system's error repeats.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}
