// Package bench measures what encryption costs: it runs the same workloads on
// Cofre, on plain Pebble with the very same options, and on what a program
// would use instead, and reports every figure of every round.
//
//	plan, err := bench.Quick()
//	report, err := bench.Run(ctx, plan, nil)
//
// # Method
//
// A turn is one workload on one system. It runs in a process of its own, so
// that memory, allocations, processor time and bytes written are its own, and
// nothing of one system warms or burdens another. The same turns of all systems
// form a round: they run next to each other in time, in an order that rotates
// and that every other round runs backwards, and ratios are taken within a round,
// so that whatever else the machine does hits all alike. Turns that leave nothing
// to the background are cut into slices, and systems take turns at those; others
// run one after another.
//
// A system starts a turn with an empty directory, or with the table that was
// loaded once for all rounds, of which a turn that writes gets a copy of its
// own. Keys, values and the order of operations follow from the seed and the
// number of the round, and are the same for every system; they are drawn before
// the clock runs. All systems have a cache of the same size. Writes of fillsync1
// and fillsync8 are durable when they return; others may be lost until the store
// has settled, and systems differ in how much they hold back in the process.
//
// Time counts until the last operation has returned and, where a workload
// writes, until what it has left to the background is done. Processor time is
// that of the process, user and system. Bytes written are those that the kernel
// charges to the process. Space is the length of all files after a close.
//
// # No system can cheat
//
// Each read is compared with what was acknowledged before it, each scan with
// the order of keys. After a turn that wrote, the system is closed and opened,
// and every byte of every row is compared (package workload). Before a run with
// durable writes, each system proves that it syncs: after one large write, its
// pages must not be dirty in the operating system's cache (package pagecache).
// A system that fails is reported as failed, with what it did, and has no
// figures for that workload.
//
// # Packages
//
//	system    the stores behind one interface, one adapter a file
//	workload  rows, operations, the model that answers are compared with
//	report    the document, and what is made of it: tables, page, comparison
//
// This package plans, spawns the processes and puts the report together; the
// command is cmd/cofre-bench.
package bench
