package keyring

import (
	"bytes"
	"crypto/hmac"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
)

// Bounds of the keyring file. What exceeds them is refused before anything is
// allocated or any key service is called.
const (
	MaxTables      = 1 << 20
	MaxVersions    = 4096     // of one table key
	MaxWraps       = 16       // of one version
	MaxURILen      = 1 << 10  // bytes
	MaxWrapLen     = 16 << 10 // bytes, of what a key service returns
	MaxMetadataLen = 1 << 20  // bytes
)

// The states of a version of a key. They are wire constants.
const (
	versionCurrent = 1 // the newest: wrapped by root keys
	versionOlder   = 2 // wrapped by the newest: opens what exists
	versionRetired = 3 // gone: only its number is remembered
)

// A wrap is a key sealed by one root key.
type wrap struct {
	uri  string
	blob []byte
}

func (w wrap) equal(o wrap) bool { return w.uri == o.uri && bytes.Equal(w.blob, o.blob) }

// A keyVersion is one version of a table key or of the store key.
type keyVersion struct {
	number     uint32
	createdAt  time.Time
	state      uint8
	commitment []byte
	wraps      []wrap // of the newest version
	older      []byte // of an older one: its wrap under the newest
}

// A keyEntry is what the keyring file holds for one table key, or for the
// store key, whose table id is zero:
//
//	16         table id
//	 4         count of versions, in ascending order
//	    4      number, from 1
//	    8      created at, nanoseconds since 1970
//	    1      state: 1 current (the last, and only it), 2 older, 3 retired
//	   32      commitment
//	    4      count of wraps; none unless current
//	       4+n URI of the root key
//	       4+n what its service returned
//	    4+n    wrap under the current version (60); empty unless older
//	 4+n       sealed metadata; empty for the store key
//	48         HMAC-SHA-384 over the store id and all of the entry before it,
//	           under a key derived from the current version
//
// An entry is immutable. raw is the whole of it, as it stands in the file:
// whoever does not hold the table key carries it byte for byte.
type keyEntry struct {
	id       ID
	versions []keyVersion
	metadata []byte // sealed
	raw      []byte
}

const minVersionLen = 4 + 8 + 1 + commitmentLen + 4 + 4

func (e *keyEntry) newest() *keyVersion { return &e.versions[len(e.versions)-1] }

// roots are the URIs that wrap the newest version.
func (e *keyEntry) roots() []string {
	uris := make([]string, 0, 1)
	for _, w := range e.newest().wraps {
		uris = append(uris, w.uri)
	}
	return uris
}

func (e *keyEntry) numbers() []uint32 {
	ns := make([]uint32, 0, len(e.versions))
	for i := range e.versions {
		ns = append(ns, e.versions[i].number)
	}
	return ns
}

// finish encodes the entry, authenticates it under newest and sets raw.
func (e *keyEntry) finish(store ID, newest *Secret) error {
	var w codec.Writer
	w.Raw(e.id[:])
	w.U32(uint32(len(e.versions)))
	for i := range e.versions {
		v := &e.versions[i]
		w.U32(v.number)
		w.U64(uint64(v.createdAt.UnixNano()))
		w.U8(v.state)
		w.Raw(v.commitment)
		w.U32(uint32(len(v.wraps)))
		for _, wr := range v.wraps {
			w.Str(wr.uri)
			w.Bytes(wr.blob)
		}
		w.Bytes(v.older)
	}
	w.Bytes(e.metadata)
	sum, err := mac(newest, labelEntryMAC, store[:], w.B)
	if err != nil {
		return err
	}
	w.Raw(sum)
	e.raw = w.B
	return nil
}

// verify checks the entry's MAC under its newest version.
func (e *keyEntry) verify(store ID, newest *Secret) (bool, error) {
	at := len(e.raw) - macLen
	sum, err := mac(newest, labelEntryMAC, store[:], e.raw[:at])
	if err != nil {
		return false, err
	}
	return hmac.Equal(sum, e.raw[at:]), nil
}

// parseEntry reads an entry, strictly: there is one encoding of each. b is
// kept. base is its offset in the file.
func parseEntry(b []byte, base int64) (*keyEntry, error) {
	r := codec.NewReader(b)
	e := &keyEntry{raw: b}
	bad := func(format string, args ...any) error {
		return corrupt.New(corrupt.ErrFormat, "", base, "entry of table "+e.id.String()+": "+format, args...)
	}
	r.Fill(e.id[:])
	n := r.Count(MaxVersions, minVersionLen)
	if r.Err() == nil && n == 0 {
		return nil, bad("no key version")
	}
	e.versions = make([]keyVersion, n)
	for i := range e.versions {
		v := &e.versions[i]
		v.number = r.U32()
		v.createdAt = unixNano(r.U64())
		v.state = r.U8()
		v.commitment = r.Raw(commitmentLen)
		v.wraps = make([]wrap, r.Count(MaxWraps, 8))
		for j := range v.wraps {
			v.wraps[j] = wrap{uri: r.Str(MaxURILen), blob: r.Bytes(MaxWrapLen)}
		}
		v.older = r.Bytes(WrappedKeyLen)
		if r.Err() != nil {
			break
		}
		if v.number == 0 || i > 0 && v.number <= e.versions[i-1].number {
			return nil, bad("key version %d out of order", v.number)
		}
		if fault := v.check(i == n-1); fault != "" {
			return nil, bad("key version %d: %s", v.number, fault)
		}
	}
	e.metadata = r.Bytes(MaxMetadataLen + sealOverhead)
	r.Raw(macLen)
	if err := r.Done(); err != nil {
		return nil, bad("%v", err)
	}
	return e, nil
}

// check tells what is wrong with a version; newest says whether it is the
// last.
func (v *keyVersion) check(newest bool) string {
	wraps, older := 0, 0
	switch v.state {
	case versionCurrent:
		wraps = max(1, len(v.wraps))
	case versionOlder:
		older = WrappedKeyLen
	case versionRetired:
	default:
		return "unknown state"
	}
	if newest != (v.state == versionCurrent) {
		return "the newest version, and no other, is current"
	}
	if len(v.wraps) != wraps || len(v.older) != older {
		return "wraps that its state does not have"
	}
	for i, w := range v.wraps {
		if !validURI(w.uri) || len(w.blob) == 0 {
			return "malformed wrap"
		}
		if slices.ContainsFunc(v.wraps[:i], func(o wrap) bool { return o.uri == w.uri }) {
			return "two wraps of one root key"
		}
	}
	return ""
}

// validURI accepts printable ASCII with a scheme.
func validURI(s string) bool {
	scheme, name, ok := strings.Cut(s, ":")
	if !ok || scheme == "" || name == "" || len(s) > MaxURILen {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// metadataAAD is the additional data of sealed metadata.
func metadataAAD(store, table ID) []byte {
	var w codec.Writer
	w.Raw(store[:])
	w.Raw(table[:])
	return w.B
}

// unlock recovers every version of the entry's key from the newest, which it
// takes over, and checks each commitment and the entry's MAC. ec is the
// context of the newest. The second result is the opened metadata. On error
// all keys are wiped.
func (e *keyEntry) unlock(suite aead.Suite, newest *Secret, ec Context) (_ map[uint32]*Secret, metadata []byte, err error) {
	keys := map[uint32]*Secret{ec.Version: newest}
	defer func() {
		if err != nil {
			wipeAll(keys)
		}
	}()
	bad := func(format string, args ...any) error {
		return corrupt.New(corrupt.ErrAuth, "", -1, "entry of table "+e.id.String()+": "+format, args...)
	}
	ok, err := e.verify(ec.Store, newest)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, bad("its MAC does not match")
	}
	for i := range e.versions {
		v := &e.versions[i]
		if v.state != versionOlder {
			continue
		}
		vc := ec
		vc.Version = v.number
		s, err := derive.Sealer(suite, newest, labelOlderKey, versionContext(v.number))
		if err != nil {
			return nil, nil, err
		}
		key, err := openKey(s, v.older, vc.Canonical(), func() error {
			return bad("key version %d does not open under version %d", v.number, ec.Version)
		})
		if err != nil {
			return nil, nil, err
		}
		keys[v.number] = key
		if ok, err = committed(key, vc, v.commitment); err != nil {
			return nil, nil, err
		}
		if !ok {
			return nil, nil, bad("key version %d is not the one committed to", v.number)
		}
	}
	if len(e.metadata) > 0 {
		metadata, err = openSalted(suite, newest, labelMetadata, e.metadata, metadataAAD(ec.Store, e.id))
		if err != nil {
			return nil, nil, bad("its metadata does not open")
		}
	}
	return keys, metadata, nil
}
