package workload

import (
	"fmt"
	"slices"
	"strings"
)

// Class groups workloads in reports.
type Class string

const (
	Write    Class = "write"  // time counts until the background is done too
	Synced   Class = "synced" // every write is durable when it returns
	Read     Class = "read"
	Scan     Class = "scan"
	Mixed    Class = "mixed" // reads and writes; time counts as for Write
	Upkeep   Class = "upkeep"
	Rotation Class = "keys" // under load
)

// A Workload is what one turn does. Its zero fields mean "none" or "no".
type Workload struct {
	Name  string
	Does  string // one line for a list
	Class Class

	// Loaded starts with a table of Plan's rows, compacted; otherwise the table is
	// empty.
	Loaded  bool
	Ordered bool // keys rise with the row's index
	Durable bool
	Threads int // clients that run at once; 0 is one
	// Caches says what is in memory when a turn begins.
	Caches Caches
	// Slices cuts the turn into parts, and systems take turns at them, so that
	// what the machine does besides hits all alike. Only for work that leaves
	// nothing to the background. 0 is one.
	Slices int

	// The operations, by one of: a mix, a sweep, a call. See below.
	Mix    *Mix
	Sweep  Sweep
	Call   Call
	Rows   float64 // operations of Mix and Sweep, as a share of the plan's rows
	Events Event
	Trace  bool // keeps throughput over time
}

// Caches says what a turn finds in memory.
type Caches uint8

const (
	Warm      Caches = 0 // what is read is in the store's own cache
	BlockCold Caches = 1 // the store's cache is empty, the operating system has the files
	AllCold   Caches = 2 // neither has anything
)

// Mix is a random sequence of operations; the shares sum to 1.
type Mix struct {
	Keys    Keys
	Read    float64
	Missing float64 // reads of rows that are not there
	Seek    float64 // scans of SeekLen rows
	Scan    float64 // scans of 1 to MaxScan rows, uniform
	Update  float64
	Insert  float64 // of new rows
	Modify  float64 // read, then update
	// Each reads every block once at most: rows are distinct and lie apart.
	Apart bool
	// Split has the first half of the clients only write, the others only read.
	Split bool
}

const (
	SeekLen = 10
	MaxScan = 100
)

// Sweep reads the whole table once.
type Sweep uint8

const (
	Forward Sweep = 1
	Reverse Sweep = 2
)

// Call is an operation on the whole store.
type Call uint8

const (
	DeleteRange Call = 1
	Compact     Call = 2
	Reopen      Call = 3
	Snapshot    Call = 4
	Backup      Call = 5 // the first
	BackupAgain Call = 6 // when some rows were written again since the first
	Restore     Call = 7
)

// Event is what happens beside a mix, each second in the middle third of its
// operations.
type Event uint8

const (
	RotateRoot     Event = 1
	RotateTableKey Event = 2
)

var all = []Workload{
	{Name: "fillseq", Does: "insert rows in key order", Class: Write, Ordered: true, Mix: &Mix{Insert: 1}, Rows: 1, Trace: true},
	{Name: "fillrandom", Does: "insert rows in random order", Class: Write, Mix: &Mix{Insert: 1}, Rows: 1, Trace: true},
	{Name: "overwrite", Does: "write existing rows anew, in random order", Class: Write, Loaded: true, Mix: &Mix{Update: 1}, Rows: 1, Trace: true},
	{Name: "fillsync1", Does: "insert rows, each durable when it returns; 1 writer", Class: Synced, Durable: true, Slices: 20, Mix: &Mix{Insert: 1}, Rows: 0.01},
	{Name: "fillsync8", Does: "the same by 8 writers at once", Class: Synced, Durable: true, Threads: 8, Slices: 20, Mix: &Mix{Insert: 1}, Rows: 0.05},
	{Name: "readrandom", Does: "read random rows that are in the store's cache", Class: Read, Loaded: true, Slices: 10, Mix: &Mix{Read: 1}, Rows: 1},
	{Name: "readcold", Does: "read random rows, the store's cache empty, the operating system's warm", Class: Read, Loaded: true, Caches: BlockCold, Slices: 10, Mix: &Mix{Read: 1, Apart: true}, Rows: 1},
	{Name: "readdropped", Does: "read random rows, the operating system's cache empty too", Class: Read, Loaded: true, Caches: AllCold, Slices: 4, Mix: &Mix{Read: 1, Apart: true}, Rows: 0.1},
	{Name: "readmissing", Does: "read rows that are not there", Class: Read, Loaded: true, Slices: 10, Mix: &Mix{Missing: 1}, Rows: 1},
	{Name: "seekrandom", Does: fmt.Sprintf("go to a random row and read %d", SeekLen), Class: Scan, Loaded: true, Slices: 10, Mix: &Mix{Seek: 1}, Rows: 0.25},
	{Name: "scan", Does: "read all rows in order, the store's cache empty", Class: Scan, Loaded: true, Caches: BlockCold, Sweep: Forward, Rows: 1},
	{Name: "scanreverse", Does: "read all rows in reverse order, the store's cache empty", Class: Scan, Loaded: true, Caches: BlockCold, Sweep: Reverse, Rows: 1},
	{Name: "readwhilewriting", Does: "one client reads random rows while another writes", Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Read: 0.5, Update: 0.5, Split: true}, Rows: 1, Trace: true},
	{Name: "deleterange", Does: "delete a fifth of the rows in 200 ranges", Class: Write, Loaded: true, Call: DeleteRange},
	{Name: "compact", Does: "bring rows that were inserted in random order to their best form", Class: Upkeep, Call: Compact, Rows: 1},
	{Name: "ycsb-a", Does: "half reads, half updates; zipfian", Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Read: 0.5, Update: 0.5}, Rows: 1, Trace: true},
	{Name: "ycsb-b", Does: "95% reads, 5% updates; zipfian", Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Read: 0.95, Update: 0.05}, Rows: 4},
	{Name: "ycsb-c", Does: "reads; zipfian", Class: Read, Loaded: true, Threads: 2, Slices: 10, Mix: &Mix{Keys: Zipfian, Read: 1}, Rows: 1},
	{Name: "ycsb-d", Does: "95% reads of the newest rows, 5% inserts", Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Keys: Latest, Read: 0.95, Insert: 0.05}, Rows: 4},
	{Name: "ycsb-e", Does: fmt.Sprintf("95%% scans of up to %d rows, 5%% inserts; zipfian", MaxScan), Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Scan: 0.95, Insert: 0.05}, Rows: 0.4},
	{Name: "ycsb-f", Does: "half reads, half reads that are followed by an update; zipfian", Class: Mixed, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Read: 0.5, Modify: 0.5}, Rows: 1},
	{Name: "reopen", Does: "close, open and read a row", Class: Upkeep, Loaded: true, Slices: 10, Call: Reopen},
	{Name: "snapshot", Does: "make a named snapshot of a table", Class: Upkeep, Loaded: true, Slices: 10, Call: Snapshot},
	{Name: "backup", Does: "make a first backup, durably, in a directory on the same disk", Class: Upkeep, Loaded: true, Call: Backup, Rows: 1},
	{Name: "backupagain", Does: "back up once more when a hundredth of the rows was written again", Class: Upkeep, Loaded: true, Call: BackupAgain, Rows: 0.01},
	{Name: "restore", Does: "make a new store of a backup", Class: Upkeep, Loaded: true, Call: Restore, Rows: 1},
	{Name: "rotateroot", Does: "ycsb-a; in its middle third the root key is rotated each second", Class: Rotation, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Read: 0.5, Update: 0.5}, Rows: 2, Events: RotateRoot, Trace: true},
	{Name: "rotatekey", Does: "ycsb-a; in its middle third the table key is rotated each second", Class: Rotation, Loaded: true, Threads: 2, Mix: &Mix{Keys: Zipfian, Read: 0.5, Update: 0.5}, Rows: 2, Events: RotateTableKey, Trace: true},
}

// All lists the workloads in the order of reports.
func All() []Workload { return slices.Clone(all) }

// Find returns the workload of a name.
func Find(name string) (Workload, error) {
	for _, w := range all {
		if w.Name == name {
			return w, nil
		}
	}
	names := make([]string, len(all))
	for i, w := range all {
		names[i] = w.Name
	}
	return Workload{}, fmt.Errorf("unknown workload %q: there are %s", name, strings.Join(names, ", "))
}

// Supported tells whether a system of this type can run the workload.
func (w Workload) Supported(can Abilities) bool {
	switch {
	case w.Call == Snapshot:
		return can.Snapshot
	case w.Call == Compact:
		return can.Compact
	case w.backsUp():
		return can.Backup
	case w.Events == RotateRoot:
		return can.RotateRoot
	case w.Events == RotateTableKey:
		return can.RotateTableKey
	}
	return true
}

// Abilities are what not every system has.
type Abilities struct{ Snapshot, RotateRoot, RotateTableKey, Compact, Backup bool }

func (w Workload) backsUp() bool {
	return w.Call == Backup || w.Call == BackupAgain || w.Call == Restore
}

// Writes tells whether a turn changes the store.
func (w Workload) Writes() bool {
	if w.Mix != nil {
		return w.Mix.Update+w.Mix.Insert+w.Mix.Modify > 0
	}
	return w.Call == DeleteRange || w.Call == Compact || w.Call == Snapshot || w.backsUp()
}

// Inserts is the number of rows that a turn of ops operations may add.
func (w Workload) inserts() bool { return w.Mix != nil && w.Mix.Insert > 0 }
