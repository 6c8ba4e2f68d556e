package fault

import "github.com/cofredb/cofre/internal/torture/crashfs"

// A way is how operations fail.
type way struct {
	fault  crashfs.Fault
	sticky bool
	below  bool // only in the directory of the first table
	waits  bool // the store waits for space, and there is some at once
}

func ways() []way {
	var all []way
	for _, f := range []crashfs.Fault{crashfs.EIO, crashfs.ENOSPC, crashfs.EROFS, crashfs.ShortWrite, crashfs.FailedSyncPagesClean, crashfs.ReadEIO} {
		all = append(all, way{fault: f}, way{fault: f, sticky: true}, way{fault: f, sticky: true, below: true})
	}
	return append(all, way{fault: crashfs.ENOSPC, waits: true})
}

func (w way) String() string {
	s := w.fault.String() + ", once"
	if w.sticky {
		s = w.fault.String() + ", from then on"
	}
	if w.below {
		s += ", in one table"
	}
	if w.waits {
		s += ", and the store waits"
	}
	return s
}
