package engine

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// PebbleOptions are the options that a table of a store has below, for those
// who want to know what the engine costs and compare it with plain Pebble:
// caches, memtables, levels, filters, compression, format and compactions are
// the same. Of opts they need no root key, and use the sizes and the logger.
//
// Four things differ. Compactions are scheduled, and events heard, by Pebble's
// own means. The files lie on vfs.Default. The database is made where
// there is none. And writers wait in Pebble where they would in the engine, at
// as many sublevels of level 0, for plain Pebble has no other back-pressure;
// it waits without a deadline.
//
// The caller owns a reference to o.Cache and one to o.FileCache, and drops them
// (Unref) once Pebble has opened, which takes its own, or has failed to.
func PebbleOptions(opts Options, table TableOptions) (o *pebble.Options, err error) {
	if err := opts.setSizes(); err != nil {
		return nil, err
	}
	if table.SeparateValuesFrom < 0 {
		return nil, fmt.Errorf("engine: values cannot be separated from %d bytes on", table.SeparateValuesFrom)
	}
	s := &Store{
		opts:      opts,
		cache:     pebble.NewCache(opts.MemoryBudget),
		fileCache: pebble.NewFileCache(fileCacheShards, opts.MaxOpenFiles),
	}
	o = s.pebbleOptions(&metadata{separateFrom: table.SeparateValuesFrom, noCompression: table.NoCompression})
	o.FS = vfs.Default
	o.ErrorIfNotExists = false
	o.L0StopWritesThreshold = stallSublevels
	o.Logger = &logger{log: opts.Logger, fatal: func(err error) { panic(err) }}
	return o, nil
}
