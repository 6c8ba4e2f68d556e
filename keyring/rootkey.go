package keyring

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cofredb/cofre/internal/codec"
)

// A RootKey is one root key in one key service. It wraps the keys at the top
// of a store: the store key and the newest version of each table key. The
// root key itself lies in the service and never in the store.
//
// Implementations are safe for concurrent use, observe ctx, do not retry by
// themselves, and pass the conformance suite of package keyringtest. Their
// errors hold no key material, and satisfy errors.Is for one of ErrKeyDenied,
// ErrKeyNotFound, ErrWrongContext, ErrKeyUnreachable, ErrKeyThrottled, the
// error of ctx, or (where the wrapped bytes do not parse) are *corrupt.Error.
type RootKey interface {
	// URI is the key's identity: scheme, colon, name. It is stable over
	// rotations and restarts, carries no secret, and is at most MaxURILen
	// bytes long. The keyring stores it beside each wrap.
	URI() string

	// Wrap seals key under the newest version of the root key, bound to ec.
	// The result is at most MaxWrapLen bytes long and differs on each call.
	Wrap(ctx context.Context, key *Secret, ec Context) ([]byte, error)

	// Unwrap opens what Wrap returned for the same ec, under whichever
	// version of the root key sealed it. The caller wipes the result.
	Unwrap(ctx context.Context, wrapped []byte, ec Context) (*Secret, error)

	// Describe tells state and versions. It is informative: only an Unwrap
	// confirms that a key may be used.
	Describe(ctx context.Context) (Description, error)
}

// A RootKey implements Destroyer where its service can be told to destroy it.
type Destroyer interface {
	// ScheduleDeletion has the root key destroyed after some days, as many as its
	// service allows (7 to 30 in AWS KMS and in the local key service). Until then it
	// is denied, and the service can call it off; from the date returned on, nothing
	// that it has wrapped opens again.
	ScheduleDeletion(ctx context.Context, days int) (time.Time, error)
}

// A RootKey implements Offline where what unwraps is not there in daily use: it is
// kept on paper or in a safe, as that of a recovery recipient, and the store has
// what wraps alone. Such a root key is asked last, is not asked to show that it
// unwraps what it has wrapped, and is never the only one of a key.
type Offline interface {
	// Offline tells whether the root key must not be counted on to unwrap. It
	// is constant for the life of the value.
	Offline() bool
}

func isOffline(root RootKey) bool {
	o, ok := root.(Offline)
	return ok && o.Offline()
}

// An Anchor remembers the newest keyring of each store, outside the store, so
// that an older keyring put back alone is found. A RootKey implements it where
// its service can hold the note.
type Anchor interface {
	// NewestGeneration returns the note for a store; ok is false if there is
	// none.
	NewestGeneration(ctx context.Context, store ID) (gen uint64, digest [32]byte, ok bool, err error)

	// NoteGeneration replaces the note, durably. It refuses with ErrRollback
	// a generation below the noted one, and the noted one with another digest.
	NoteGeneration(ctx context.Context, store ID, gen uint64, digest [32]byte) error
}

// The purposes of wrapped keys, in Context.Purpose. They are wire constants.
const (
	PurposeStoreKey = "store-key"
	PurposeTableKey = "table-key"
	PurposeAuditKey = "audit-key" // the first key of the audit log
)

// A Context says what a wrapped key is for: the encryption context of a call
// to a key service. It is the additional data of the wrap, so that a wrapped
// key moved elsewhere does not unwrap.
type Context struct {
	Store   ID     // the store
	Table   ID     // the table; zero where the key is the store's
	Purpose string // PurposeStoreKey, PurposeTableKey or PurposeAuditKey
	Version uint32 // the version of the key that is wrapped
}

// Map gives the context in the form that key services take: four pairs.
func (c Context) Map() map[string]string {
	return map[string]string{
		"cofre:purpose": c.Purpose,
		"cofre:store":   c.Store.String(),
		"cofre:table":   c.Table.String(),
		"cofre:version": strconv.FormatUint(uint64(c.Version), 10),
	}
}

// Canonical gives the one encoding of the context: the pairs of Map sorted by
// key, each key and each value with its length (32 bits, big-endian) before
// it.
func (c Context) Canonical() []byte {
	m := c.Map()
	w := codec.Writer{B: make([]byte, 0, 192)}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.Str(k)
		w.Str(m[k])
	}
	return w.B
}

// A State is the state of a root key in its service. States are wire
// constants.
type State uint8

const (
	StateEnabled         State = 1 // wraps and unwraps
	StateDisabled        State = 2 // refuses both until it is enabled again
	StatePendingDeletion State = 3 // refuses both; will be destroyed
)

func (s State) String() string {
	switch s {
	case StateEnabled:
		return "enabled"
	case StateDisabled:
		return "disabled"
	case StatePendingDeletion:
		return "pending deletion"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText gives the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Description is what a key service tells about a root key. It holds no
// secret.
type Description struct {
	URI          string
	State        State
	DeletionDate time.Time     // when a key that is pending deletion is destroyed; zero if not told
	Versions     []VersionInfo // ascending; empty where the service does not tell
	Location     string        // where the key lies: a path, an endpoint; "" if nowhere
	Sealed       bool          // whether the key is itself encrypted where it lies
	Note         string        // one line for people, such as "unsealed file"
}

// A VersionInfo is one version of a root key.
type VersionInfo struct {
	Number    uint32
	CreatedAt time.Time
}
