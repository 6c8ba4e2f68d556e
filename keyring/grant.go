package keyring

import (
	"context"
	"errors"
	"time"
)

// A RootKey implements Granter where its service can let others than its owner use
// it, within bounds: by grants, as AWS KMS has them. Its methods are safe for
// concurrent use, and their errors are of the classes that RootKey names.
type Granter interface {
	// CreateGrant makes a grant and returns its id, which the service chooses. It is
	// durable when it returns. A service that answers late, or not, may have made it
	// all the same: Grants tells. The error is ErrNoGrants where the service has no
	// grants, or the caller uses the key by another's grant and may give none.
	CreateGrant(ctx context.Context, g Grant) (id string, err error)

	// Grants lists the grants of this root key whose Context names the store, as the
	// caller may see them. The error is ErrNoGrants where the service has none.
	Grants(ctx context.Context, store ID) ([]Grant, error)

	// RetireGrant gives a grant back, durably. One that is gone already, with its
	// root key or without, is no error.
	RetireGrant(ctx context.Context, id string) error
}

// ErrNoGrants: a root key has no grants to give. What needs them goes on without.
var ErrNoGrants = errors.New("the root key has no grants to give")

// GrantOperations are what a grant allows: a set, the union by |.
type GrantOperations uint8

const (
	GrantWrap     GrantOperations = 1 << 0
	GrantUnwrap   GrantOperations = 1 << 1
	GrantDescribe GrantOperations = 1 << 2
)

// Names are the names of the operations, as they are recorded.
func (o GrantOperations) Names() (names []string) {
	for i, name := range []string{"Wrap", "Unwrap", "Describe"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// A Grant lets a principal of a key service use a root key. It holds no secret.
type Grant struct {
	ID string // CreateGrant ignores it
	// Grantee may use the root key, and may give the grant back.
	Grantee string
	// Retiring may give it back too; "" is nobody.
	Retiring   string
	Operations GrantOperations
	// Context are pairs that the encryption context of a call has to have, among
	// others.
	Context   map[string]string
	CreatedAt time.Time // CreateGrant ignores it; zero where the service does not tell
}

// TablePairs are the pairs that the context of every wrap of a table's key has,
// whatever its version: the constraint of a grant for that table.
func TablePairs(store, table ID) map[string]string {
	m := Context{Store: store, Table: table, Purpose: PurposeTableKey}.Map()
	delete(m, "cofre:version")
	return m
}

// TableOf is the table of a grant with the constraint of TablePairs; ok is false of
// any other.
func (g *Grant) TableOf(store ID) (table ID, ok bool) {
	table, err := ParseID(g.Context["cofre:table"])
	if err != nil || len(g.Context) != 3 {
		return ID{}, false
	}
	for k, v := range TablePairs(store, table) {
		if g.Context[k] != v {
			return ID{}, false
		}
	}
	return table, true
}
