package crashfs

import (
	"slices"
	"strings"
)

// A dirent is a name in a directory. What a crash may find under it is what
// cur leads to by its prev pointers, and what is durable.
type dirent struct {
	name  string
	cur   *link
	dur   *link // nil where the name is not there, durably
	floor int   // while dur is nil: up to which mutation that has come true
}

// A link is what a name was made to mean by one mutation. It never changes.
type link struct {
	ino   *inode // nil: the name is gone
	prev  *link  // the one before, where that was not durable either
	op    int    // the mutation
	needs []need // what is durable if this is
}

// A need is a name that must mean what it did after mutation op, or later.
type need struct {
	dir  *inode
	name string
	op   int
}

func (e *dirent) pending() bool { return e.cur != e.dur }

// versions calls f with all that a crash may find: the newest first, what is
// durable last. f may get nil, for a name that is not there.
func (e *dirent) versions(f func(*link)) {
	for l := e.cur; l != e.dur && l != nil; l = l.prev {
		f(l)
	}
	f(e.dur)
}

// op is the mutation of a version of a name.
func (e *dirent) op(l *link) int {
	if l == nil {
		return e.floor
	}
	return l.op
}

// before is the version of a name before l.
func (e *dirent) before(l *link) *link {
	if l == e.dur || l.prev == nil {
		return e.dur
	}
	return l.prev
}

func findDirent(ents []dirent, name string) (int, bool) {
	return slices.BinarySearchFunc(ents, name, func(e dirent, name string) int { return strings.Compare(e.name, name) })
}

// child is what a name means now; nil if it is not there.
func (d *inode) child(name string) *inode {
	if i, ok := findDirent(d.ents, name); ok {
		return d.ents[i].cur.ino
	}
	return nil
}

// bind makes a name mean ino, or nothing if that is nil.
func (d *inode) bind(name string, ino *inode, op int, needs []need) {
	d.thaw()
	l := &link{ino: ino, op: op, needs: needs}
	i, ok := findDirent(d.ents, name)
	if !ok {
		d.ents = slices.Insert(d.ents, i, dirent{name: name, cur: l, floor: op - 1})
		return
	}
	e := &d.ents[i]
	if e.pending() {
		l.prev = e.cur
	}
	e.cur = l
}

// empty tells whether a directory has no names.
func (d *inode) empty() bool {
	return !slices.ContainsFunc(d.ents, func(e dirent) bool { return e.cur.ino != nil })
}

// names lists a directory.
func (d *inode) names() []string {
	var list []string
	for _, e := range d.ents {
		if e.cur.ino != nil {
			list = append(list, e.name)
		}
	}
	return list
}

// syncDir makes all names of a directory durable, and what they need.
func (d *inode) syncDir() {
	d.thaw()
	for i := range d.ents {
		d.settle(i, d.ents[i].cur)
	}
	d.ents = slices.DeleteFunc(d.ents, func(e dirent) bool { return e.cur.ino == nil && !e.pending() })
}

// settle makes a version of a name durable, and what that needs.
func (d *inode) settle(i int, to *link) {
	var needs []need
	e := &d.ents[i]
	for l := to; l != e.dur && l != nil; l = l.prev {
		needs = append(needs, l.needs...)
	}
	e.dur = to
	for _, n := range needs {
		n.dir.raise(n.name, n.op)
	}
}

// raise makes a name durable as it was after a mutation.
func (d *inode) raise(name string, op int) {
	i, ok := findDirent(d.ents, name)
	if !ok {
		return // and so it was durable, and is durably gone
	}
	e := &d.ents[i]
	if to := e.reach(e.dur, op); to != e.dur {
		d.thaw()
		d.settle(i, to)
	}
}

// reach returns l if it is of mutation op or later, else the first version
// after it that is.
func (e *dirent) reach(l *link, op int) *link {
	if e.op(l) >= op {
		return l
	}
	first := l
	for v := e.cur; v != e.dur && v != nil && v.op >= op; v = v.prev {
		first = v
	}
	return first
}

// path adds to needs all names above d that are not durable.
func (d *inode) path(needs []need) []need {
	for ; d.parent != nil; d = d.parent {
		if i, ok := findDirent(d.parent.ents, d.name); ok && d.parent.ents[i].pending() {
			needs = append(needs, need{d.parent, d.name, d.parent.ents[i].cur.op})
		}
	}
	return needs
}

// left returns what must be durable before d may be gone: the new names of
// what was renamed out of it.
func (d *inode) left() []need {
	var needs []need
	for i := range d.ents {
		e := &d.ents[i]
		for l := e.cur; l != e.dur && l != nil; l = l.prev {
			needs = append(needs, l.needs...)
		}
	}
	return needs
}
