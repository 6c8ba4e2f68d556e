package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/cofredb/cofre/keyring"
)

var _ keyring.Granter = (*Key)(nil)

// granted are the operations of this package that those of package keyring are.
var granted = map[keyring.GrantOperations]Operations{
	keyring.GrantWrap: OpWrap, keyring.GrantUnwrap: OpUnwrap, keyring.GrantDescribe: OpDescribeKey,
}

// CreateGrant implements keyring.Granter, by Service.CreateGrant, for the owner.
// Whoever else uses the key does so by a grant, and gets keyring.ErrNoGrants.
func (k *Key) CreateGrant(ctx context.Context, g keyring.Grant) (string, error) {
	if k.s.principal != "" {
		return "", fmt.Errorf("%w: %q uses %q by a grant", keyring.ErrNoGrants, k.s.principal, k.name)
	}
	var ops Operations
	for theirs, own := range granted {
		if g.Operations&theirs != 0 {
			ops |= own
		}
	}
	made, err := k.s.CreateGrant(ctx, k.name, Grant{
		Grantee: g.Grantee, Retiring: g.Retiring, Operations: ops, ContextSubset: g.Context,
	})
	switch {
	case errors.Is(err, ErrKeyState):
		return "", fmt.Errorf("%w: %w", keyring.ErrKeyDenied, err)
	case err != nil:
		return "", err
	}
	return made.ID.String(), nil
}

// Grants implements keyring.Granter. Grants that have no like in package keyring are
// not among them.
func (k *Key) Grants(ctx context.Context, store keyring.ID) (list []keyring.Grant, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := k.s.ListGrants(k.name)
	if err != nil {
		return nil, err
	}
	want := store.String()
	for _, g := range all {
		if g.ContextSubset[contextStore] != want {
			continue
		}
		own := keyring.Grant{
			ID: g.ID.String(), Grantee: g.Grantee, Retiring: g.Retiring, Context: g.ContextSubset, CreatedAt: g.CreatedAt,
		}
		rest := g.Operations
		for theirs, op := range granted {
			if g.Operations&op != 0 {
				own.Operations |= theirs
				rest &^= op
			}
		}
		if rest == 0 {
			list = append(list, own)
		}
	}
	return list, nil
}

// RetireGrant implements keyring.Granter, by Service.RetireGrant.
func (k *Key) RetireGrant(ctx context.Context, id string) error {
	gid, err := keyring.ParseID(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGrantNotFound, err)
	}
	if err = k.s.RetireGrant(ctx, gid); errors.Is(err, ErrGrantNotFound) {
		return nil
	}
	return err
}
