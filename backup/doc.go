// Package backup keeps backups of stores in a repository: ciphertext that is copied,
// never sealed again.
//
//	st, err := locate.Open(ctx, "/backups/clinic", locate.Options{})
//	repo, err := backup.Open(ctx, st, backup.Options{Create: true})
//	rep, err := repo.Create(ctx, store, backup.CreateOptions{})
//
// and, when the store is lost,
//
//	store, err := engine.Open(ctx, "./clinic", engine.Options{RootKey: root})
//	rep, err := repo.Restore(ctx, store, backup.RestoreOptions{Backup: "latest"})
//
// The keys of the store open its backups, and no others do: no key is needed to make
// one, and none lies in the repository but wrapped by root keys. What Restore needs is
// the repository and a root key.
//
// # What lies where
//
//	repository                          id, format version
//	backups/<name>                      manifest: makes a backup exist
//	index/<name>/<table>                files of one table, sealed under its key
//	data/<xx>/<file id>-<sha256>        one sealed file of a table, as it was on disk
//	lockboxes/<table>/<time>-<digest>   a table's keys, wrapped by its root keys
//	archive/<table>/<life>/<n>-…        parts of logs, for points in time
//	pins/<name>                         keeps a backup from Prune
//	condemned/<time>-<id>               what Prune is to remove the next time
//	locks/writer                        register of the one who writes
//
// Every object but the lock is written once. Data comes first, then the lockbox, then the
// index, then the manifest; deletion runs the other way. So a backup that is listed is
// whole, whenever whoever made it was stopped; what is not listed is nobody's, and the
// next Create uses it or the next Prune removes it. docs/repository.md has the bytes.
//
// # Trust
//
// A repository is not trusted: whoever can write there may change, exchange or take
// away objects, and has no key. An index is sealed under the table's key, and names
// backup, tables and the digest of each file; Verify and Restore take nothing that it
// does not name. Create passes over a file only if the newest index that opens lists
// it, and the storage has an object of its name and size; whether its bytes are right
// Verify says. A backup of a locked table is made without its key and is marked unsealed:
// nothing in its index is believed, and Restore takes what belongs to the table from the
// table's own sealed MANIFEST.
//
// Somebody who can write there can take the newest backups away, or all of them, and
// nothing in the repository tells: keep the names, or a copy elsewhere.
//
// # One writer
//
// Create, Prune, Rewrap and copies into a repository take a lease on it (package
// lease), and end before they lose it. Readers take none: Prune removes objects a run
// after it has removed the last manifest that names them.
//
// # Speed and memory
//
// Every byte is read once, hashed with SHA-256 and written once. docs/cost.md has what
// that takes beside a copy of the same files.
//
// Create and Restore hold a buffer of 256 KiB for each file under way, and the indexes of
// the tables under way: about 250 bytes a file. A process that backs up or restores 2.2 GB
// in 660 files, with an engine and its command line, takes 60 MiB at its peak.
package backup
