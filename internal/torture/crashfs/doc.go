// Package crashfs is a file system in memory that crashes.
//
// It lies below everything else, as a store's FS. It keeps all that was ever
// changed and not made durable, and so it can say at any time what a power cut
// may leave:
//
//	fs := crashfs.New(crashfs.Options{})
//	db, err := pebble.Open("db", &pebble.Options{FS: fs})
//	…
//	after := fs.Crash(rng, crashfs.Random) // the run goes on
//	db, err = pebble.Open("db", &pebble.Options{FS: after})
//
// A [Style] says which of the legal states it is to be. The state is a FS like
// any other, in which all is durable; so a recovery can be crashed too. The
// same [Moment], style and seed make the same state.
//
// # What a crash leaves
//
// The unit of the disk is a sector of 512 bytes. Whatever a sync has not made
// durable is there or not, each thing for itself:
//
//   - Sectors. Each holds what was durable, or any later version of itself,
//     also one that was overwritten in memory; or it is torn: the beginning of
//     a version, and behind it the end of an older one. A later write may have
//     reached the disk and an earlier one not. A sector that was never durable
//     may read as zeros, as random bytes, or as a sector of a file that was
//     removed for good.
//   - Lengths. A file is as long as it durably was, or as after any later
//     write, or ends at a border of sectors in between. What lies behind the
//     durable end in the same sector is zeros or what was written there.
//   - Names. Each name in a directory means what it durably did, or what any
//     later change has made of it: creations, links and removals are kept in
//     any order, a removed file may come back, and a new one may show under
//     its name with any of the contents above.
//
// What binds a crash:
//
//   - Sync and SyncData of a file make its content and length durable, under
//     all of its names; not the names. Sync of a directory makes its names
//     durable, as they are then; not what they name, and not its own name.
//     SyncTo and Preallocate promise nothing.
//   - A rename does not lose the file: the old name is gone only if the new
//     one, or what has since become of it, is there, with the directories above
//     it. (The new name may be there beside the old.) A sync of the old name's
//     directory so makes the new name durable. Of a directory that was renamed
//     exactly one name is there. All file systems with a journal do this;
//     Options.TornRenames asks for one that does not.
//   - A directory from which a file was renamed is gone only if the file's new
//     name is there.
//   - A hole reads as zeros. Nothing appears that was never written, but random
//     bytes.
//
// This is more than any one file system does: ext4 keeps the order of names
// and, by its default, never shows what was in a block before. It is what POSIX
// leaves open, and what code must survive that does not know where it runs.
//
// # Capturing
//
// Mutations are counted from 1 ([FS.Ops]); so a run whose operations are the
// same can be told to capture, or to fail, at any of them. [FS.Moment] captures
// now, [FS.CaptureAt] after given mutations, and a hook ([FS.OnOp]) wherever it
// likes. A Moment takes microseconds: contents are shared and copied on change,
// 32 KiB at a time by reference. It stays as it is, and any number of states
// can be made of it, also in parallel.
//
// # Faults
//
// [FS.FailOp] fails the n-th mutation, or all from the n-th on; [FS.Inject]
// decides by the operation. [ReadEIO] fails operations that change nothing,
// which are counted apart ([FS.Reads]). A failed operation changes nothing,
// except where the [Fault] says so. [FailedSyncPagesClean] is the fsync that
// fails once: the kernel takes the pages for clean, the next fsync succeeds,
// and the bytes are in memory only.
//
// The disk has a size ([Options], [FS.SetCapacity]). A write that does not fit
// writes what does and fails with ENOSPC, as a file or directory that does not
// fit; removal frees the space when the last handle is closed.
//
// # As a vfs.FS
//
// It behaves as the operating system's file system does. Names have slashes;
// relative ones start at the root, which is where the process is. An error is
// a *os.PathError or *os.LinkError around os.ErrNotExist, os.ErrExist or an
// errno. Handles have no descriptor (vfs.InvalidFd). The clock of
// modification times is the number of mutations.
package crashfs
