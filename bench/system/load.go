package system

import (
	"bytes"
	"iter"
	"slices"
)

// A row is a key and its value, in memory of a batch.
type row struct{ key, value []byte }

// Bounds of a batch.
const (
	batchRows  = 10_000
	batchBytes = 4 << 20
)

// batches copies rows and hands them to write in batches, each in key order: a
// tree takes sorted rows faster. Of rows with one key the later is behind. The
// memory is valid until write returns.
func batches(rows iter.Seq2[[]byte, []byte], write func([]row) error) error {
	var batch []row
	var buf []byte
	flush := func() error {
		slices.SortStableFunc(batch, func(a, b row) int { return bytes.Compare(a.key, b.key) })
		err := write(batch)
		batch, buf = batch[:0], buf[:0]
		return err
	}
	for k, v := range rows {
		// Where buf must grow, earlier rows keep the memory they are in.
		at := len(buf)
		buf = append(append(buf, k...), v...)
		mid, end := at+len(k), len(buf)
		batch = append(batch, row{buf[at:mid:mid], buf[mid:end:end]})
		if len(batch) == batchRows || len(buf) >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
