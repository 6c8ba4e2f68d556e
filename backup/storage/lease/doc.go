// Package lease is a lock in a storage: one holder at a time, which survives
// neither a crash of its holder nor being forgotten.
//
//	l, err := lease.Acquire(ctx, s, "lock", lease.Options{Operation: "backup create"})
//	if err != nil { … }                // a *LockedError tells who holds it
//	defer l.Release(context.WithoutCancel(ctx))
//	ctx, cancel := l.Bind(ctx)         // ends when the lease is lost
//
// # How it works
//
// The lock is a register (storage.Storage.Swap) that says who holds it: host,
// process, operation, since when, a random id, and a counter. The holder
// changes the counter each third of the TTL. Who wants the lock takes it by
// compare-and-swap, so that one of several gets it,
//
//   - where the register is not there, or says that it was released;
//   - where the register has not changed for a TTL, by his own monotonic clock,
//     since he first saw it: clocks are never compared between machines;
//   - at once where the holder is a process of this machine, since it was
//     booted, and is not there any more. (On Linux. Elsewhere, and between
//     containers, it cannot be proved, and the TTL decides.)
//
// The holder counts from before its last successful renewal began, and takes
// the lease for lost after nine tenths of the TTL, or as soon as somebody else
// is in the register. Its clock running a tenth slower than another's does no
// harm. A machine that was asleep finds by its wall clock that too much time
// has passed.
//
// # What it does not do
//
// A request that was sent before the lease was lost may reach the storage after
// another has the lock. So what is done under it must be harmless beside
// another's: objects that are immutable, deletions in two phases.
//
// A storage that ignores conditions cannot hold a lock: [Acquire] tries it, and
// fails with storage.ErrUnsupported. On a directory the lock is as good as the
// file system's locks are (package dir).
package lease
