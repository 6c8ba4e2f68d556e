package local

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	fileMagic   = "\x93COFRL\r\n" // L: local key service
	fileVersion = 1
	unsealed    = 0

	prefixLen   = 20 // up to and with the revision
	checksumLen = sha256.Size
	minFileLen  = prefixLen + 4 + 4 + checksumLen

	maxFileLen  = 16 << 20
	maxKeys     = 1024
	maxVersions = 4096
	maxNotes    = 1 << 17
	maxNameLen  = 64
)

// A keyFile is the file in memory.
type keyFile struct {
	revision uint64
	keys     []*rootKey // ascending by name
	notes    []note     // ascending by store
}

type rootKey struct {
	name      string
	id        keyring.ID
	state     keyring.State
	createdAt time.Time
	versions  []version // ascending; the last wraps
}

type version struct {
	number    uint32
	createdAt time.Time
	key       *keyring.Secret
}

type note struct {
	store      keyring.ID
	generation uint64
	digest     [32]byte
}

func (f *keyFile) key(name string) (*rootKey, bool) {
	i, ok := slices.BinarySearchFunc(f.keys, name, func(k *rootKey, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		return nil, false
	}
	return f.keys[i], true
}

func (f *keyFile) add(k *rootKey) {
	i, _ := slices.BinarySearchFunc(f.keys, k.name, func(o *rootKey, name string) int { return cmp.Compare(o.name, name) })
	f.keys = slices.Insert(f.keys, i, k)
}

func (f *keyFile) findNote(store keyring.ID) (int, bool) {
	return slices.BinarySearchFunc(f.notes, store, func(n note, id keyring.ID) int { return bytes.Compare(n.store[:], id[:]) })
}

func (k *rootKey) newest() *version { return &k.versions[len(k.versions)-1] }

func (k *rootKey) version(number uint32) (*version, bool) {
	i, ok := slices.BinarySearchFunc(k.versions, number, func(v version, n uint32) int { return cmp.Compare(v.number, n) })
	if !ok {
		return nil, false
	}
	return &k.versions[i], true
}

func (k *rootKey) infos() []keyring.VersionInfo {
	vs := make([]keyring.VersionInfo, 0, len(k.versions))
	for _, v := range k.versions {
		vs = append(vs, keyring.VersionInfo{Number: v.number, CreatedAt: v.createdAt})
	}
	return vs
}

// wipe zeroes every key; f may be nil.
func (f *keyFile) wipe() {
	if f == nil {
		return
	}
	for _, k := range f.keys {
		for _, v := range k.versions {
			v.key.Wipe()
		}
	}
}

// encode makes the bytes of the file. They hold keys: the caller clears them.
func (f *keyFile) encode() []byte {
	n := minFileLen + 56*len(f.notes)
	for _, k := range f.keys {
		n += 4 + len(k.name) + 16 + 1 + 8 + 4 + 44*len(k.versions)
	}
	// Exact, so that no copy is left behind by growing.
	w := codec.Writer{B: make([]byte, 0, n)}
	w.Raw([]byte(fileMagic))
	w.U16(fileVersion)
	w.U8(unsealed)
	w.U8(0)
	w.U64(f.revision)
	w.U32(uint32(len(f.keys)))
	for _, k := range f.keys {
		w.Str(k.name)
		w.Raw(k.id[:])
		w.U8(uint8(k.state))
		w.U64(uint64(k.createdAt.UnixNano()))
		w.U32(uint32(len(k.versions)))
		for _, v := range k.versions {
			w.U32(v.number)
			w.U64(uint64(v.createdAt.UnixNano()))
			w.Raw(v.key.Expose())
		}
	}
	w.U32(uint32(len(f.notes)))
	for _, n := range f.notes {
		w.Raw(n.store[:])
		w.U64(n.generation)
		w.Raw(n.digest[:])
	}
	sum := sha256.Sum256(w.B)
	w.Raw(sum[:])
	return w.B
}

// parse reads the file, strictly. Errors are *corrupt.Error of class
// ErrFormat or ErrVersion.
func parse(b []byte) (_ *keyFile, err error) {
	bad := func(off int64, format string, args ...any) error {
		return corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if len(b) < minFileLen {
		return nil, bad(-1, "%d bytes are too short for a key-service file", len(b))
	}
	body := b[:len(b)-checksumLen]
	r := codec.NewReader(body)
	if string(r.Raw(len(fileMagic))) != fileMagic {
		return nil, bad(0, "not a key-service file: wrong magic")
	}
	if v := r.U16(); v != fileVersion {
		return nil, corrupt.New(corrupt.ErrVersion, "", 8, "key-service format version %d, this build knows %d", v, fileVersion)
	}
	if s := r.U8(); s != unsealed {
		return nil, corrupt.New(corrupt.ErrVersion, "", 10, "sealing %d, this build knows %d", s, unsealed)
	}
	if sum := sha256.Sum256(body); subtle.ConstantTimeCompare(sum[:], b[len(body):]) != 1 {
		return nil, bad(int64(len(body)), "the checksum does not match: the file was cut or changed")
	}
	if z := r.U8(); z != 0 {
		return nil, bad(11, "reserved byte is %d", z)
	}
	f := &keyFile{revision: r.U64()}
	defer func() {
		if err != nil {
			f.wipe()
		}
	}()
	off := func() int64 { return int64(len(body) - r.Len()) }
	for i, n := 0, r.Count(maxKeys, 4+1+16+1+8+4+44); i < n; i++ {
		at := off()
		k, err := parseKey(r)
		if err != "" {
			return nil, bad(at, "key %d of %d: %s", i+1, n, err)
		}
		f.keys = append(f.keys, k)
		if i > 0 && f.keys[i-1].name >= k.name {
			return nil, bad(at, "key %q out of order", k.name)
		}
	}
	at := off()
	f.notes = make([]note, r.Count(maxNotes, 56))
	for i := range f.notes {
		n := &f.notes[i]
		r.Fill(n.store[:])
		n.generation = r.U64()
		r.Fill(n.digest[:])
		if r.Err() == nil && i > 0 && bytes.Compare(f.notes[i-1].store[:], n.store[:]) >= 0 {
			return nil, bad(at, "note of store %s out of order", n.store)
		}
	}
	if err := r.Done(); err != nil {
		return nil, bad(at, "notes: %v", err)
	}
	return f, nil
}

// parseKey reads one key, or says what is wrong with it.
func parseKey(r *codec.Reader) (*rootKey, string) {
	k := &rootKey{name: r.Str(maxNameLen)}
	r.Fill(k.id[:])
	k.state = keyring.State(r.U8())
	k.createdAt = unixNano(r.U64())
	n := r.Count(maxVersions, 44)
	k.versions = make([]version, 0, n)
	fault := ""
	for range n {
		v := version{number: r.U32(), createdAt: unixNano(r.U64())}
		raw := r.Raw(secret.Size)
		if raw == nil {
			break
		}
		v.key, _ = keyring.NewSecret(raw)
		if v.number == 0 || len(k.versions) > 0 && v.number <= k.newest().number {
			fault = "versions out of order"
		}
		k.versions = append(k.versions, v)
	}
	switch {
	case r.Err() != nil:
		fault = r.Err().Error()
	case fault != "":
	case !validName(k.name):
		fault = "malformed name"
	case k.id.IsZero():
		fault = "no id"
	case k.state < keyring.StateEnabled || k.state > keyring.StatePendingDeletion:
		fault = "unknown state"
	case n == 0:
		fault = "no version"
	}
	if fault != "" {
		(&keyFile{keys: []*rootKey{k}}).wipe()
		return nil, fault
	}
	return k, ""
}

// validName accepts 1 to 64 letters, digits, dots, hyphens and underscores,
// the first a letter or digit.
func validName(s string) bool {
	if s == "" || len(s) > maxNameLen || strings.ContainsRune("._-", rune(s[0])) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	})
}

func unixNano(n uint64) time.Time { return time.Unix(0, int64(n)).UTC() }
