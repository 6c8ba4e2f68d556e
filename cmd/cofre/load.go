package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

// batchBytes ends a batch early, so that large values do not pile up.
const batchBytes = 4 << 20

// shownFaults is how many bad entries are named one by one.
const shownFaults = 100

// A load moves an input into a table. One goroutine reads and fills batches;
// run commits them in order and tells what was acknowledged. There is never
// more than one batch in each hand.
type load struct {
	app   *app
	table *engine.Table
	in    *input
	ack   *ackFile
	skip  bool // bad entries are left out
	batch int  // entries, at most
	opts  *engine.WriteOptions
	began time.Time
	// stopReading ends a Read of the input that waits for a pipe.
	stopReading context.CancelFunc

	// What run has committed, and met.
	entries, bytes int64
	bad            int64
	failed         bool // the table or the file of acknowledged keys refused
}

// A chunk is a batch on its way from the reader to run, which closes it.
type chunk struct {
	batch   *engine.Batch
	entries int64
	bytes   int64
	acks    []byte              // the lines of the batch's keys
	faults  []*records.BadEntry // met while it was filled
	read    int64               // of the input, in bytes
}

// run moves the entries. An interrupt or a bad entry ends it after what came
// before has been committed; an error of the table ends it at once.
func (l *load) run(ctx context.Context) error {
	bar := l.app.progress(l.table.Name(), l.in)
	defer func() { bar.done() }()
	chunks := make(chan *chunk)
	var readErr error // set before chunks is closed
	failed := make(chan struct{})
	go func() {
		defer close(chunks)
		readErr = l.fill(ctx, chunks, failed)
	}()
	var err error
	for c := range chunks {
		if !l.failed {
			err = l.commit(c, bar)
		}
		if err = errors.Join(err, c.batch.Close()); err != nil && !l.failed {
			l.failed = true
			close(failed)
			l.stopReading()
		}
	}
	return errors.Join(err, readErr)
}

// commit makes a chunk durable, and only then acknowledges it.
func (l *load) commit(c *chunk, bar *progress) error {
	for _, fault := range c.faults {
		if l.bad++; l.bad <= shownFaults {
			bar.note("skipped %v", fault)
		} else if l.bad == shownFaults+1 {
			bar.note("more bad entries follow; they are counted and not shown")
		}
	}
	if c.entries > 0 {
		if err := c.batch.Commit(l.opts); err != nil {
			return err
		}
	}
	// If we crash here, the keys are there and not acknowledged: no harm.
	l.entries += c.entries
	l.bytes += c.bytes
	bar.set(l.entries, c.read)
	return l.ack.write(c.acks)
}

// fill reads the input to its end and sends it in chunks. It stops at once
// when failed is closed, and at the next entry when ctx ends.
func (l *load) fill(ctx context.Context, chunks chan<- *chunk, failed <-chan struct{}) error {
	next := &chunk{batch: l.table.NewBatch()}
	// send hands the chunk over, if it holds anything or is the last.
	send := func(last bool) bool {
		next.read = l.in.read()
		select {
		case chunks <- next:
		case <-failed:
			return false
		}
		if !last {
			next = &chunk{batch: l.table.NewBatch()}
		}
		return true
	}
	var e records.Entry
	for {
		err := ctx.Err()
		if err == nil {
			err = l.in.Next(&e)
		}
		if err == nil {
			err = next.batch.Put(e.Key, e.Value)
		}
		var fault *records.BadEntry
		switch {
		case err == nil:
			next.entries++
			next.bytes += int64(len(e.Key) + len(e.Value))
			next.acks = l.ack.line(next.acks, e.Key)
		case l.skip && errors.As(err, &fault):
			next.faults = append(next.faults, fault)
		default:
			if !send(true) {
				return next.batch.Close()
			}
			if err == io.EOF {
				return nil
			}
			if errors.As(err, &fault) {
				return &failure{exitFailure, err, "correct the input, or leave such entries out with --on-error skip"}
			}
			return err
		}
		if cap(e.Value) > batchBytes {
			e.Value = nil // a large value's buffer is not kept
		}
		if (next.entries >= int64(l.batch) || next.bytes >= batchBytes || len(next.faults) >= shownFaults) && !send(false) {
			return next.batch.Close()
		}
	}
}
