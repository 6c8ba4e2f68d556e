// Package system holds the stores that the benchmark compares, one adapter a
// file, behind one interface.
//
// An adapter adds as little as it can: no cache, no pool, no goroutine of its
// own, and no check. It opens its store as the store's own documentation
// advises, with a cache of the size that all systems get, and with the
// durability that the run asks for. Where a choice remains, the one that makes
// the store faster is taken.
//
// All a system writes lies below Config.Dir, root keys included, so that a copy
// of the directory of a closed system, modes of files and all, is the same store
// once more. Some files are sparse, and much longer than what they take on disk.
package system

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A System is an open store of rows. Keys have 1 byte to 32 KiB, values up to 1
// MiB: what all systems take. Put, AppendGet and Scan may be called by several
// goroutines at once.
type System interface {
	// Put writes a row. With Config.Durable it survives a power cut once Put has
	// returned; otherwise it may be lost until Settle or Close.
	Put(key, value []byte) error
	// Load writes many rows in the fastest way that the store has. Keys and
	// values are valid until the next one. The rows are durable after Settle.
	Load(rows iter.Seq2[[]byte, []byte]) error
	// DeleteRange deletes all rows from key from up to, and without, key to.
	DeleteRange(from, to []byte) error
	// AppendGet appends a row's value to dst; false means that there is no row.
	AppendGet(dst, key []byte) (value []byte, found bool, err error)
	// Scan visits rows in key order from key from on, or in reverse order from
	// the last row at or before from; nil is the first row, or the last. It ends
	// when visit returns false. Key and value are valid until visit returns.
	Scan(from []byte, reverse bool, visit func(key, value []byte) bool) error
	// Settle flushes what is in memory to durable files, and returns when the
	// store has nothing left to do in the background.
	Settle(ctx context.Context) error
	// Compact brings all rows to the form that is best to read, and settles.
	Compact(ctx context.Context) error
	// Close closes the store. Rows are kept.
	Close() error
}

// A Snapshotter makes a named, durable, point-in-time copy that shares files.
type Snapshotter interface {
	Snapshot(ctx context.Context, name string) error
}

// A RootRotator gives its table a new root key while it is used.
type RootRotator interface {
	RotateRoot(ctx context.Context) error
}

// A KeyRotator gives its table a new table key, and wraps all data keys anew,
// while it is used.
type KeyRotator interface {
	RotateTableKey(ctx context.Context) error
}

// A Backer keeps backups of its rows in its directory, beside the store.
type Backer interface {
	// Backup makes a durable backup. What an earlier one has need not be copied again.
	Backup(ctx context.Context) error
	// Restore makes a new store, durable, of the newest backup, and removes it.
	Restore(ctx context.Context) error
}

// Config says how to open a system. The directory exists; it is empty, or holds
// what the same kind of system left there.
type Config struct {
	Dir     string
	Durable bool  // every Put is synced before it returns
	Cache   int64 // bytes for blocks or pages, and memtables where they count as cache
}

// A Kind is a system that can be opened.
type Kind struct {
	Name          string // as in --systems
	Title         string // as in reports
	Module        string // the Go module that holds the store
	Encrypted     bool   // rows are not on disk in the clear
	Authenticated bool   // a changed byte on disk is an error, not a wrong value
	Options       string // what it was told, in one line
	// What not every system can: its System is a Snapshotter, and so on.
	Snapshots, RotatesRoot, RotatesTableKey, BacksUp bool
	Compacts                                         bool // Compact does something
	// FlushesAtClose: Settle leaves memtables as they are, only Close flushes them.
	FlushesAtClose bool
	Open           func(Config) (System, error)
}

// All lists the systems in the order of reports, Cofre first.
func All() []Kind {
	return []Kind{cofreKind, pebbleKind, ctrKind, badgerKind, badgerEncryptedKind, bboltKind, sqliteKind}
}

// Find returns the system of a name.
func Find(name string) (Kind, error) {
	all := All()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		names := make([]string, len(all))
		for i, k := range all {
			names[i] = k.Name
		}
		return Kind{}, fmt.Errorf("unknown system %q: there are %s", name, strings.Join(names, ", "))
	}
	return all[i], nil
}
