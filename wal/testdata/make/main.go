// Command make writes the golden logs of package wal, what they hold, and the
// seeds of its fuzz target. It has written those of format version 1; run it
// again for a new version only, and keep the older files:
//
//	go run ./wal/testdata/make wal/testdata
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// A log as golden.json tells of it. The file is what each part of it left.
type golden struct {
	Name       string
	Key        string
	Identity   keyring.Identity
	KeyVersion uint32
	Wrapped    string
	Past       wal.Past
	Frames     []frame
	End        int64
	Dropped    int64
}

type frame struct {
	Time    time.Time
	Durable uint64
	Note    string
	Data    string
}

type write struct {
	note, data string
	sync       bool
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: make DIRECTORY")
	}
	dir := os.Args[1]
	previous := wal.Segment{Number: 41, FileID: keyring.NewID(), Frames: 1234}
	manifest := wal.Segment{Number: 39, FileID: keyring.NewID(), Frames: 17}
	first := wal.Past{FormatVersion: keyring.FormatVersion}
	later := wal.Past{FormatVersion: keyring.FormatVersion, PebbleFormat: 24, Previous: previous, Manifest: manifest}
	writes := []write{
		{data: "a"},
		{data: strings.Repeat("the quick brown fox ", 20), sync: true},
		{note: "a note", data: "and its data"},
		{note: "a note alone", sync: true},
		{data: strings.Repeat("0123456789", 100)},
		{data: "the last"},
	}
	var all []golden
	var recycled []byte
	for _, g := range []struct {
		name   string
		kind   keyring.FileKind
		past   wal.Past
		opts   wal.Options
		writes []write
		cut    int // bytes that the last frame has lost
	}{
		{name: "v1-wal", kind: keyring.KindWAL, past: later, writes: writes},
		{name: "v1-compressed", kind: keyring.KindWAL, past: later, writes: writes, opts: wal.Options{Compress: true}},
		{name: "v1-manifest", kind: keyring.KindManifest, past: first, writes: writes},
		{name: "v1-empty", kind: keyring.KindJournal, past: first},
		{name: "v1-crashed", kind: keyring.KindWAL, past: later, writes: writes[:5], cut: 100},
	} {
		f := &file{}
		id := keyring.Identity{
			Kind:        g.kind,
			StoreID:     keyring.NewID(),
			TableID:     keyring.NewID(),
			FileID:      keyring.NewID(),
			Number:      42,
			Incarnation: keyring.NewID(),
			CreatedAt:   time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		}
		key := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 3}
		for i := range key.Wrapped {
			key.Wrapped[i] = byte(i)
		}
		now := id.CreatedAt
		g.opts.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
		w := must(wal.NewWriter(f, id, key, g.past, g.opts))
		check(w.Sync())
		out := golden{
			Name: g.name, Key: hex.EncodeToString(key.Key.Expose()), Identity: id, KeyVersion: key.Version,
			Wrapped: hex.EncodeToString(key.Wrapped[:]), Past: g.past, Frames: []frame{},
		}
		for _, x := range g.writes {
			_, out.End = w.Committed()
			durable := w.Durable()
			must(w.WriteNote([]byte(x.note), []byte(x.data)))
			out.Frames = append(out.Frames, frame{now, durable, x.note, x.data})
			if x.sync {
				check(w.SyncData())
			}
		}
		if g.cut > 0 {
			// The last frame is torn, and a recycled log stands behind it.
			f.b = append(f.b[:len(f.b)-g.cut], recycled[:1000]...)
			out.Frames = out.Frames[:len(out.Frames)-1]
			out.Dropped = int64(len(f.b)) - out.End
			f.b = append(f.b, make([]byte, 300)...)
		} else {
			_, out.End = w.Committed()
			recycled = append(recycled, f.b...)
		}
		check(os.WriteFile(filepath.Join(dir, "golden", g.name+".log"), f.b, 0o644))
		all = append(all, out)
		if g.name == "v1-wal" {
			seeds(filepath.Join(dir, "fuzz", "FuzzReader"), f.b[keyring.HeaderLen:])
		}
	}
	check(os.WriteFile(filepath.Join(dir, "golden", "golden.json"), append(must(json.MarshalIndent(all, "", "\t")), '\n'), 0o644))
}

// seeds writes what the fuzz target starts from: bodies of the log v1-wal.
func seeds(dir string, body []byte) {
	check(os.MkdirAll(dir, 0o755))
	flipped := append([]byte(nil), body...)
	flipped[len(flipped)/2] ^= 1
	zeroed := append([]byte(nil), body...)
	clear(zeroed[len(zeroed)/2:])
	head := body[:20]
	var stuffed []byte
	for range 50 {
		stuffed = append(stuffed, head...)
	}
	for name, s := range map[string]struct {
		body  []byte
		final int
	}{
		"whole":     {body, 7},
		"unknown":   {body, 0},
		"cut":       {body[:len(body)-30], 0},
		"flipped":   {flipped, 0},
		"zeroed":    {zeroed, 0},
		"doubled":   {append(append([]byte(nil), body...), body...), 0},
		"stuffed":   {append(append([]byte(nil), body...), stuffed...), 7},
		"too-final": {body, 9},
		"nothing":   {nil, 0},
	} {
		text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\nbyte('\\x00')\nuint16(%d)\n", s.body, s.final)
		check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

type file struct{ b []byte }

func (f *file) Write(p []byte) (int, error) { f.b = append(f.b, p...); return len(p), nil }
func (f *file) Sync() error                 { return nil }
func (f *file) SyncData() error             { return nil }
func (f *file) Close() error                { return nil }

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
