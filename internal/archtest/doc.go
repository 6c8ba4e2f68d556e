// Package archtest holds the rules of the project's architecture as tests:
// who may import whom, who may touch crypto/cipher, and what the core may pull
// in. It has no code of its own.
//
// Imports point one way:
//
//	cmd → bench → backup → engine → sstable, wal → keyring → internal
//
// Below backup lies backup/storage, which knows nothing of stores; one package
// of it speaks S3, and nothing else links that client.
//
// sstable and wal know neither each other nor Pebble's root package. The core
// is engine, sstable, wal and keyring without its sub-packages, of which there
// is one a key service: a program that does not use a key service does not
// link its client. internal/torture drives the whole product in tests,
// internal/vectors loads the published vectors there, and nothing that ships
// imports either.
//
// The rules are about code that ships. Test files may import what they need.
// Files of every operating system and build tag count.
//
// testdata/core_modules lists every module that the core links, on any
// platform. After a change that was meant, go test ./internal/archtest
// -rewrite writes it anew, and the difference is there to be reviewed.
package archtest
