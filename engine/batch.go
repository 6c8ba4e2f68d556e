package engine

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A Batch collects writes to one table that take effect together: after a
// crash all of them are there or none. The zero Batch is not usable; it is
// made by Table.NewBatch. A Batch is for one goroutine.
//
// It holds its own copy of keys and values. Committing empties it for reuse;
// what was not committed is dropped by Close.
type Batch struct {
	table *Table
	b     pebble.Batch
	most  int // bytes
}

// maxBatch bounds a batch, in bytes. Pebble panics at 4 GiB.
const maxBatch = 4<<30 - 1<<20

// NewBatch returns an empty batch.
func (t *Table) NewBatch() *Batch { return &Batch{table: t, most: maxBatch} }

// room makes sure that an operation of n bytes fits.
func (b *Batch) room(n int) error {
	const header = 32 // more than an operation has beside its keys and values
	if n > b.most-header-b.b.Len() {
		return fmt.Errorf("%w: it holds %d bytes of %d, and %d are to be added", ErrBatchTooLarge, b.b.Len(), b.most, n)
	}
	return nil
}

// Put sets the value of key when the batch is committed.
func (b *Batch) Put(key, value []byte) error {
	if err := errors.Join(checkKey(key), checkValue(value)); err != nil {
		return err
	}
	if err := b.room(len(key) + len(value)); err != nil {
		return err
	}
	return b.b.Set(key, value, nil)
}

// Delete removes key when the batch is committed.
func (b *Batch) Delete(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := b.room(len(key)); err != nil {
		return err
	}
	return b.b.Delete(key, nil)
}

// DeleteRange removes the keys from from, inclusive, to to, exclusive, when
// the batch is committed; keys put earlier in the same batch too.
func (b *Batch) DeleteRange(from, to []byte) error {
	if err := errors.Join(checkKey(from), checkKey(to)); err != nil {
		return err
	}
	if err := b.room(len(from) + len(to)); err != nil {
		return err
	}
	return b.b.DeleteRange(from, to, nil)
}

// Len is the number of operations in the batch, Size their length in bytes. A
// batch may grow to nearly 4 GiB; then the calls that add to it fail with
// ErrBatchTooLarge.
func (b *Batch) Len() int  { return int(b.b.Count()) }
func (b *Batch) Size() int { return b.b.Len() }

// Reset drops what is in the batch.
func (b *Batch) Reset() { b.b.Reset() }

// Close drops what is in the batch and frees it. It is idempotent.
func (b *Batch) Close() error {
	b.b.Reset()
	return nil
}

// Commit applies the batch, durably unless opts say otherwise, and empties it.
// If it fails the batch is unchanged, and the table holds all of it or nothing.
func (b *Batch) Commit(opts *WriteOptions) error {
	if b.Len() == 0 {
		return nil
	}
	i, wo, err := b.table.beginWrite(opts)
	if err != nil {
		return err
	}
	defer i.leave()
	// Pebble marks a batch as applied, for good; the copy keeps ours usable.
	pb := i.db.NewBatch()
	if err := pb.SetRepr(b.b.Repr()); err != nil {
		return err
	}
	if err := i.wrote(wo, pb.Commit(wo)); err != nil {
		return err
	}
	b.b = pebble.Batch{}
	return i.result(pb.Close())
}
