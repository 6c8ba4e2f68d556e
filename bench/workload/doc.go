// Package workload says what the benchmark does to a store: which rows there
// are, in which order they are touched, and how what a store answers is
// compared with what it was told.
//
// # Rows
//
// Row i has the key "user" and 16 hexadecimal digits. In a table of hashed keys
// the digits are a bijective hash of i, so that rows written in the order of i
// arrive in random order, and popular rows lie apart, as in YCSB; in a table of
// ordered keys they are i. A value depends on the seed, the row and how often
// the row was written: it begins with a stamp of 16 bytes that names all three,
// and goes on with records of text that compress to about half. A value that
// belongs to another row, another version or another run is so told from the
// right one, and the right one can be computed anew.
//
// # Choosing rows
//
// Uniform, Zipfian with the constant 0.99, and Latest, which is Zipfian from
// the newest row backwards: those of Cooper et al., "Benchmarking Cloud Serving
// Systems with YCSB", SoCC 2010.
//
// # Checking
//
// The Model holds what was acknowledged: the version of each row. Every read is
// compared byte by byte with the version that its stamp names, every scan with
// the order of keys, and after a turn that wrote the store is closed, opened and
// scanned, and compared with the versions that were acknowledged. A store
// that drops a write, invents one, or answers with an older value fails the run.
package workload
