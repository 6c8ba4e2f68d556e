package sstable

import "io/fs"

// walkLen is how many bytes of sealed segments a Walk loads at once, at most.
const walkLen = 32 << 10

// A Walk reads a file piece after piece, up or down, for one caller at a time.
// Where a read goes on from the last, it loads a run of segments in that
// direction with one read of the file below, a longer one each time, and opens
// each segment once; a segment on the border of two reads stays open for the
// second. Where a read does not go on, it is exact.
//
// Reading down is what it is for: nothing below reads ahead in that direction.
// It has little memory, which it keeps from file to file.
type Walk struct {
	r        *Reader // nil until Begin, and after End
	b        buffer
	run      []byte // loaded segments, in b.sealed
	first    int64  // index of the run's first segment
	count    int64  // segments in the run
	edge     int64  // index of the segment in b.plain, or -1
	from, to int64  // of the last read
	asked    int64  // segments that the read still needs
	ahead    int64  // segments of the next run, if no more are asked for
}

// Begin has the walk read r, from to on upwards or from from on downwards.
func (w *Walk) Begin(r *Reader, from, to int64) {
	w.End()
	w.r, w.from, w.to, w.ahead = r, from, to, 2
}

// End wipes what the walk has opened, and lets go of its file.
func (w *Walk) End() {
	w.b.wipe()
	w.r, w.run, w.count, w.edge = nil, nil, 0, -1
}

// ReadAt reads as [io.ReaderAt] does.
func (w *Walk) ReadAt(p []byte, off int64) (int, error) {
	if w.r == nil {
		return 0, fs.ErrClosed
	}
	n, err := w.r.clip(len(p), off)
	if n == 0 {
		return 0, err
	}
	to := off + int64(n)
	up, down := off == w.to, to == w.from
	w.from, w.to = off, to
	if !up && !down {
		return w.r.ReadAt(p, off)
	}
	if w.fill(p[:n], off, down) != nil {
		// Perhaps for bytes that nobody has asked for: an exact read tells.
		return w.r.ReadAt(p, off)
	}
	return n, err
}

// fill fills p segment by segment, in the walk's direction: what is opened last
// is what the next read begins with.
func (w *Walk) fill(p []byte, off int64, down bool) error {
	full := w.r.shape.full
	first, last := off/full, (off+int64(len(p))-1)/full
	for k := range last - first + 1 {
		w.asked = last - first + 1 - k
		i := first + k
		if down {
			i = last - k
		}
		from, to := max(off, i*full), min(off+int64(len(p)), (i+1)*full)
		if err := w.part(p[from-off:to-off:to-off], i, from-i*full, down); err != nil {
			return err
		}
	}
	return nil
}

// part fills p from segment i, from skip on.
func (w *Walk) part(p []byte, i, skip int64, down bool) error {
	if i == w.edge {
		copy(p, w.b.plain[skip:])
		return nil
	}
	if i < w.first || i >= w.first+w.count {
		if err := w.load(i, down); err != nil {
			return err
		}
	}
	w.edge = -1
	w.b.wipe()
	if _, err := w.r.openPart(&w.b, p, w.run[(i-w.first)*w.r.shape.unit:], i, skip); err != nil {
		return err
	}
	if len(w.b.plain) > 0 {
		w.edge = i
	}
	return nil
}

// load loads the run that begins, or where the walk goes down ends, with segment
// i.
func (w *Walk) load(i int64, down bool) error {
	s := &w.r.shape
	most := max(1, walkLen/s.unit)
	n := min(max(w.ahead, w.asked), most)
	first := i
	if down {
		first = max(0, i-n+1)
		n = i - first + 1
	} else {
		n = min(n, s.segments-i)
	}
	w.count = 0 // a failed load leaves no run
	w.b.room(most*s.unit, s.full)
	run, err := w.r.load(w.b.sealed, first, n)
	if err != nil {
		return err
	}
	w.run, w.first, w.count = run, first, n
	w.ahead = min(2*w.ahead, most)
	return nil
}
