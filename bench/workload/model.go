package workload

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cofredb/cofre/bench/system"
)

// A Model is what a store must hold: of each row, how often it was written and
// acknowledged; 0 is a row that is not there. A row is written by one goroutine
// at a time; reads may run beside it.
type Model struct {
	data     *Data
	versions []atomic.Uint32
}

// NewModel is an empty table with room for rows.
func NewModel(data *Data, rows int) *Model {
	return &Model{data: data, versions: make([]atomic.Uint32, rows)}
}

// Loaded says that the first n rows were written once.
func (m *Model) Loaded(n int) {
	for i := range n {
		m.versions[i].Store(1)
	}
}

// acknowledged is the version of a row that a read must at least see.
func (m *Model) acknowledged(i uint64) uint32 {
	if i >= uint64(len(m.versions)) {
		return 0
	}
	return m.versions[i].Load()
}

// checkRead compares an answer, all of it, with what was acknowledged before the
// question: as a program would, it touches what it has read.
func (m *Model) checkRead(i uint64, before uint32, value []byte, found bool) error {
	if !found {
		if before != 0 {
			return fmt.Errorf("row %d is not there, version %d was acknowledged", i, before)
		}
		return nil
	}
	row, version, ok := m.data.stamp(value)
	switch {
	case !ok || row != i:
		return fmt.Errorf("row %d: the answer is the value of another row, or of none", i)
	case version < before:
		return fmt.Errorf("row %d: version %d was read, %d was acknowledged before", i, version, before)
	case before == 0 && i >= uint64(len(m.versions)):
		return fmt.Errorf("row %d was never written, and is there", i)
	}
	return m.data.check(i, version, value)
}

// deleted says that rows whose place in the order of keys is in one of the
// ranges are gone.
func (m *Model) deleted(ranges [][2]uint64) {
	for i := range m.versions {
		h := m.data.hash(uint64(i))
		for _, r := range ranges {
			if r[0] <= h && h < r[1] {
				m.versions[i].Store(0)
				break
			}
		}
	}
}

// Rows is the number of rows that are there.
func (m *Model) Rows() (n int64) {
	for i := range m.versions {
		if m.versions[i].Load() != 0 {
			n++
		}
	}
	return n
}

// Check scans a store and compares all it holds with the model, byte by byte.
// It returns how many rows it compared.
func (m *Model) Check(s system.System) (rows int64, err error) {
	var last []byte
	var fault error
	err = s.Scan(nil, false, func(key, value []byte) bool {
		if rows > 0 && bytes.Compare(last, key) >= 0 {
			fault = fmt.Errorf("key %q comes after %q", key, last)
			return false
		}
		last = append(last[:0], key...)
		i, ok := m.data.Index(key)
		version := uint32(0)
		if ok {
			version = m.acknowledged(i)
		}
		if version == 0 {
			fault = fmt.Errorf("key %q is there; it was never written, or it was deleted", key)
			return false
		}
		fault = m.data.check(i, version, value)
		rows++
		return fault == nil
	})
	if err = errors.Join(err, fault); err != nil {
		return rows, err
	}
	if want := m.Rows(); rows != want {
		return rows, fmt.Errorf("%d rows are there, %d were acknowledged", rows, want)
	}
	return rows, nil
}
