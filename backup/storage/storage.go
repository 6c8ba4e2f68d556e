package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"time"
)

// A Storage holds objects by name. All methods may be used by several
// goroutines at once, and several processes may use one storage. Errors are of
// type *[Error], but for those of a context that has ended, which are inside
// one.
//
// Methods retry by themselves what may go better the next time, and give up
// with [ErrUnreachable]. A context that ends ends them too, soon, and undoes
// what was begun where that takes no long time.
type Storage interface {
	// Location names the storage, for people and for Open of package locate. It
	// holds no secret.
	Location() string

	// Put makes an object, durably. It fails with [ErrExists] where the name
	// is taken, by whatever bytes. Of several Puts of a name at once exactly
	// one succeeds. The source is read more than once.
	Put(ctx context.Context, name string, src Source) error

	// Replace is Put that takes the place of an object that is there. Readers
	// see the old bytes or the new. It is for objects that were found damaged.
	Replace(ctx context.Context, name string, src Source) error

	// Get opens a range of an object. A negative length is all from offset to
	// the end. The reader gives exactly the bytes of the range and then
	// io.EOF; an object that ends before the range does is [ErrRange], from
	// Get or from the reader. A body that breaks off is fetched on from there;
	// one that stays short is an error and never io.EOF. The reader fails when
	// ctx ends, and must be closed.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)

	// Stat returns what is known of an object without reading it.
	Stat(ctx context.Context, name string) (Info, error)

	// List yields the objects, and registers, whose names begin with prefix,
	// in ascending order of bytes. A prefix may end inside of an element. What
	// is put or deleted meanwhile may be seen or not. After an error nothing
	// follows.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, name string) error

	// Load reads a register. One that is not there is [ErrNotFound].
	Load(ctx context.Context, name string) ([]byte, Version, error)

	// Swap changes a register if its version is still old, durably, and
	// returns the new version; [NoVersion] for old makes one that is not
	// there. It fails with [ErrConflict] where the version is another. Of
	// several Swaps of a version at once exactly one succeeds. Equal contents
	// may have equal versions: write what was never there before, such as a
	// counter. At most [MaxRegister] bytes.
	Swap(ctx context.Context, name string, old Version, content []byte) (Version, error)

	// Clean removes what interrupted Puts have left (temporary files, uploads
	// in parts) and that is older than age, which must be longer than any Put
	// takes. None of it is ever visible as an object, but it takes space.
	Clean(ctx context.Context, age time.Duration) (Cleaned, error)

	// Close lets go of connections and handles. Operations that run fail.
	// Closing twice is no error.
	Close() error
}

// A Namer is a Storage that names objects after their bytes, which it reads once: a
// caller of Put who does so reads them twice.
type Namer interface {
	Storage

	// PutNamed is Put of an object whose name is what name makes of the SHA-256 of its
	// bytes. It returns the SHA-256 also where the name is taken. Until the bytes are
	// read nobody knows the name: errors before have none.
	PutNamed(ctx context.Context, src Source, name func(sum [sha256.Size]byte) string) ([sha256.Size]byte, error)
}

// A Source is what is put: a size and the bytes, which can be read again for
// another try. *bytes.Reader, *strings.Reader and *io.SectionReader are
// Sources. Its bytes must not change while it is put.
type Source interface {
	io.ReaderAt
	Size() int64
}

// Bytes makes a Source of b, which it keeps.
func Bytes(b []byte) Source { return bytes.NewReader(b) }

// An Info is what is known of an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the storage's clock
}

// A Version tells the contents of a register apart. It means nothing but to
// the storage it comes from.
type Version string

// NoVersion is the version of a register that is not there.
const NoVersion Version = ""

// MaxRegister is the most bytes that a register has.
const MaxRegister = 64 << 10

// MaxObject is the most bytes that an object has: 5 TiB, the bound of S3.
const MaxObject = 5 << 40

// Cleaned says what Clean has removed.
type Cleaned struct {
	Files int   // temporary files, or uploads
	Bytes int64 // of temporary files; uploads in parts do not tell
}
