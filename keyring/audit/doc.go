// Package audit is the log of key operations: who used which key of a store, for
// what, when, and whether he was let.
//
//	audit/audit-000001.jsonl   one record a line, oldest first
//	audit/audit-000002.jsonl   goes on where the one before is full
//	audit/provisional.jsonl    records of attempts to open the store without its key
//
// Package engine keeps it: it hands the keyring root keys that record their calls
// ([Root]), and records what it does with keys itself. What reads and writes rows is
// not recorded.
//
//	l := audit.New(audit.Options{Actor: "payroll"})
//	root = audit.Root(root, l)                        // recorded from now on
//	ring, err := keyring.Open(…, keyring.Options{Audit: l.State})
//	err = l.Open(ctx, place, audit.OpenOptions{State: ring.Audit(), Wrap: …})
//
// and whoever looks after it
//
//	for record, err := range audit.Records(fs, dir) { … }
//	report, err := audit.Verify(ctx, place, audit.VerifyOptions{…})
//
// # Records
//
// A [Record] has the shape of AWS CloudTrail's: eventTime, eventName, eventSource,
// userIdentity, requestParameters, errorCode. It holds no secret: no key, no row,
// no table's name, no text of an error, since a key service's message could repeat
// what it was handed. Wrapped keys are no secrets; the first record of a chain has
// some.
//
// # The chain
//
// Each record has an HMAC over itself and the MAC of the record before, under a key
// that is used once and then replaced by one derived from it (drawn at chain). So
// the key that a process holds, or that a copy of its memory shows, authenticates
// what comes and not what was.
//
// The first key of a chain is random. It is wrapped by the root keys of the store,
// the wraps stand in the chain's first record, and it is erased with that: to have
// it again takes a call to a key service, which can refuse it by the purpose in the
// encryption context (audit-key) and keeps a log of its own. It is not derived from
// the store key, or sealed under it, since the store key is in memory as long as the
// store is open: who has read that memory could then forge all that was ever
// recorded.
//
// Where a process ends, the next must go on with the key of the next record. That
// lies in the keyring, sealed under the store key, with number and MAC of the newest
// record: each generation of the keyring says where the log was when it was made.
// From there the next opening follows the chain to its end. A key service that
// notes the newest generation notes with it that record.
//
// # What is found
//
// [Verify], with the chain's first key, finds every record that was changed,
// removed, repeated, moved or taken from elsewhere, up to the last head that it
// knows: the keyring's, and those that others have kept ([Head]). What comes behind
// can be cut off, and looks as if it had not been yet. Whoever has the store key and
// an older keyring can make other records from that keyring's head on; whoever has a
// root key, from the beginning. Heads that he cannot change show it.
//
// # Durability
//
// A record is durable before the result of what it records is used. What makes or
// changes a key is refused where the log cannot be written; what only uses one goes
// on, for 1024 records that wait in memory ([Log]).
//
// A file gets its name when its first lines are durable. After a failed write the
// same lines go into a new file, whose first record says where the one before ends.
// What a crash leaves of lines that were not durable is passed over in the same way,
// and stays there: Verify warns of it. Nothing is ever cut off or rewritten.
//
// # What is kept
//
// [Log.Prune] removes the oldest files, when they have been verified. The key of the
// first record that is kept is not the chain's first, and no wrap has it. So a record of
// EventPrune gets it, wrapped as a chain's first key is, with the number of that file
// and of that record: who verifies looks for the last such record before he begins. It
// is in the chain that it begins, so he finds out whether it is authentic.
package audit
