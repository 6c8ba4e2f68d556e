package crashfs

import "slices"

// sectorLen is what a disk writes at once, in bytes.
const sectorLen = 512

// A sector is a version of 512 bytes of a file. It never changes.
type sector struct {
	prev *sector // the version before, where that was not durable either
	op   int     // the mutation that wrote it
	data [sectorLen]byte
}

const chunkLen = 64 // sectors

type chunk struct {
	own     *owner
	sectors [chunkLen]*sector
}

// An owner tells by its address whose a chunk is.
type owner struct{ _ byte }

// A vector holds the sectors of a file by index; nil is a hole, or beyond the
// end. To share one costs nothing, and the first change after that copies the
// table and the chunks it touches. The zero value is empty.
type vector struct {
	own *owner // nil: all that is here may be someone else's too
	top []*chunk
}

// share returns the same sectors as a vector of its own. It changes v.
func (v *vector) share() vector {
	v.own = nil
	return vector{top: v.top}
}

func (v *vector) at(i int) *sector {
	if c := i / chunkLen; c < len(v.top) && v.top[c] != nil {
		return v.top[c].sectors[i%chunkLen]
	}
	return nil
}

func (v *vector) set(i int, s *sector) {
	if v.own == nil {
		v.own = new(owner)
		v.top = slices.Clone(v.top)
	}
	c := i / chunkLen
	for c >= len(v.top) {
		v.top = append(v.top, nil)
	}
	switch old := v.top[c]; {
	case old == nil:
		v.top[c] = &chunk{own: v.own}
	case old.own != v.own:
		v.top[c] = &chunk{own: v.own, sectors: old.sectors}
	}
	v.top[c].sectors[i%chunkLen] = s
}

// cut drops the sectors from index n on.
func (v *vector) cut(n int) {
	end := (n + chunkLen - 1) / chunkLen
	if len(v.top) > end {
		v.own = nil
		v.top = slices.Clip(v.top[:end])
	}
	for i := n; i < len(v.top)*chunkLen; i++ {
		if v.at(i) != nil {
			v.set(i, nil)
		}
	}
}

// differ calls f with each index at which v and w differ, in order.
func (v *vector) differ(w *vector, f func(i int)) {
	for c := range max(len(v.top), len(w.top)) {
		var a, b *chunk
		if c < len(v.top) {
			a = v.top[c]
		}
		if c < len(w.top) {
			b = w.top[c]
		}
		if a == b {
			continue
		}
		for i := range chunkLen {
			var s, t *sector
			if a != nil {
				s = a.sectors[i]
			}
			if b != nil {
				t = b.sectors[i]
			}
			if s != t {
				f(c*chunkLen + i)
			}
		}
	}
}
