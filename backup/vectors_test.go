package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

type indexVector = vectors.Vector[vectors.BackupIndexIn, vectors.BackupIndexOut]

func indexVectors(t testing.TB) []indexVector {
	return vectors.Load[vectors.BackupIndexIn, vectors.BackupIndexOut](t, "backup-index")
}

func manifestVectors(t testing.TB) []vectors.Vector[vectors.BackupManifestIn, vectors.BackupManifestOut] {
	return vectors.Load[vectors.BackupManifestIn, vectors.BackupManifestOut](t, "backup-manifest")
}

func nameVectors(t testing.TB) []vectors.Vector[vectors.BackupNameIn, vectors.BackupNameOut] {
	return vectors.Load[vectors.BackupNameIn, vectors.BackupNameOut](t, "backup-names")
}

func partVectors(t testing.TB) []vectors.Vector[vectors.LogPartIn, vectors.LogPartOut] {
	return vectors.Load[vectors.LogPartIn, vectors.LogPartOut](t, "log-part")
}

// vectorKeys are the keys of a vector's lockbox.
func vectorKeys(t testing.TB, in vectors.LockboxIn) *keyring.TableKeys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.cofre")
	require.NoError(t, os.WriteFile(path, in.KeyService, 0o600))
	svc, err := local.Open(path, local.Options{MustExist: true})
	require.NoError(t, err)
	defer svc.Close()
	var roots []keyring.RootKey
	for _, uri := range in.Roots {
		root, err := svc.Key(uri[len("cofre-local:"):])
		require.NoError(t, err)
		roots = append(roots, root)
	}
	keys, err := keyring.OpenLockbox(t.Context(), in.File, roots, keyring.Options{})
	require.NoError(t, err)
	t.Cleanup(keys.Wipe)
	return keys
}

// TestIndexVectors reads testdata/vectors/backup-index at the module's root.
func TestIndexVectors(t *testing.T) {
	t.Parallel()
	all := indexVectors(t)
	keys := vectorKeys(t, all[0].In.LockboxIn)
	for _, v := range all {
		require.Equal(t, all[0].In.LockboxIn, v.In.LockboxIn, v.Name)
		x, err := parseIndex(v.In.Index)
		if err == nil && x.sealed {
			err = x.open(keys)
		}
		v.Check(t, err, map[string]error{"ErrVersionUnknown": keyring.ErrVersionUnknown})
		if err != nil || v.Out == nil {
			continue
		}
		requireIndex(t, v, x, keys)
		if !x.sealed {
			again, err := x.encode(nil)
			require.NoError(t, err, v.Name)
			require.Equal(t, []byte(v.In.Index), again, v.Name)
		}
	}
}

func requireIndex(t *testing.T, v indexVector, x *index, keys *keyring.TableKeys) {
	t.Helper()
	o := v.Out
	require.Equal(t, o.Sealed, x.sealed, v.Name)
	require.Equal(t, []keyring.ID{keyring.ID(o.StoreID), keyring.ID(o.TableID), keyring.ID(o.Incarnation)}, []keyring.ID{x.store, x.table, x.incarnation}, v.Name)
	require.Equal(t, []time.Time{time.Unix(0, o.Time).UTC(), time.Unix(0, o.At).UTC()}, []time.Time{x.time, x.at}, v.Name)
	require.Equal(t, o.Backup, x.backup, v.Name)
	require.Equal(t, o.KeyVersion, x.version, v.Name)
	require.Equal(t, string(o.Table), x.name, v.Name)
	require.Equal(t, string(o.Seal), string(x.seal), v.Name)
	if o.Sealed {
		require.Equal(t, digest(o.Core), x.core, v.Name)
	}
	require.Len(t, x.files, len(o.Files), v.Name)
	for i, want := range o.Files {
		f := x.files[i]
		require.Equal(t, string(want.Name), f.name, v.Name)
		require.Equal(t, want.Size, f.size, v.Name)
		require.Equal(t, fileKey{keyring.ID(want.FileID), digest(want.Digest)}, f.key(), v.Name)
		require.Equal(t, string(want.Smallest), string(f.smallest), v.Name)
		require.Equal(t, string(want.Largest), string(f.largest), v.Name)
		require.Len(t, f.keys, len(want.DataKeys), v.Name)
		for j, dk := range want.DataKeys {
			k := f.keys[j]
			require.Equal(t, keyring.ID(dk.FileID), k.File, v.Name)
			require.Equal(t, dk.Version, k.Version, v.Name)
			got, err := keys.DataKey(k.File, k.Version, k.Wrapped[:])
			require.NoError(t, err, v.Name)
			require.Equal(t, []byte(dk.Key), got.Expose(), v.Name)
		}
	}
}

// TestManifestVectors reads testdata/vectors/backup-manifest.
func TestManifestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range manifestVectors(t) {
		b, err := parseManifest(v.In.Name, v.In.Manifest)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		core, err := b.core()
		require.NoError(t, err, v.Name)
		require.Equal(t, digest(v.Out.Core), core, v.Name)
		require.Len(t, b.Tables, len(v.Out.Needed), v.Name)
		for i, want := range v.Out.Needed {
			require.Equal(t, want, b.Tables[i].Needed(), v.Name)
		}
	}
}

// nameOf judges the name of an object as this package does.
func nameOf(name string) vectors.BackupNameOut {
	if k, ok := parseObject(name); ok {
		return vectors.BackupNameOut{Kind: "data", Digest: k.Digest[:], FileID: k.ID[:]}
	}
	if p, ok := parsePartName(name); ok {
		return vectors.BackupNameOut{Kind: "part", Digest: p.digest[:], FileID: p.file[:], From: p.from, To: p.to}
	}
	if n, ok := strings.CutPrefix(name, backupsPrefix); ok && backupName.MatchString(n) {
		return vectors.BackupNameOut{Kind: "backup"}
	}
	if d, ok := lockboxDigest(name); ok && strings.HasPrefix(name, lockboxPrefix) {
		return vectors.BackupNameOut{Kind: "lockbox", Digest: d[:]}
	}
	return vectors.BackupNameOut{Kind: "other"}
}

// TestNameVectors reads testdata/vectors/backup-names.
func TestNameVectors(t *testing.T) {
	t.Parallel()
	for _, v := range nameVectors(t) {
		require.Equal(t, *v.Out, nameOf(v.In.Name), v.Name)
	}
}

// TestPartVectors reads testdata/vectors/log-part.
func TestPartVectors(t *testing.T) {
	t.Parallel()
	for _, v := range partVectors(t) {
		p, ok := parsePartName(v.In.Name)
		require.True(t, ok, v.Name)
		stretch, keys, err := openPart(v.In.Name, p, v.In.Object)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		o := v.Out
		h, n, err := parsePart(v.In.Object)
		require.NoError(t, err, v.Name)
		require.Equal(t, []keyring.ID{keyring.ID(o.StoreID), keyring.ID(o.TableID), keyring.ID(o.Incarnation), keyring.ID(o.FileID)},
			[]keyring.ID{h.store, h.table, h.incarnation, h.file}, v.Name)
		require.Equal(t, []int64{int64(o.Number), o.From, int64(o.Frames), o.First, o.Last},
			[]int64{int64(h.number), h.from, int64(h.frames), h.first.UnixNano(), h.last.UnixNano()}, v.Name)
		require.Equal(t, o.Versions, h.versions.list, v.Name)
		require.Equal(t, []byte(o.Stretch), stretch, v.Name)
		require.Len(t, keys, len(o.DataKeys), v.Name)
		for i, k := range o.DataKeys {
			require.Equal(t, keyring.WrappedDataKey{File: keyring.ID(k.FileID), Version: k.Version, Wrapped: [keyring.WrappedKeyLen]byte(k.Wrapped)}, keys[i], v.Name)
		}
		require.Equal(t, []byte(v.In.Object[:n]), h.header(), v.Name)
	}
}

// TestSmallObjects reads the objects that have no vectors: each has one encoding.
func TestSmallObjects(t *testing.T) {
	t.Parallel()
	c, err := config{FormatVersion, keyring.ID{1}, time.Unix(1, 0).UTC(), about}.encode()
	require.NoError(t, err)
	_, err = parseConfig(c)
	require.NoError(t, err)
	s := `{"format":1,"since":"2026-01-02T03:04:05Z","objects":["data/a"]}`
	_, err = parseSentence([]byte(s))
	require.NoError(t, err)
	for _, edit := range [][2]string{
		{"", " "}, {`"format"`, `"Format"`}, {`"format"`, `"more":1,"format"`}, {":", ": "}, {"1970-01-01T00:00:01Z", "1970-01-01T01:00:01+01:00"},
		{"2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"}, {`["data/a"]`, "[]"}, {`["data/a"]`, "null"}, {"}", ""}, {"}", "}{}"},
		{"01000000000000000000000000000000", "00000000000000000000000000000000"}, {`"id": "01`, `"id": "zz`},
	} {
		for _, text := range []string{string(c), s} {
			changed := strings.Replace(text, edit[0], edit[1], 1)
			if changed == text {
				continue
			}
			if text == s {
				_, err = parseSentence([]byte(changed))
			} else {
				_, err = parseConfig([]byte(changed))
			}
			require.ErrorIs(t, err, corrupt.ErrFormat, changed)
		}
	}
	_, err = parseSentence([]byte(strings.Replace(s, "1", "2", 1)))
	require.ErrorIs(t, err, corrupt.ErrVersion)
	_, err = parseConfig([]byte(`{"format": 2, "of": "the future"}`))
	require.ErrorIs(t, err, corrupt.ErrVersion)
}
