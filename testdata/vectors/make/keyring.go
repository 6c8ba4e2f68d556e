package main

import (
	"fmt"
	"slices"

	"github.com/cofredb/cofre/internal/vectors"
)

// canonical is the canonical form of an encryption context.
func canonical(c vectors.Context) []byte {
	return cat(
		prefixed("cofre:purpose"), prefixed(c.Purpose),
		prefixed("cofre:store"), prefixed(fmt.Sprintf("%x", []byte(c.StoreID))),
		prefixed("cofre:table"), prefixed(fmt.Sprintf("%x", []byte(c.TableID))),
		prefixed("cofre:version"), prefixed(fmt.Sprint(c.Version)))
}

func contextOf(table []byte, version uint32) vectors.Context {
	c := vectors.Context{StoreID: id("store"), TableID: table, Purpose: "table-key", Version: version}
	if string(table) == string(zeros16) {
		c.Purpose = "store-key"
	}
	return c
}

// A rootWrap is a wrap of a version, with the URI of the root key.
type rootWrap struct {
	uri  string
	wrap []byte
}

// A keyVersion is a version of a key in its entry.
type keyVersion struct {
	number     uint32
	state      uint8
	key        []byte
	commitment []byte // nil: the right one
	wraps      []rootWrap
	older      []byte
}

// An entry of a keyring file. Its last version authenticates it.
type entry struct {
	table    []byte
	versions []keyVersion
	metadata []byte // sealed
	store    []byte // of the MAC
}

func (e entry) encode() []byte {
	b := cat(e.table, uint32(len(e.versions)))
	for _, v := range e.versions {
		c := v.commitment
		if c == nil {
			c = derive(v.key, "cofre/v1/commitment", canonical(contextOf(e.table, v.number)), 32)
		}
		b = cat(b, v.number, uint64(createdAt), v.state, c, uint32(len(v.wraps)))
		for _, w := range v.wraps {
			b = cat(b, prefixed(w.uri), prefixed(w.wrap))
		}
		b = cat(b, prefixed(v.older))
	}
	b = cat(b, prefixed(e.metadata))
	key := make([]byte, 32)
	if n := len(e.versions); n > 0 {
		key = e.versions[n-1].key
	}
	return cat(b, mac(key, "cofre/v1/entry-mac", e.store, b))
}

// A ring is a keyring file. What a vector wants wrong is set before encode.
type ring struct {
	generation uint64
	storeKey   entry
	entries    []entry
	list       []byte // plaintext
	listAAD    []byte // nil: the right one
	listSealed []byte // in place of list, where it is not nil
	count      int    // of entries, in place of their number, where it is not 0
	audit      []byte // plaintext of the state of the audit log; nil: file version 1
	auditAAD   []byte // nil: the right one
}

func (r *ring) head() []byte {
	version := uint16(1)
	if r.audit != nil {
		version = 2
	}
	return cat("\x93COFRK\r\n", version, uint8(1), uint8(0), id("store"), r.generation)
}

func (r *ring) key() []byte { return r.storeKey.versions[len(r.storeKey.versions)-1].key }

// sealed is the sealed list.
func (r *ring) sealed() []byte {
	if r.listSealed != nil {
		return r.listSealed
	}
	aad := r.listAAD
	if aad == nil {
		aad = r.head()
	}
	return sealSalted(r.key(), "cofre/v1/list", r.list, aad)
}

// body is the file up to its MAC.
func (r *ring) body() []byte {
	n := r.count
	if n == 0 {
		n = len(r.entries)
	}
	b := cat(r.head(), prefixed(r.storeKey.encode()), prefixed(r.sealed()), r.auditSection(), uint32(n))
	for _, e := range r.entries {
		b = cat(b, prefixed(e.encode()))
	}
	return b
}

// auditSection is the sealed state of the audit log, with its length; nothing in
// version 1.
func (r *ring) auditSection() []byte {
	if r.audit == nil {
		return nil
	}
	aad := r.auditAAD
	if aad == nil {
		aad = r.head()
	}
	return prefixed(sealSalted(r.key(), "cofre/v1/audit-state", r.audit, aad))
}

func (r *ring) encode() []byte { return closed(r.key(), r.body()) }

// closed is a body with its MAC.
func closed(storeKey, body []byte) []byte {
	return cat(body, mac(storeKey, "cofre/v1/keyring-mac", body))
}

func (r *ring) with(change func(*ring)) *ring {
	c := *r
	c.storeKey.versions = cloneVersions(r.storeKey.versions)
	c.entries = slices.Clone(r.entries)
	for i := range c.entries {
		c.entries[i].versions = cloneVersions(r.entries[i].versions)
	}
	change(&c)
	return &c
}

func cloneVersions(vs []keyVersion) []keyVersion {
	vs = slices.Clone(vs)
	for i := range vs {
		vs[i].wraps = slices.Clone(vs[i].wraps)
	}
	return vs
}

// offset is where entry i begins.
func (r *ring) offset(i int) int {
	n := r.listOffset() + len(r.sealed()) + len(r.auditSection()) + 4
	for _, e := range r.entries[:i] {
		n += 4 + len(e.encode())
	}
	return n + 4
}

func (r *ring) listOffset() int { return 36 + 4 + len(r.storeKey.encode()) + 4 }

// The root keys of the vectors, and the key service that has them.
var (
	rootA = rootKey("a", random("root a", 32))
	rootB = rootKey("b", random("root b", 32))
)

func rootKey(name string, key []byte) vectors.RootKey {
	return vectors.RootKey{Name: name, ID: id("root " + name), State: 1, CreatedAt: createdAt,
		Versions: []vectors.KeyVersion{{Number: 1, CreatedAt: createdAt, Key: key}}}
}

func current(number uint32, key, table []byte, roots ...vectors.RootKey) keyVersion {
	v := keyVersion{number: number, state: 1, key: key}
	for _, r := range roots {
		v.wraps = append(v.wraps, rootWrap{"cofre-local:" + r.Name, localWrap(r, key, contextOf(table, number))})
	}
	return v
}

func older(number uint32, key, newest, table []byte) keyVersion {
	w := seal(derive(newest, "cofre/v1/older-key", cat(number), 32), key, canonical(contextOf(table, number)))
	return keyVersion{number: number, state: 2, key: key, older: w}
}

func newEntry(table []byte, metadata string, versions ...keyVersion) entry {
	e := entry{table: table, versions: versions, store: id("store")}
	if metadata != "" {
		e.metadata = sealSalted(versions[len(versions)-1].key, "cofre/v1/metadata", []byte(metadata), cat(id("store"), table))
	}
	return e
}

// open is what an entry's keys must open.
func (e entry) open(metadata string) vectors.OpenTable {
	o := vectors.OpenTable{ID: e.table, Metadata: vectors.Hex(metadata), DataKeys: []vectors.DataKey{}}
	for _, v := range e.versions {
		if v.state == 3 {
			continue
		}
		file, key := id(fmt.Sprintf("file of %x %d", e.table, v.number)), random(fmt.Sprintf("data key of %x %d", e.table, v.number), 32)
		f := sealedFile{store: id("store"), table: e.table, file: file, keyVersion: v.number, tableKey: v.key, dataKey: key}
		o.DataKeys = append(o.DataKeys, vectors.DataKey{FileID: file, Version: v.number, Wrapped: f.wrapped(), Key: key})
	}
	return o
}

// encodeList is the plaintext of the list.
func encodeList(l vectors.List) []byte {
	b := cat([]byte(l.Journal), uint32(len(l.Tables)))
	for _, t := range l.Tables {
		b = cat(b, []byte(t.ID), prefixed(t.Name), t.State, uint64(t.CreatedAt), []byte(t.Incarnation), prefixed(t.Left))
	}
	b = cat(b, uint32(len(l.Tombstones)))
	for _, t := range l.Tombstones {
		b = cat(b, []byte(t.ID), prefixed(t.Name), uint64(t.DroppedAt), uint32(len(t.Versions)))
		for _, v := range t.Versions {
			b = cat(b, v)
		}
		b = cat(b, uint32(len(t.Roots)))
		for _, r := range t.Roots {
			b = cat(b, prefixed(r))
		}
	}
	return b
}

// encodeAudit is the state of the audit log; nil is none.
func encodeAudit(a *vectors.AuditState) []byte {
	if a == nil {
		return make([]byte, 16+8+48+8+8+32)
	}
	return cat([]byte(a.Chain), a.Seq, []byte(a.MAC), a.File, a.End, []byte(a.Key))
}

// tableID gives ids in ascending order.
func tableID(n byte) []byte { return put(id("table of a list"), 0, n) }

func listed(n byte, name string, state uint8, left string) vectors.Table {
	return vectors.Table{ID: tableID(n), Name: vectors.Text(name), State: state, CreatedAt: createdAt + int64(n),
		Incarnation: id(fmt.Sprintf("incarnation %d", n)), Left: vectors.Hex(left)}
}
