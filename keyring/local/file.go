package local

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
)

const (
	fileMagic   = "\x93COFRL\r\n" // L: local key service
	fileVersion = 2

	prefixLen  = 20 // up to and with the revision
	minFileLen = prefixLen + 4 + 4 + checksumLen

	maxFileLen   = 16 << 20
	maxKeys      = 1024
	maxVersions  = 4096
	maxDestroyed = 1024
	maxAliases   = 1024
	maxGrants    = 1 << 15
	maxNotes     = 1 << 17
	maxNameLen   = 64
)

// A keyFile is the file in memory.
type keyFile struct {
	version   uint16 // of the format it was read in
	seal      seal
	revision  uint64
	keys      []*rootKey // ascending by name
	destroyed []destroyed
	aliases   []alias // ascending by name
	grants    []grant // ascending by id
	notes     []note  // ascending by store
}

type rootKey struct {
	name      string
	id        keyring.ID
	state     keyring.State
	createdAt time.Time
	deleteAt  time.Time // of a key that is pending deletion, or zero
	period    uint32    // days between automatic rotations; 0: none
	rotateAt  time.Time // the next one, or zero
	versions  []version // ascending; the last wraps
}

type version struct {
	number    uint32
	createdAt time.Time
	key       *keyring.Secret
}

// A destroyed is what is left of a key, in the order of destruction.
type destroyed struct {
	id   keyring.ID
	name string
	at   time.Time
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

func (f *keyFile) keyOf(id keyring.ID) (*rootKey, bool) {
	i := slices.IndexFunc(f.keys, func(k *rootKey) bool { return k.id == id })
	if i < 0 {
		return nil, false
	}
	return f.keys[i], true
}

// named resolves the name of a key, or "alias/" and the name of an alias.
func (f *keyFile) named(name string) (*rootKey, error) {
	if short, ok := strings.CutPrefix(name, AliasPrefix); ok {
		i, ok := f.findAlias(short)
		if !ok {
			return nil, fmt.Errorf("%w: no alias is named %q", keyring.ErrKeyNotFound, name)
		}
		k, _ := f.keyOf(f.aliases[i].key)
		return k, nil
	}
	if k, ok := f.key(name); ok {
		return k, nil
	}
	for _, d := range slices.Backward(f.destroyed) {
		if d.name == name {
			return nil, fmt.Errorf("%w: %q was destroyed at %s", keyring.ErrKeyNotFound, name, d.at.Format(time.RFC3339))
		}
	}
	return nil, fmt.Errorf("%w: no key is named %q", keyring.ErrKeyNotFound, name)
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

func (k *rootKey) wipe() {
	for _, v := range k.versions {
		v.key.Wipe()
	}
}

// wipe zeroes every key; f may be nil.
func (f *keyFile) wipe() {
	if f == nil {
		return
	}
	for _, k := range f.keys {
		k.wipe()
	}
	f.seal.key.Wipe()
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

// optional is unixNano of a time that may be missing, which 0 stands for.
func optional(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return unixNano(n)
}
