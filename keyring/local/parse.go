package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

// parse reads the file, strictly. A sealed one is opened by one of the
// sealings, and an unsealed one is refused where there are some that are not
// for unsealed files. Errors are *corrupt.Error of class ErrFormat, ErrVersion
// or ErrAuth, *SealedError, ErrNotSealed, and those of a Sealing.
func parse(ctx context.Context, b []byte, sealings []*Sealing) (_ *keyFile, err error) {
	if len(b) < minFileLen {
		return nil, bad(-1, "%d bytes are too short for a key-service file", len(b))
	}
	body := b[:len(b)-checksumLen]
	r := codec.NewReader(body)
	if string(r.Raw(len(fileMagic))) != fileMagic {
		return nil, bad(0, "not a key-service file: wrong magic")
	}
	f := &keyFile{version: r.U16()}
	if f.version < 1 || f.version > fileVersion {
		return nil, corrupt.New(corrupt.ErrVersion, "", 8, "key-service format version %d, this build knows 1 to %d", f.version, fileVersion)
	}
	f.seal.kind = r.U8()
	if f.seal.kind > byKeyFile || f.version == 1 && f.seal.kind != unsealed {
		return nil, corrupt.New(corrupt.ErrVersion, "", 10, "sealing %d, which this build does not know in version %d", f.seal.kind, f.version)
	}
	if sum := sha256.Sum256(body); subtle.ConstantTimeCompare(sum[:], b[len(body):]) != 1 {
		return nil, bad(int64(len(body)), "the checksum does not match: the file was cut or changed")
	}
	if z := r.U8(); z != 0 {
		return nil, bad(11, "reserved byte is %d", z)
	}
	f.revision = r.U64()
	defer func() {
		if err != nil {
			f.wipe()
		}
	}()
	p := newParser(r, f, func() int64 { return int64(len(body) - r.Len()) })
	if f.version == 1 {
		if err := f.seal.open(ctx, sealings); err != nil {
			return nil, err
		}
		return f, p.bodyV1()
	}
	wrap := r.Bytes(maxSealWrap)
	if len(wrap) > 0 {
		f.seal.wrap = bytes.Clone(wrap)
	}
	if r.Err() != nil || (f.seal.kind == unsealed) != (len(wrap) == 0) {
		return nil, bad(prefixLen, "a wrap of the file's key that does not go with sealing %d", f.seal.kind)
	}
	if err := f.seal.open(ctx, sealings); err != nil {
		return nil, err
	}
	if f.seal.kind == unsealed {
		return f, p.body()
	}
	text, err := f.seal.openBody(body[:p.at()], r.Rest())
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return f, newParser(codec.NewReader(text), f, func() int64 { return -1 }).body()
}

func bad(off int64, format string, args ...any) error {
	return corrupt.New(corrupt.ErrFormat, "", off, format, args...)
}

// A parser reads the body. Of a sealed file it tells no offsets.
type parser struct {
	*codec.Reader
	f   *keyFile
	at  func() int64
	ids map[keyring.ID]bool // of the keys
}

func newParser(r *codec.Reader, f *keyFile, at func() int64) *parser {
	return &parser{r, f, at, make(map[keyring.ID]bool)}
}

func (p *parser) bodyV1() error {
	if err := p.keys(keyLenV1+1+versionLen, (*rootKey).parseV1); err != nil {
		return err
	}
	return p.notes()
}

func (p *parser) body() error {
	if err := p.keys(keyLen+1+versionLen, (*rootKey).parse); err != nil {
		return err
	}
	for _, part := range []func() error{p.destroyed, p.aliases, p.grants} {
		if err := part(); err != nil {
			return err
		}
	}
	return p.notes()
}

func (p *parser) keys(least int, parse func(*rootKey, *codec.Reader) string) error {
	f := p.f
	for i, n := 0, p.Count(maxKeys, least); i < n; i++ {
		at := p.at()
		k := new(rootKey)
		f.keys = append(f.keys, k) // at once: whatever fails, it is wiped
		if fault := parse(k, p.Reader); fault != "" {
			return bad(at, "key %d of %d: %s", i+1, n, fault)
		}
		if i > 0 && f.keys[i-1].name >= k.name {
			return bad(at, "key %q out of order", k.name)
		}
		if p.ids[k.id] {
			return bad(at, "key %q has the id of another", k.name)
		}
		p.ids[k.id] = true
	}
	return nil
}

// parseV1 reads a key of version 1, or says what is wrong with it.
func (k *rootKey) parseV1(r *codec.Reader) string {
	k.head(r)
	return k.finish(r)
}

// parse reads a key, or says what is wrong with it.
func (k *rootKey) parse(r *codec.Reader) string {
	k.head(r)
	k.deleteAt = optional(r.U64())
	k.period = r.U32()
	k.rotateAt = optional(r.U64())
	fault := k.finish(r)
	switch {
	case fault != "":
	case !k.deleteAt.IsZero() && k.state != keyring.StatePendingDeletion:
		fault = "a date of deletion, which its state has not"
	case k.period != 0 && (k.period < MinRotationDays || k.period > MaxRotationDays):
		fault = "a period of rotation out of bounds"
	case (k.period == 0) != k.rotateAt.IsZero():
		fault = "a period without a date of rotation, or a date without a period"
	}
	return fault
}

func (k *rootKey) head(r *codec.Reader) {
	k.name = r.Str(maxNameLen)
	r.Fill(k.id[:])
	k.state = keyring.State(r.U8())
	k.createdAt = unixNano(r.U64())
}

// finish reads the versions, and judges.
func (k *rootKey) finish(r *codec.Reader) string {
	n := r.Count(maxVersions, versionLen)
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
		return r.Err().Error()
	case fault != "":
		return fault
	case !validName(k.name):
		return "malformed name"
	case k.id.IsZero():
		return "no id"
	case k.state < keyring.StateEnabled || k.state > keyring.StatePendingDeletion:
		return "unknown state"
	case n == 0:
		return "no version"
	}
	return ""
}

func (p *parser) destroyed() error {
	at := p.at()
	for i := range p.Count(maxDestroyed, destroyedLen+1) {
		var d destroyed
		p.Fill(d.id[:])
		d.name, d.at = p.Str(maxNameLen), unixNano(p.U64())
		if p.Err() != nil {
			break
		}
		if p.ids[d.id] || d.id.IsZero() || !validName(d.name) {
			return bad(at, "destroyed key %d: malformed name, no id, or that of a key that is there", i+1)
		}
		p.f.destroyed = append(p.f.destroyed, d)
	}
	if err := p.Err(); err != nil {
		return bad(at, "destroyed keys: %v", err)
	}
	return nil
}

func (p *parser) aliases() error {
	at := p.at()
	for i := range p.Count(maxAliases, aliasLen+1) {
		a := alias{name: p.Str(maxNameLen)}
		p.Fill(a.key[:])
		if p.Err() != nil {
			break
		}
		if !p.ids[a.key] || !validName(a.name) || i > 0 && p.f.aliases[i-1].name >= a.name {
			return bad(at, "alias %d: out of order, malformed, or of no key that is there", i+1)
		}
		p.f.aliases = append(p.f.aliases, a)
	}
	if err := p.Err(); err != nil {
		return bad(at, "aliases: %v", err)
	}
	return nil
}

func (p *parser) grants() error {
	at := p.at()
	for i := range p.Count(maxGrants, grantLen) {
		g, fault := parseGrant(p.Reader)
		if p.Err() != nil {
			break
		}
		if fault != "" {
			return bad(at, "grant %d: %s", i+1, fault)
		}
		if !p.ids[g.key] {
			return bad(at, "grant %s: of no key that is there", g.id)
		}
		if i > 0 && bytes.Compare(p.f.grants[i-1].id[:], g.id[:]) >= 0 {
			return bad(at, "grant %s out of order", g.id)
		}
		p.f.grants = append(p.f.grants, g)
	}
	if err := p.Err(); err != nil {
		return bad(at, "grants: %v", err)
	}
	return nil
}

func (p *parser) notes() error {
	at := p.at()
	f := p.f
	f.notes = make([]note, p.Count(maxNotes, noteLen))
	for i := range f.notes {
		n := &f.notes[i]
		p.Fill(n.store[:])
		n.generation = p.U64()
		p.Fill(n.digest[:])
		if p.Err() == nil && i > 0 && bytes.Compare(f.notes[i-1].store[:], n.store[:]) >= 0 {
			return bad(at, "note of store %s out of order", n.store)
		}
	}
	if err := p.Done(); err != nil {
		return bad(at, "notes: %v", err)
	}
	return nil
}
