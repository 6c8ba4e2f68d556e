package keyring

import (
	"bytes"
	"time"
)

// A FileInfo is what a keyring file shows to whoever holds no key. Nothing in
// it is authentic.
type FileInfo struct {
	Version    uint16
	Suite      uint8
	StoreID    ID
	Generation uint64
	StoreKey   EntryInfo
	Tables     []EntryInfo // ascending by id
	ListLen    int         // of the sealed list of tables, in bytes
}

// An EntryInfo is the entry of one table key, or of the store key.
type EntryInfo struct {
	ID          ID // of the table; zero for the store key
	Versions    []EntryVersion
	MetadataLen int // sealed, in bytes
}

// An EntryVersion is one version of such a key.
type EntryVersion struct {
	Number    uint32
	CreatedAt time.Time
	State     string // "current", "older" or "retired"
	Wraps     []WrapInfo
	Older     []byte // the wrap under the current version, of an older one
}

// A WrapInfo is a key as a root key has wrapped it.
type WrapInfo struct {
	URI  string // of the root key
	Blob []byte // what its service returned
}

// Inspect reads a keyring file without any key. Errors are *corrupt.Error of
// class ErrFormat or ErrVersion.
func Inspect(b []byte) (*FileInfo, error) {
	f, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	info := &FileInfo{
		Version: f.version, Suite: SuiteAES256GCM, StoreID: f.storeID, Generation: f.generation,
		StoreKey: f.store.info(), ListLen: len(f.list),
	}
	for _, e := range f.entries {
		info.Tables = append(info.Tables, e.info())
	}
	return info, nil
}

func (e *keyEntry) info() EntryInfo {
	info := EntryInfo{ID: e.id, MetadataLen: len(e.metadata)}
	for _, v := range e.versions {
		x := EntryVersion{Number: v.number, CreatedAt: v.createdAt, State: versionStates[v.state], Older: v.older}
		for _, w := range v.wraps {
			x.Wraps = append(x.Wraps, WrapInfo{w.uri, w.blob})
		}
		info.Versions = append(info.Versions, x)
	}
	return info
}

var versionStates = map[uint8]string{versionCurrent: "current", versionOlder: "older", versionRetired: "retired"}

// IsKeyring tells whether b begins as a keyring file does.
func IsKeyring(b []byte) bool { return bytes.HasPrefix(b, []byte(fileMagic)) }

// IsSealed tells whether b begins as every sealed file does.
func IsSealed(b []byte) bool { return bytes.HasPrefix(b, []byte(magic)) }
