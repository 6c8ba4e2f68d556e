package keyring

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/aead"
)

// Errors of the keyring as a whole.
var (
	ErrClosed       = errors.New("keyring: closed")
	ErrReadOnly     = errors.New("keyring: opened read-only")
	ErrPoisoned     = errors.New("keyring: an earlier change may or may not have reached the disk; open it again")
	ErrTableUnknown = errors.New("keyring: no such table")
	ErrTableExists  = errors.New("keyring: a table of this name exists")
	ErrKeysWiped    = errors.New("keyring: the table's keys have been wiped")
)

// Options of a keyring. The zero value is ready for use.
type Options struct {
	FS          vfs.FS           // nil = vfs.Default
	Suite       aead.Suite       // nil = AES-256-GCM; a test may inject another
	Logger      *slog.Logger     // nil = discard
	AcceptOlder bool             // take a keyring older than the one an Anchor has noted
	Now         func() time.Time // nil = time.Now
}

// A Keyring is the open keyring of one store.
type Keyring struct{}

// A TableState is a table's state in the keyring, a wire constant.
type TableState uint8

const (
	TableCreating TableState = 1 // made here, its directory not complete yet
	TableLive     TableState = 2
)

// A TableRecord is what the keyring tells of a table without a key call.
type TableRecord struct {
	Name        string
	ID          ID
	State       TableState
	CreatedAt   time.Time
	Incarnation ID       // the life of the table
	Roots       []string // URIs that wrap the newest table key
	Version     uint32   // the newest version of the table key
	Versions    []uint32 // all versions, ascending
}

// A Tombstone is what is left of a dropped table.
type Tombstone struct {
	ID        ID
	Name      string
	DroppedAt time.Time
	Versions  []uint32 // of the table key, ascending
	Roots     []string // URIs of the root keys that wrapped any of them
}

// Create makes a keyring.
func Create(ctx context.Context, dir string, root RootKey, opts Options) (*Keyring, error) {
	return nil, errors.ErrUnsupported
}

// Open opens a keyring.
func Open(ctx context.Context, dir string, roots []RootKey, readOnly bool, opts Options) (*Keyring, error) {
	return nil, errors.ErrUnsupported
}

// Exists tells whether dir holds a keyring.
func Exists(fs vfs.FS, dir string) (bool, error) { return false, errors.ErrUnsupported }

func (k *Keyring) StoreID() ID             { return ID{} }
func (k *Keyring) Generation() uint64      { return 0 }
func (k *Keyring) Roots() []string         { return nil }
func (k *Keyring) Tables() []TableRecord   { return nil }
func (k *Keyring) Tombstones() []Tombstone { return nil }
func (k *Keyring) StoreKeys() DataKeys     { return nil }
func (k *Keyring) State(id ID) []byte      { return nil }
func (k *Keyring) Journal() ID             { return ID{} }
func (k *Keyring) Close() error            { return nil }

func (k *Keyring) CreateTable(ctx context.Context, name string, root RootKey, metadata []byte) (*TableKeys, error) {
	return nil, errors.ErrUnsupported
}
func (k *Keyring) FinishCreate(ctx context.Context, id ID) error { return errors.ErrUnsupported }
func (k *Keyring) OpenTable(ctx context.Context, id ID) (*TableKeys, error) {
	return nil, errors.ErrUnsupported
}
func (k *Keyring) DropTable(ctx context.Context, id ID) (Tombstone, error) {
	return Tombstone{}, errors.ErrUnsupported
}
func (k *Keyring) Forget(ctx context.Context, id ID) error { return errors.ErrUnsupported }
func (k *Keyring) SetMetadata(ctx context.Context, tk *TableKeys, metadata []byte) error {
	return errors.ErrUnsupported
}
func (k *Keyring) SetStates(ctx context.Context, journal ID, states map[ID][]byte) error {
	return errors.ErrUnsupported
}

// TableKeys are the keys of one table.
type TableKeys struct{}

func (t *TableKeys) ID() ID             { return ID{} }
func (t *TableKeys) Name() string       { return "" }
func (t *TableKeys) Version() uint32    { return 0 }
func (t *TableKeys) Incarnation() ID    { return ID{} }
func (t *TableKeys) Metadata() []byte   { return nil }
func (t *TableKeys) RootURIs() []string { return nil }
func (t *TableKeys) Wipe()              {}

func (t *TableKeys) NewDataKey(file ID) (*DataKey, error) { return nil, errors.ErrUnsupported }
func (t *TableKeys) DataKey(file ID, version uint32, wrapped []byte) (*Secret, error) {
	return nil, errors.ErrUnsupported
}
