// Package local is the local key service: root keys in one file outside the
// store.
package local

import (
	"context"
	"errors"

	"github.com/cofredb/cofre/keyring"
)

// Options of a Service.
type Options struct {
	MustExist bool // fail where the file does not exist
}

// A Service is a key-service file.
type Service struct{}

// A Key is a root key in a Service. It implements keyring.RootKey and
// keyring.Anchor.
type Key struct{}

// A KeyInfo describes a key of the service.
type KeyInfo struct {
	Name     string
	URI      string
	State    keyring.State
	Versions []keyring.VersionInfo
}

// DefaultPath is where the command keeps root keys.
func DefaultPath() (string, error) { return "", errors.ErrUnsupported }

// Open opens the service in the file at path.
func Open(path string, opts Options) (*Service, error) { return nil, errors.ErrUnsupported }

func (s *Service) Path() string { return "" }
func (s *Service) CreateKey(ctx context.Context, name string) (*Key, error) {
	return nil, errors.ErrUnsupported
}
func (s *Service) Key(name string) (*Key, error) { return nil, errors.ErrUnsupported }
func (s *Service) Ensure(ctx context.Context, name string) (key *Key, created bool, err error) {
	return nil, false, errors.ErrUnsupported
}
func (s *Service) List() ([]KeyInfo, error) { return nil, errors.ErrUnsupported }
func (s *Service) Disable(ctx context.Context, name string) error {
	return errors.ErrUnsupported
}
func (s *Service) Enable(ctx context.Context, name string) error { return errors.ErrUnsupported }
func (s *Service) ScheduleDeletion(ctx context.Context, name string) error {
	return errors.ErrUnsupported
}
func (s *Service) Rotate(ctx context.Context, name string) (version uint32, err error) {
	return 0, errors.ErrUnsupported
}
func (s *Service) Close() error { return nil }

func (k *Key) URI() string { return "" }
func (k *Key) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (k *Key) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	return nil, errors.ErrUnsupported
}
func (k *Key) Describe(ctx context.Context) (keyring.Description, error) {
	return keyring.Description{}, errors.ErrUnsupported
}
func (k *Key) NewestGeneration(ctx context.Context, store keyring.ID) (gen uint64, digest [32]byte, ok bool, err error) {
	return 0, digest, false, errors.ErrUnsupported
}
func (k *Key) NoteGeneration(ctx context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	return errors.ErrUnsupported
}
