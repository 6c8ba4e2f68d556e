package crashfs

import "fmt"

// A Kind is what an operation does. RemoveAll, and MkdirAll, Create and
// ReuseForWrite where they change several things, are an operation each.
type Kind uint8

const (
	OpCreate      Kind = 1  // a file and its name, by Create, OpenReadWrite or Lock
	OpMkdir       Kind = 2  // a directory and its name
	OpLink        Kind = 3  // a further name of a file
	OpRename      Kind = 4  // by Rename or ReuseForWrite
	OpRemove      Kind = 5  // a name of a file, or an empty directory
	OpWrite       Kind = 6  // by Write or WriteAt; none for no bytes
	OpPreallocate Kind = 7  // space for a file
	OpSync        Kind = 8  // of a file
	OpSyncData    Kind = 9  // of a file
	OpSyncTo      Kind = 10 // of a file; promises nothing
	OpSyncDir     Kind = 11 // of a directory

	// The kinds below change nothing and are counted apart.

	OpOpen Kind = 12 // of a file or directory that exists
	OpRead Kind = 13 // by Read or ReadAt
	OpList Kind = 14
	OpStat Kind = 15
)

var kindNames = [...]string{"", "create", "mkdir", "link", "rename", "remove", "write", "preallocate",
	"sync", "syncdata", "syncto", "syncdir", "open", "read", "list", "stat"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Reads tells whether operations of this kind change nothing.
func (k Kind) Reads() bool { return k >= OpOpen }

// Syncs tells whether operations of this kind make anything durable.
func (k Kind) Syncs() bool { return k == OpSync || k == OpSyncData || k == OpSyncDir }

// An Op is one operation.
type Op struct {
	Kind Kind
	Path string // of a handle: as it was opened
	To   string // of OpLink and OpRename: the new name
	Off  int64  // of OpWrite and OpPreallocate, in bytes
	Len  int64  // of OpWrite and OpPreallocate; of OpSyncTo: the length of the prefix
	Err  error  // what it has failed with
}

func (op Op) String() string {
	s := op.Kind.String() + " " + op.Path
	switch op.Kind {
	case OpLink, OpRename:
		s += " to " + op.To
	case OpWrite, OpPreallocate:
		s += fmt.Sprintf(" %d+%d", op.Off, op.Len)
	}
	if op.Err != nil {
		s += ": " + op.Err.Error()
	}
	return s
}
