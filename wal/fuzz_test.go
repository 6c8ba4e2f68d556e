package wal

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// Bits of how.
const (
	fuzzBlind    = 1 // the cipher authenticates nothing
	fuzzLimit    = 2 // a live writer has committed all of the file
	fuzzAttested = 4 // final is attested
	fuzzVector   = 8 // behind the header of the vector "base"
)

// FuzzReader reads any bytes behind a good header. Under the real cipher no
// frame may come out but those that were written; under one that authenticates
// nothing, everything behind it meets any payload. The error is typed, and no
// length makes the Reader allocate.
func FuzzReader(f *testing.F) {
	g := readGolden(f)["v1-wal"]
	h, err := keyring.ParseHeader(g.b)
	require.NoError(f, err)
	seeds, err := filepath.Glob("testdata/fuzz/FuzzReader/*")
	require.NoError(f, err)
	require.GreaterOrEqual(f, len(seeds), 9, "the seeds are lost")
	body := g.b[keyring.HeaderLen:]
	f.Add(body, byte(0), uint16(7))
	for _, b := range blindBodies(f, g, h) {
		f.Add(b, byte(fuzzBlind), uint16(0))
	}

	bases := []*golden{g, nil}
	for _, v := range loadVectors(f) {
		if v.Name == "base" {
			bases[1] = goldenVector(f, v)
		}
		if len(v.In.File) > 8<<10 {
			continue // a long seed is minimized for as long as the target runs
		}
		how, final := byte(fuzzVector), v.In.Final
		if v.In.Attested > 0 {
			how, final = how|fuzzAttested, v.In.Attested
		}
		f.Add([]byte(v.In.File[min(keyring.HeaderLen, len(v.In.File)):]), how, uint16(final))
	}

	f.Fuzz(func(t *testing.T, body []byte, how byte, final uint16) {
		g := bases[how&fuzzVector/fuzzVector]
		b := append(bytes.Clone(g.b[:keyring.HeaderLen]), body...)
		opts := ReaderOptions{Options: Options{Path: "p"}, Final: uint64(final)}
		if how&fuzzBlind != 0 {
			opts.Suite = blindSuite
		}
		if how&fuzzLimit != 0 {
			opts.Limit = int64(len(b))
		}
		if how&fuzzAttested != 0 {
			opts.Attested, opts.Final = opts.Final, 0
		}
		frames, r, err := readAll(b, g.key, opts)
		if err != io.EOF {
			var e *corrupt.Error
			if !errors.As(err, &e) || e.Path != "p" || e.Offset < keyring.HeaderLen || e.Offset > int64(len(b)) {
				t.Fatalf("the error names no fault in the file: %v", err)
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("tampering looks like the end: %v", err)
			}
		}
		if r != nil && (cap(r.win.buf) > 2*len(b) || cap(r.plain) > 2*len(b)) {
			t.Fatalf("a file of %d bytes made it allocate %d and %d", len(b), cap(r.win.buf), cap(r.plain))
		}
		if how&fuzzBlind != 0 {
			return
		}
		if len(frames) > len(g.Frames) {
			t.Fatalf("%d frames came out, %d were written", len(frames), len(g.Frames))
		}
		for i, fr := range frames {
			want := g.Frames[i]
			if string(fr.Data) != want.Data || string(fr.Note) != want.Note || fr.Durable != want.Durable || !fr.Time.Equal(want.Time) {
				t.Fatalf("frame %d is not what was written", i+1)
			}
		}
	})
}

// goldenVector is a vector in the form of a golden file, as far as the fuzz
// target needs it.
func goldenVector(t testing.TB, v vector) *golden {
	g := &golden{Name: v.Name, b: v.In.File, key: vectorKey(t, v)}
	for _, fr := range v.Out.Frames {
		g.Frames = append(g.Frames, goldenFrame{time.Unix(0, fr.Time), fr.Durable, string(fr.Note), string(fr.Data)})
	}
	return g
}

// blindBodies are frames as a Writer with the blind cipher makes them, behind
// the header of g.
func blindBodies(t testing.TB, g *golden, h *keyring.Header) (bodies [][]byte) {
	m, err := floe.Resume(floe.Params{}, g.key.Key, h.Identity.AAD(), h.Floe[:])
	require.NoError(t, err)
	tag, _, err := derive(m)
	require.NoError(t, err)
	for _, compress := range []bool{false, true} {
		f := &memFile{}
		w, _ := newTestWriter(t, f, Options{Suite: blindSuite, Compress: compress})
		for range 3 {
			_, err := w.WriteNote([]byte("note"), bytes.Repeat([]byte("data"), 50))
			require.NoError(t, err)
			require.NoError(t, w.Sync())
		}
		bodies = append(bodies, bytes.ReplaceAll(f.b[keyring.HeaderLen:], w.tag[:], tag[:]))
	}
	for i, b := range bodies {
		frames, _, err := readAll(append(bytes.Clone(g.b[:keyring.HeaderLen]), b...), g.key,
			ReaderOptions{Options: Options{Suite: blindSuite}, Final: 4})
		require.Equal(t, io.EOF, err, "seed %d does not read", i)
		require.Len(t, frames, 3)
	}
	return bodies
}

// FuzzPast: what parses is canonical.
func FuzzPast(f *testing.F) {
	f.Add(testPast.encode())
	f.Add((&Past{FormatVersion: keyring.FormatVersion}).encode())
	f.Add([]byte{0, 1})
	for _, v := range loadVectors(f) {
		if v.Out != nil {
			f.Add((&Past{v.Out.Past.FormatVersion, v.Out.Past.PebbleFormat, vectorSegment(v.Out.Past.Previous), vectorSegment(v.Out.Past.Manifest)}).encode())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePast(b)
		if err != nil {
			if !errors.Is(err, corrupt.ErrCorrupt) {
				t.Fatalf("no class: %v", err)
			}
			return
		}
		if !bytes.Equal(p.encode(), b) {
			t.Fatalf("%x is not canonical", b)
		}
	})
}
