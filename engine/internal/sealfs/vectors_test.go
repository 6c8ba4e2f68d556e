package sealfs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

func noteVectors(t testing.TB) []vectors.Vector[vectors.ManifestNoteIn, vectors.ManifestNoteOut] {
	return vectors.Load[vectors.ManifestNoteIn, vectors.ManifestNoteOut](t, "manifest-note")
}

func sealVectors(t testing.TB) []vectors.Vector[vectors.CleanCloseIn, vectors.CleanCloseOut] {
	return vectors.Load[vectors.CleanCloseIn, vectors.CleanCloseOut](t, "clean-close")
}

func nameVectors(t testing.TB) []vectors.Vector[vectors.NameIn, vectors.NameOut] {
	return vectors.Load[vectors.NameIn, vectors.NameOut](t, "names")
}

func vectorSegment(s vectors.Segment) wal.Segment {
	return wal.Segment{Number: s.Number, FileID: keyring.ID(s.FileID), Frames: s.Frames}
}

// malformed gives an error of this package's decoders the class that their
// callers give it.
func malformed(err error) error {
	if err == nil {
		return nil
	}
	return corrupt.New(corrupt.ErrFormat, "", -1, "%v", err)
}

// TestNoteVectors decodes testdata/vectors/manifest-note at the module's root.
func TestNoteVectors(t *testing.T) {
	t.Parallel()
	for _, v := range noteVectors(t) {
		n, err := decodeNote(v.In.Note)
		v.Check(t, malformed(err), nil)
		if err != nil || v.Out == nil {
			continue
		}
		want := note{whole: v.Out.Whole, log: vectorSegment(v.Out.Log)}
		for _, e := range v.Out.Entries {
			want.entries = append(want.entries, fileEntry{fileKey{e.Number, keyring.FileKind(e.Kind)}, keyring.ID(e.FileID), e.Length})
		}
		for _, k := range v.Out.Gone {
			want.gone = append(want.gone, fileKey{k.Number, keyring.FileKind(k.Kind)})
		}
		require.Equal(t, want.whole, n.whole, v.Name)
		require.Equal(t, want.log, n.log, v.Name)
		require.Equal(t, len(want.entries), len(n.entries), v.Name)
		require.Subset(t, n.entries, want.entries, v.Name)
		require.Equal(t, len(want.gone), len(n.gone), v.Name)
		require.Subset(t, n.gone, want.gone, v.Name)
		var replacing []fileEntry
		for _, e := range v.Out.Replacing {
			replacing = append(replacing, fileEntry{fileKey{e.Number, keyring.FileKind(e.Kind)}, keyring.ID(e.FileID), e.Length})
		}
		require.Equal(t, replacing, n.replacing, v.Name)
	}
}

// TestSealVectors decodes testdata/vectors/clean-close at the module's root.
func TestSealVectors(t *testing.T) {
	t.Parallel()
	for _, v := range sealVectors(t) {
		s, err := DecodeSeal(v.In.Record)
		v.Check(t, malformed(err), nil)
		if err != nil || v.Out == nil {
			continue
		}
		want := &Seal{}
		want.Markers = append(want.Markers, v.Out.Markers...)
		for _, e := range v.Out.Manifests {
			want.Manifests = append(want.Manifests, End{vectorSegment(e.Segment), e.Size})
		}
		for _, e := range v.Out.Logs {
			want.Logs = append(want.Logs, End{vectorSegment(e.Segment), e.Size})
		}
		require.Equal(t, want, s, v.Name)
		require.Equal(t, []byte(v.In.Record), s.Encode(), v.Name)
	}
}

// TestNameVectors judges the names of testdata/vectors/names at the module's
// root.
func TestNameVectors(t *testing.T) {
	t.Parallel()
	for _, v := range nameVectors(t) {
		var err error
		if what := checkName(v.In.Name); what != "" {
			err = corrupt.New(corrupt.ErrForeign, v.In.Name, -1, "%s", what) // as the check before an open does
		}
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		fn := parseName(v.In.Name)
		require.Equal(t, keyring.FileKind(v.Out.Kind), fn.kind, v.Name)
		require.Equal(t, v.Out.Number, fn.number, v.Name)
		require.Equal(t, v.Out.Ignored, fn.class == classUnknown, v.Name)
		require.Equal(t, v.Out.Empty, fn.class == classMarker || fn.class == classLock, v.Name)
		require.Equal(t, v.Out.Pending, fn.class == classPending, v.Name)
	}
}

// vectorKeys are the table keys of a vector.
type vectorKeys struct{ in vectors.HeaderIn }

func (k vectorKeys) NewDataKey(keyring.ID) (*keyring.DataKey, error) {
	return nil, errors.ErrUnsupported
}

// DataKey unwraps as docs/format.md says under "Data keys": package keyring
// makes its TableKeys from a keyring alone.
func (k vectorKeys) DataKey(file keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error) {
	raw, ok := k.in.TableKeys[version]
	if !ok {
		return nil, corrupt.New(keyring.ErrVersionUnknown, "", 96, "no key version %d", version)
	}
	key, err := keyring.NewSecret(raw)
	if err != nil {
		return nil, err
	}
	s, err := derive.Sealer(nil, key, "cofre/v1/data-key", file[:])
	if err != nil {
		return nil, err
	}
	aad := append(append(append([]byte{}, k.in.StoreID...), k.in.TableID...), file[:]...)
	aad = append(aad, byte(version>>24), byte(version>>16), byte(version>>8), byte(version))
	b, err := s.Open(nil, wrapped, aad)
	if errors.Is(err, aead.ErrOpen) {
		return nil, corrupt.New(corrupt.ErrAuth, "", 100, "the data key does not open")
	}
	if err != nil {
		return nil, err
	}
	return keyring.NewSecret(b)
}

// TestHeaderVectors opens testdata/vectors/header at the module's root under
// the name that each has, in the order of the format's page.
func TestHeaderVectors(t *testing.T) {
	t.Parallel()
	classes := map[string]error{"ErrVersionUnknown": keyring.ErrVersionUnknown}
	for _, v := range vectors.Load[vectors.HeaderIn, vectors.HeaderOut](t, "header") {
		base := vfs.NewMem()
		writeFile(t, base, v.In.Name, v.In.File)
		fs := New(Config{Base: base, StoreID: keyring.ID(v.In.StoreID), TableID: keyring.ID(v.In.TableID), Keys: vectorKeys{v.In}})
		o, err := fs.open(v.In.Name, parseName(v.In.Name))
		if err == nil {
			defer o.file.Close()
			id := o.header.Identity
			_, err = floe.Resume(floe.Params{SegmentLen: id.UnitSize}, o.key, id.AAD(), o.header.Floe[:])
			if errors.Is(err, floe.ErrHeader) {
				err = corrupt.New(corrupt.ErrAuth, v.In.Name, 0, "%v", err) // as packages sstable and wal do
			}
		}
		v.Check(t, err, classes)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, hex.EncodeToString(v.Out.DataKey), hex.EncodeToString(o.key.Expose()), v.Name)
		require.Equal(t, time.Unix(0, v.Out.CreatedAt).UTC(), o.header.Identity.CreatedAt, v.Name)
	}
}

// FuzzName: a name that would be opened is the one name of its file, and
// nothing else is given a kind.
func FuzzName(f *testing.F) {
	for _, v := range nameVectors(f) {
		f.Add(v.In.Name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		fn := parseName(name)
		if m, ok := parseMarker(name); ok {
			require.Equal(t, classMarker, fn.class)
			require.True(t, strings.HasSuffix(name, "."+m.value))
		}
		switch fn.class {
		case classTable, classLog, classManifest, classOptions:
			require.NotZero(t, fn.kind)
			require.Equal(t, fn.class == classTable, fn.kind.Random())
			if checkName(name) == "" {
				require.LessOrEqual(t, fn.number, uint64(maxNumber))
				require.True(t, name == fn.String() || name == fn.temporaryName() && fn.class == classOptions)
			}
		default:
			require.Zero(t, fn.kind)
			require.Zero(t, fn.number)
		}
	})
}

// FuzzEdits: whatever a MANIFEST holds, the search for its oldest log ends, and
// finds what Pebble's own framing around one edit would have it find.
func FuzzEdits(f *testing.F) {
	comparer := append(uvarints(1, 7), "pebble!"...)
	for _, edit := range [][]byte{
		nil, uvarints(2, 5, 3, 9), append(comparer, uvarints(2, 1<<40, 3, 9)...), uvarints(3, 9), comparer, uvarints(1, 1<<64-1), {0xff, 0xff},
	} {
		f.Add(edit)
		f.Add(framed(f, edit, edit))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		minUnflushedLog(b)
		log, ok := editLogNumber(b)
		if len(b) > 1<<10 || len(b) == 0 {
			return
		}
		require.Equal(t, log, minUnflushedLog(framed(t, b)))
		if !ok {
			require.Zero(t, log)
		}
	})
}

// framed writes edits as Pebble does.
func framed(t testing.TB, edits ...[]byte) []byte {
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, e := range edits {
		_, err := w.WriteRecord(e)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
