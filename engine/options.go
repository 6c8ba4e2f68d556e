package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
)

const (
	// MaxKeyLen and MaxValueLen bound what a table holds, in bytes. A key has
	// at least one byte; a value may be empty.
	MaxKeyLen   = 64 << 10
	MaxValueLen = 512 << 20
	// MaxNameLen bounds the name of a table or snapshot, in bytes.
	MaxNameLen = 96
)

// A Mode says what Open may do.
type Mode uint8

const (
	CreateIfMissing Mode = 0 // open the store, or make it
	MustExist       Mode = 1 // open the store, or fail with ErrStoreNotFound
	ReadOnly        Mode = 2 // like MustExist, and write nothing
)

// Options configure a store. The zero value of each field is its default; only
// RootKey has none.
type Options struct {
	Mode Mode
	// RootKey wraps the store key of a new store, and the table keys of tables
	// that name no root of their own.
	RootKey keyring.RootKey
	// Roots are further root keys that the store and its tables may have,
	// recovery recipients among them. Any one of those that wrap a key opens
	// it. A root that the store's files name and that is neither here nor
	// RootKey is never called, and no rotation wraps a key to it: a writer of
	// the disk cannot name a root of his own.
	Roots []keyring.RootKey
	// MemoryBudget bounds blocks and memtables of all tables together, in
	// bytes; 0 is 256 MiB.
	MemoryBudget int64
	// MaxOpenFiles bounds the tables' open files; 0 is 4096. It should exceed
	// the number of live files, or blocks of closed files linger in the cache.
	MaxOpenFiles int
	// IdleTimeout closes tables that were not used for so long; they open
	// again on use. 0 is five minutes; negative keeps them open.
	IdleTimeout time.Duration
	// KeyLease is how long the plaintext keys of a table may stay in memory after
	// its key service has last allowed their use; 0 is DefaultKeyLease, five
	// minutes; at least 10 ms, at most a day. A table in use renews its lease
	// between a half and three quarters of it. Where the service denies the key the
	// table locks at once; where the service cannot be reached, at the lease's end.
	// A locked table fails with a *LockedError, which is ErrKeyInaccessible, and
	// unlocks by itself when the key is back.
	KeyLease time.Duration
	// KeyLoss archives and drops tables whose key is lost for long; nil, the default,
	// leaves them alone, and costs no call to a key service. A store that is open for
	// reading only takes no step, and looks at nothing.
	KeyLoss *KeyLossPolicy
	// DiskFullWait is how long a write waits for space on a full disk before
	// it fails with ErrDiskFull; 0 is ten seconds, negative does not wait.
	DiskFullWait time.Duration
	// UnitSize is the length of an encrypted segment of new SSTables, in
	// bytes; 0 is 2048. Existing files keep theirs.
	UnitSize uint32
	// Logger gets what happens in the background; nil discards it. Nothing is
	// written to standard error.
	Logger *slog.Logger
	// FS is the file system of the store; nil is the operating system's.
	FS vfs.FS
	// AcceptOlderKeyring opens the store although the key service has noted a
	// newer keyring: after a restore of the whole directory from a copy.
	AcceptOlderKeyring bool
	// ArchiveLimit bounds the log segments of a table that wait to be shipped, where
	// the table is archived (Table.SetArchiving), in bytes; 0 is DefaultArchiveLimit,
	// 1 GiB. Beyond it the oldest go, and the archive has a gap.
	ArchiveLimit int64
	// Background are jobs that run while the store is open, such as an archive of its
	// logs (backup.Archiver). Close ends them and waits for them; an error that one
	// returns before is logged. They do not run in a store that is open to read only.
	Background []Background
	// Audit configures the log of key operations, which every store has.
	Audit AuditOptions

	suite aead.Suite       // a test's cipher; nil outside tests
	clock func() time.Time // a test's, for schedules; nil is time.Now
	// tune changes Pebble's options; a test makes small tables with it.
	tune tuning
}

// A Background runs beside the store until ctx ends, with which the store closes.
type Background interface {
	Run(ctx context.Context, s *Store) error
}

// TableOptions configure a table, for its life.
type TableOptions struct {
	// RootKey wraps the table's key; nil is the store's. It must be
	// Options.RootKey or one of Options.Roots.
	RootKey keyring.RootKey
	// SeparateValuesFrom moves values of at least so many bytes out of the
	// sorted files into .blob files, where compactions need not copy them.
	// 0 keeps all values inline.
	SeparateValuesFrom int
	// NoCompression stores blocks as they are. Compression shows in sizes:
	// who may choose part of a value and see file sizes could learn about the
	// rest (CRIME).
	NoCompression bool
}

// WriteOptions configure a write; nil is the default: durable when it returns.
type WriteOptions struct {
	// NoSync returns before the write is durable. A crash may lose it, and
	// with it all unsynced writes after it, never one before; a later synced
	// write to the same table makes it durable too.
	NoSync bool
}

func (o *Options) setDefaults() error {
	if o.RootKey == nil {
		return errors.New("engine: Options.RootKey is missing")
	}
	return o.setSizes()
}

// setSizes sets all defaults that need no key.
func (o *Options) setSizes() error {
	if o.Mode > ReadOnly {
		return fmt.Errorf("engine: unknown mode %d", o.Mode)
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MemoryBudget == 0 {
		o.MemoryBudget = 256 << 20
	}
	if o.MemoryBudget < 1<<20 {
		return fmt.Errorf("engine: a memory budget of %d bytes is below 1 MiB", o.MemoryBudget)
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 4096
	}
	if o.MaxOpenFiles < 16 {
		return fmt.Errorf("engine: %d open files are fewer than 16", o.MaxOpenFiles)
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 5 * time.Minute
	}
	if o.KeyLease == 0 {
		o.KeyLease = DefaultKeyLease
	}
	if o.KeyLease < minKeyLease || o.KeyLease > maxKeyLease {
		return fmt.Errorf("engine: a lease of %s for keys is outside %s to %s", o.KeyLease, minKeyLease, maxKeyLease)
	}
	if o.Audit.KeepFor < 0 {
		return fmt.Errorf("engine: audit records cannot be kept for %s", o.Audit.KeepFor)
	}
	if o.Audit.KeepBytes == 0 {
		o.Audit.KeepBytes = DefaultAuditKeepBytes
	}
	var err error
	if o.KeyLoss, err = o.KeyLoss.setDefaults(); err != nil {
		return err
	}
	switch {
	case o.DiskFullWait == 0:
		o.DiskFullWait = 10 * time.Second
	case o.DiskFullWait < 0:
		o.DiskFullWait = 0
	}
	if o.UnitSize == 0 {
		o.UnitSize = sstable.DefaultUnitSize
	}
	if o.UnitSize < keyring.MinUnitSize || o.UnitSize > keyring.MaxUnitSize {
		return fmt.Errorf("engine: a unit of %d bytes is outside %d to %d", o.UnitSize, keyring.MinUnitSize, keyring.MaxUnitSize)
	}
	switch {
	case o.ArchiveLimit == 0:
		o.ArchiveLimit = DefaultArchiveLimit
	case o.ArchiveLimit < 0:
		return fmt.Errorf("engine: a limit of %d bytes for segments that wait is negative", o.ArchiveLimit)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (o *Options) now() time.Time {
	if o.clock != nil {
		return o.clock()
	}
	return time.Now()
}

// roots are all root keys that the store may use.
func (o *Options) roots() []keyring.RootKey {
	return append([]keyring.RootKey{o.RootKey}, o.Roots...)
}

var (
	tableName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,46}\.[a-z][a-z0-9_]{0,46}$`)
	snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]{0,95}$`)
)

func checkTableName(name string) error {
	if !tableName.MatchString(name) {
		return fmt.Errorf("%w: table %q: a table is called keyspace.table, each part a lower-case letter and up to 46 letters, digits and underscores", ErrInvalidName, clip(name))
	}
	return nil
}

func checkSnapshotName(name string) error {
	if !snapshotName.MatchString(name) {
		return fmt.Errorf("%w: snapshot %q: up to %d letters, digits and . _ : + -, the first a letter or digit", ErrInvalidName, clip(name), MaxNameLen)
	}
	return nil
}

// clip keeps a hostile name from filling a message.
func clip(s string) string {
	if len(s) > MaxNameLen {
		return s[:MaxNameLen] + "…"
	}
	return s
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKeyLen {
		return fmt.Errorf("%w: %d bytes, a key has 1 to %d", ErrKeyTooLarge, len(key), MaxKeyLen)
	}
	return nil
}

func checkValue(value []byte) error {
	if len(value) > MaxValueLen {
		return fmt.Errorf("%w: %d bytes, a value has at most %d", ErrValueTooLarge, len(value), MaxValueLen)
	}
	return nil
}
