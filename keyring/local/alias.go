package local

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cofredb/cofre/keyring"
)

// AliasPrefix begins the name of an alias wherever the name of a key could
// stand, as in AWS KMS.
const AliasPrefix = "alias/"

// An Alias is another name of a key.
type Alias struct {
	Name string // with the prefix
	Key  string // the name of the key
}

type alias struct {
	name string // without the prefix
	key  keyring.ID
}

func (f *keyFile) findAlias(name string) (int, bool) {
	return slices.BinarySearchFunc(f.aliases, name, func(a alias, name string) int { return cmp.Compare(a.name, name) })
}

func (f *keyFile) aliasesOf(id keyring.ID) (names []string) {
	for _, a := range f.aliases {
		if a.key == id {
			names = append(names, AliasPrefix+a.name)
		}
	}
	return names
}

// validRef accepts the name of a key, and "alias/" with one.
func validRef(s string) bool { return validName(strings.TrimPrefix(s, AliasPrefix)) }

// CreateAlias gives a key another name: 1 to 64 letters, digits, dots, hyphens
// and underscores, the first a letter or digit, with AliasPrefix before it or
// without. An alias is resolved when a key is asked for: a Key, its URI, and
// whatever a store keeps name the key itself, wherever the alias goes later.
// Errors are ErrName, ErrAliasExists, ErrKeyState of a key that is pending
// deletion, and those of a change.
func (s *Service) CreateAlias(ctx context.Context, name, key string) error {
	return s.setAlias(ctx, name, key, func(f *keyFile, i int, there bool, a alias) error {
		switch {
		case there:
			return fmt.Errorf("%w: %q", ErrAliasExists, AliasPrefix+a.name)
		case len(f.aliases) >= maxAliases:
			return &keyring.LimitError{What: "aliases", Len: len(f.aliases) + 1, Max: maxAliases}
		}
		f.aliases = slices.Insert(f.aliases, i, a)
		return nil
	})
}

// UpdateAlias gives an alias to another key. Errors are those of CreateAlias,
// and keyring.ErrKeyNotFound where there is no such alias.
func (s *Service) UpdateAlias(ctx context.Context, name, key string) error {
	return s.setAlias(ctx, name, key, func(f *keyFile, i int, there bool, a alias) error {
		if !there {
			return noAlias(a.name)
		}
		f.aliases[i] = a
		return nil
	})
}

func (s *Service) setAlias(ctx context.Context, name, key string, set func(f *keyFile, i int, there bool, a alias) error) error {
	short, err := aliasName(name)
	if err != nil {
		return err
	}
	return s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, key)
		switch {
		case err != nil:
			return false, err
		case k.state == keyring.StatePendingDeletion:
			return false, stateError(k)
		}
		i, there := f.findAlias(short)
		if err := set(f, i, there, alias{short, k.id}); err != nil {
			return false, err
		}
		return true, nil
	})
}

// DeleteAlias takes an alias away. The key stays. Errors are ErrName,
// keyring.ErrKeyNotFound where there is no such alias, and those of a change.
func (s *Service) DeleteAlias(ctx context.Context, name string) error {
	short, err := aliasName(name)
	if err != nil {
		return err
	}
	return s.manage(ctx, func(f *keyFile) (bool, error) {
		i, ok := f.findAlias(short)
		if !ok {
			return false, noAlias(short)
		}
		f.aliases = slices.Delete(f.aliases, i, i+1)
		return true, nil
	})
}

// Aliases lists the aliases, ascending by name.
func (s *Service) Aliases() ([]Alias, error) {
	if err := s.owner(); err != nil {
		return nil, err
	}
	var all []Alias
	err := s.view(context.Background(), func(f *keyFile) error {
		for _, a := range f.aliases {
			k, _ := f.keyOf(a.key)
			all = append(all, Alias{AliasPrefix + a.name, k.name})
		}
		return nil
	})
	return all, err
}

func aliasName(name string) (string, error) {
	short := strings.TrimPrefix(name, AliasPrefix)
	if !validName(short) {
		return "", fmt.Errorf("%w: alias %q", ErrName, name)
	}
	return short, nil
}

func noAlias(short string) error {
	return fmt.Errorf("%w: no alias is named %q", keyring.ErrKeyNotFound, AliasPrefix+short)
}
