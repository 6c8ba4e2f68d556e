// Package engine is Cofre: encrypted tables, embedded in a Go program.
//
//	store, err := engine.Open(ctx, "./clinic", engine.Options{RootKey: root})
//	table, err := store.CreateTable(ctx, "clinic.patients", engine.TableOptions{})
//	err = table.Put([]byte("0042"), record, nil)
//	value, err := table.Get([]byte("0042"))
//
// A [Store] is a directory. A [Table] in it is a sorted map from keys (1 byte
// to 64 KiB) to values (up to 512 MiB), in byte order; its name is
// keyspace.table. Each table is one instance of Pebble, an LSM tree, over a
// file system of the engine's that seals every file: tables by package
// sstable, logs by package wal, each under a data key of its own, which
// package keyring wraps under the table's key, which a root key wraps that is
// not in the store.
//
// # Guarantees
//
// A write is durable when it returns, unless the caller opts out for that
// write. A [Batch] is there whole or not at all. After a crash at any point,
// every acknowledged synced write is there, unsynced ones survive as a prefix
// of their order, and nothing else appears.
//
// Bytes on disk that are not what was written are an error with file and
// offset ([CorruptionError]), never a wrong value and never a silent loss:
// changed, moved, cut, foreign and missing files are found at open, at read,
// or by [Store.Verify], as far as another file attests them. A table that was
// closed cleanly must be found exactly as it was left; of one that crashed,
// whoever can write to the disk may take the newest log's last frames away
// (docs/threat-model.md).
//
// A failed write to the disk never ends or hangs the process. The call fails;
// the table is poisoned ([ErrPoisoned]) until [Table.Reopen], other tables go
// on. A full disk is waited for ([Options.DiskFullWait]); then the table
// serves reads until there is space ([ErrDiskFull]).
//
// # How a call runs
//
// A Table opens its instance on first use: package keyring unwraps its key (one
// call to the key service), the sealing FS checks the directory, the journal
// records that the table is open, Pebble opens. Every later call enters the
// instance, runs, asks the hole whether the disk is healthy, and only then
// believes what Pebble answered. Idle instances close, with a seal that the
// next open checks.
//
//	Store ── Table ── instance ── Pebble ── hole ── sealfs ── diskfull ── disk
//	  │                                              ├─ sstable
//	  ├─ journal: how each table was left            └─ wal
//	  ├─ keyring: names, wrapped keys, metadata
//	  └─ audit: who used which key, and whether he was let
//
// # Keys
//
// A table's keys change while it is in use ([Table.RotateRoot], [Table.RotateKey],
// [Table.Reencrypt], [Table.RetireKey]), by itself where it has a [Schedule].
// [Store.KeyStatus] tells what each key protects. Its key service is asked again and
// again while the table is open ([Options.KeyLease]); where it says no, the table
// locks ([LockedError]) until it says yes. Where it says no for weeks, a table can be
// archived and dropped, if the program wants that ([KeyLossPolicy]).
//
// # The archive of the log
//
// A table may keep its log segments until somebody has taken them elsewhere
// ([Table.SetArchiving]), for a restore to any second: [Table.ArchiveSegments] lists
// them, as ciphertext, up to what is durable; [OpenArchived] reads them back, batch by
// batch, with the table's keys, and [Table.ApplyArchived] writes a batch to a table that
// is being restored. Writes never wait for it.
//
// # Many tables
//
// Tables share block cache, file cache and the right to compact. An open table
// costs a few hundred KiB, a closed one a few hundred bytes. What is read
// stays readable while it is read: scans and views are registered, and end
// with [ErrClosed] when their table closes.
package engine
