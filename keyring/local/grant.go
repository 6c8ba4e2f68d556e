package local

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

// Operations are what a grant allows: a set, the union by |. They are wire
// constants.
type Operations uint32

const (
	OpWrap                            Operations = 1 << 0
	OpUnwrap                          Operations = 1 << 1
	OpEncrypt                         Operations = 1 << 2
	OpDecrypt                         Operations = 1 << 3
	OpGenerateDataKeyWithoutPlaintext Operations = 1 << 4
	OpReEncryptFrom                   Operations = 1 << 5
	OpReEncryptTo                     Operations = 1 << 6
	OpDescribeKey                     Operations = 1 << 7

	allOperations Operations = 1<<8 - 1
)

// operationNames are those of AWS KMS; Wrap and Unwrap are of this package.
var operationNames = []string{
	"Wrap", "Unwrap", "Encrypt", "Decrypt", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo", "DescribeKey",
}

// ParseOperations reads names of operations. Errors are ErrGrant.
func ParseOperations(names []string) (ops Operations, err error) {
	for _, name := range names {
		i := slices.Index(operationNames, name)
		if i < 0 {
			return 0, fmt.Errorf("%w: no operation is called %q; they are %s", ErrGrant, name, strings.Join(operationNames, ", "))
		}
		ops |= 1 << i
	}
	return ops, nil
}

// Names are the names of the operations.
func (o Operations) Names() (names []string) {
	for i, name := range operationNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (o Operations) String() string { return strings.Join(o.Names(), ", ") }

// A Grant allows somebody who is not the owner to use a key.
type Grant struct {
	// ID is the grant's name, random. CreateGrant sets it.
	ID keyring.ID
	// Key is the name of the key. CreateGrant sets it.
	Key string
	// Grantee may use the key, and may give the grant back.
	Grantee string
	// Retiring may give the grant back too; "" is nobody.
	Retiring string
	// Operations are what the grantee may do.
	Operations Operations
	// ContextEquals is the encryption context that a call has to have, and
	// ContextSubset pairs that it has to have among others. At most one of
	// them is not empty. They do not bind OpDescribeKey, which has no context.
	ContextEquals, ContextSubset EncryptionContext
	// CreatedAt is set by CreateGrant.
	CreatedAt time.Time
}

const (
	noConstraint  = 0
	contextEquals = 1
	contextSubset = 2

	maxPrincipalLen = 256
	grantLen        = 16 + 16 + 4 + 4 + 4 + 8 + 1 + 4 // without the texts
)

type grant struct {
	id, key           keyring.ID
	grantee, retiring string
	operations        Operations
	createdAt         time.Time
	constraint        uint8
	pairs             EncryptionContext // nil without a constraint
}

func (g *grant) encode(w *codec.Writer) {
	w.Raw(g.id[:])
	w.Raw(g.key[:])
	w.Str(g.grantee)
	w.Str(g.retiring)
	w.U32(uint32(g.operations))
	w.U64(uint64(g.createdAt.UnixNano()))
	w.U8(g.constraint)
	w.U32(uint32(len(g.pairs)))
	for _, k := range slices.Sorted(maps.Keys(g.pairs)) {
		w.Str(k)
		w.Str(g.pairs[k])
	}
}

// len is the length of what encode writes.
func (g *grant) len() int {
	n := grantLen + len(g.grantee) + len(g.retiring)
	for k, v := range g.pairs {
		n += 8 + len(k) + len(v)
	}
	return n
}

// parseGrant reads a grant, or says what is wrong with it.
func parseGrant(r *codec.Reader) (g grant, fault string) {
	r.Fill(g.id[:])
	r.Fill(g.key[:])
	g.grantee, g.retiring = r.Str(maxPrincipalLen), r.Str(maxPrincipalLen)
	g.operations = Operations(r.U32())
	g.createdAt = unixNano(r.U64())
	g.constraint = r.U8()
	if n := r.Count(MaxConstraintLen/8, 8); n > 0 {
		g.pairs = make(EncryptionContext, n)
		last := ""
		for range n {
			k, v := r.Str(MaxConstraintLen), r.Str(MaxConstraintLen)
			if k <= last {
				fault = "pairs out of order"
			}
			g.pairs[k], last = v, k
		}
	}
	if r.Err() == nil && fault == "" {
		fault = g.fault()
	}
	return g, fault
}

// fault says what is wrong with a grant, or "".
func (g *grant) fault() string {
	switch {
	case g.id.IsZero():
		return "no id"
	case !validPrincipal(g.grantee):
		return "malformed name of the grantee"
	case g.retiring != "" && !validPrincipal(g.retiring):
		return "malformed name of the retiring principal"
	case g.operations == 0 || g.operations&^allOperations != 0:
		return "no operation, or unknown ones"
	case g.constraint > contextSubset:
		return "unknown constraint"
	case (g.constraint == noConstraint) != (len(g.pairs) == 0):
		return "a constraint without pairs, or pairs without a constraint"
	}
	if _, err := g.pairs.canonical(MaxConstraintLen); err != nil {
		return err.Error()
	}
	return ""
}

// validPrincipal accepts 1 to 256 bytes of printable text.
func validPrincipal(s string) bool {
	return s != "" && len(s) <= maxPrincipalLen && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// allows tells whether the constraint does.
func (g *grant) allows(ec EncryptionContext) bool {
	switch g.constraint {
	case contextEquals:
		return maps.Equal(ec, g.pairs)
	case contextSubset:
		return ec.has(g.pairs)
	}
	return true
}

// permit tells whether who asks may use a key for an operation, with
// keyring.ErrKeyDenied where not. The owner may.
func (f *keyFile) permit(principal string, k *rootKey, op Operations, ec EncryptionContext) error {
	if principal == "" {
		return nil
	}
	for i := range f.grants {
		g := &f.grants[i]
		if g.key == k.id && g.grantee == principal && g.operations&op != 0 && (op == OpDescribeKey || g.allows(ec)) {
			return nil
		}
	}
	return fmt.Errorf("%w: no grant lets %q use %q for %s in this context", keyring.ErrKeyDenied, principal, k.name, op)
}

// permitNote tells whether who asks may see and write the note of a store:
// whoever may wrap or unwrap for it.
func (f *keyFile) permitNote(principal string, k *rootKey, store keyring.ID) error {
	if principal == "" {
		return nil
	}
	want := keyring.Context{Store: store}.Map()[contextStore]
	for i := range f.grants {
		g := &f.grants[i]
		if g.key != k.id || g.grantee != principal || g.operations&(OpWrap|OpUnwrap) == 0 {
			continue
		}
		if got, bound := g.pairs[contextStore]; !bound || got == want {
			return nil
		}
	}
	return fmt.Errorf("%w: no grant lets %q use %q for store %s", keyring.ErrKeyDenied, principal, k.name, store)
}

// contextStore is the key of the store's id in an encryption context.
const contextStore = "cofre:store"

func (f *keyFile) findGrant(id keyring.ID) (int, bool) {
	return slices.BinarySearchFunc(f.grants, id, func(g grant, id keyring.ID) int { return bytes.Compare(g.id[:], id[:]) })
}

// CreateGrant allows g.Grantee to use a key. It returns the grant with its id.
// Errors are ErrGrant, ErrContext of a constraint, ErrKeyState of a key that
// is pending deletion, and those of a change.
func (s *Service) CreateGrant(ctx context.Context, key string, g Grant) (Grant, error) {
	if len(g.ContextEquals) > 0 && len(g.ContextSubset) > 0 {
		return Grant{}, fmt.Errorf("%w: it has two constraints", ErrGrant)
	}
	for _, pairs := range []EncryptionContext{g.ContextEquals, g.ContextSubset} {
		if _, err := pairs.canonical(MaxConstraintLen); err != nil {
			return Grant{}, err
		}
	}
	own := grant{id: keyring.NewID(), grantee: g.Grantee, retiring: g.Retiring, operations: g.Operations}
	switch {
	case len(g.ContextEquals) > 0:
		own.constraint, own.pairs = contextEquals, maps.Clone(g.ContextEquals)
	case len(g.ContextSubset) > 0:
		own.constraint, own.pairs = contextSubset, maps.Clone(g.ContextSubset)
	}
	if fault := own.fault(); fault != "" {
		return Grant{}, fmt.Errorf("%w: %s", ErrGrant, fault)
	}
	var made Grant
	err := s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, key)
		switch {
		case err != nil:
			return false, err
		case k.state == keyring.StatePendingDeletion:
			return false, stateError(k)
		case len(f.grants) >= maxGrants:
			return false, &keyring.LimitError{What: "grants", Len: len(f.grants) + 1, Max: maxGrants}
		}
		own.key, own.createdAt = k.id, s.clock()
		i, _ := f.findGrant(own.id)
		f.grants = slices.Insert(f.grants, i, own)
		made = f.public(&own)
		return true, nil
	})
	return made, err
}

// public is a copy of a grant for the caller.
func (f *keyFile) public(g *grant) Grant {
	p := Grant{ID: g.id, Grantee: g.grantee, Retiring: g.retiring, Operations: g.operations, CreatedAt: g.createdAt}
	if k, ok := f.keyOf(g.key); ok {
		p.Key = k.name
	}
	switch g.constraint {
	case contextEquals:
		p.ContextEquals = maps.Clone(g.pairs)
	case contextSubset:
		p.ContextSubset = maps.Clone(g.pairs)
	}
	return p
}

// RevokeGrant takes a grant away. Errors are ErrGrantNotFound, and those of a
// change.
func (s *Service) RevokeGrant(ctx context.Context, id keyring.ID) error {
	return s.manage(ctx, func(f *keyFile) (bool, error) { return f.dropGrant(id) })
}

// RetireGrant gives a grant back: its grantee, its retiring principal and the
// owner may. Errors are ErrGrantNotFound, keyring.ErrKeyDenied for others, and
// those of a change.
func (s *Service) RetireGrant(ctx context.Context, id keyring.ID) error {
	return s.change(ctx, func(f *keyFile) (bool, error) {
		i, ok := f.findGrant(id)
		if ok && !f.grants[i].concerns(s.principal) {
			return false, fmt.Errorf("%w: %q is neither the grantee nor the retiring principal of grant %s", keyring.ErrKeyDenied, s.principal, id)
		}
		return f.dropGrant(id)
	})
}

// concerns tells whether a principal may see a grant, and give it back.
func (g *grant) concerns(principal string) bool {
	return principal == "" || principal == g.grantee || principal == g.retiring
}

func (f *keyFile) dropGrant(id keyring.ID) (bool, error) {
	i, ok := f.findGrant(id)
	if !ok {
		return false, fmt.Errorf("%w: %s", ErrGrantNotFound, id)
	}
	f.grants = slices.Delete(f.grants, i, i+1)
	return true, nil
}

// ListGrants lists the grants of a key, or of all keys where the name is "",
// ascending by id. Who is not the owner sees those that he is grantee or
// retiring principal of.
func (s *Service) ListGrants(key string) ([]Grant, error) {
	var all []Grant
	err := s.view(context.Background(), func(f *keyFile) error {
		var id keyring.ID
		if key != "" {
			k, err := s.living(f, key)
			if err != nil {
				return err
			}
			id = k.id
		}
		for i := range f.grants {
			if g := &f.grants[i]; (key == "" || g.key == id) && g.concerns(s.principal) {
				all = append(all, f.public(g))
			}
		}
		return nil
	})
	return all, err
}
