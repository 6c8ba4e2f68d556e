package sstable

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// The files below, as the engine and the tests have them.
var (
	_ WriteFile = vfs.File(nil)
	_ ReadFile  = vfs.File(nil)
	_ WriteFile = (*os.File)(nil)
	_ ReadFile  = (*os.File)(nil)
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 for a new one")

// newRand returns a generator whose seed a failure shows.
func newRand(t testing.TB) *mathrand.Rand {
	seed := *seedFlag
	if seed == 0 {
		n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		require.NoError(t, err)
		seed = n.Uint64() + 1
	}
	t.Logf("-seed %d", seed)
	return mathrand.New(mathrand.NewPCG(seed, 0))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

var errInjected = errors.New("injected")

// A memFile is a file in memory that counts and fails.
type memFile struct {
	mu     sync.Mutex
	b      []byte
	ops    []string // of writing: "write", "sync", "close"
	failAt int      // the operation of that index fails; -1 none
	short  bool     // a failing write is a short one without error
	reads  int
	got    int64 // bytes read
	readFn func(p []byte, off int64) (int, error)
}

func newMemFile(b []byte) *memFile { return &memFile{b: b, failAt: -1} }

func (f *memFile) op(name string) error {
	f.ops = append(f.ops, name)
	if len(f.ops)-1 == f.failAt {
		return errInjected
	}
	return nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.op("write"); err != nil {
		f.b = append(f.b, p[:len(p)/2]...)
		if f.short {
			err = nil
		}
		return len(p) / 2, err
	}
	f.b = append(f.b, p...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.op("sync")
}

func (f *memFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.op("close")
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.readFn != nil {
		return f.readFn(p, off)
	}
	return f.readAt(p, off)
}

func (f *memFile) readAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	f.got += int64(n)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func testIdentity() keyring.Identity {
	return keyring.Identity{
		Kind: keyring.KindSSTable, StoreID: keyring.NewID(), TableID: keyring.NewID(), FileID: keyring.NewID(),
		Number: 42, Incarnation: keyring.NewID(), CreatedAt: time.Now(),
	}
}

func testKey() *keyring.DataKey {
	k := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 3}
	rand.Read(k.Wrapped[:])
	return k
}

// A sealed is a file as it lies on disk, with what a test knows of it.
type sealed struct {
	b     []byte
	plain []byte
	key   *keyring.Secret
	opts  Options
}

// seal seals plain under a new key.
func seal(t testing.TB, plain []byte, opts Options) *sealed {
	return sealAs(t, plain, testIdentity(), testKey(), opts)
}

func sealAs(t testing.TB, plain []byte, id keyring.Identity, key *keyring.DataKey, opts Options) *sealed {
	opts.Path = "000042.sst"
	f := newMemFile(nil)
	w, err := NewWriter(f, id, key, opts)
	require.NoError(t, err)
	n, err := w.Write(plain)
	require.NoError(t, err)
	require.Equal(t, len(plain), n)
	require.NoError(t, w.Sync())
	require.NoError(t, w.Close())
	return &sealed{b: f.b, plain: plain, key: key.Key, opts: opts}
}

// segment returns segment i, and offset where it begins.
func (s *sealed) segment(i int) []byte {
	off := s.offset(i)
	return s.b[off:min(off+s.unit(), len(s.b))]
}

func (s *sealed) offset(i int) int { return keyring.HeaderLen + i*s.unit() }

func (s *sealed) unit() int {
	if s.opts.UnitSize == 0 {
		return DefaultUnitSize
	}
	return int(s.opts.UnitSize)
}

func (s *sealed) segments() int {
	return (len(s.b) - keyring.HeaderLen + s.unit() - 1) / s.unit()
}

func (s *sealed) clone() *sealed {
	c := *s
	c.b = slices.Clone(s.b)
	return &c
}

// open opens the file from its first byte on, as the engine does.
func (s *sealed) open() (*Reader, *memFile, error) {
	f := newMemFile(s.b)
	h, err := keyring.ParseHeader(s.b)
	if err != nil {
		return nil, f, corrupt.At(s.opts.Path, err)
	}
	r, err := NewReader(f, int64(len(s.b)), h, s.key, s.opts)
	return r, f, err
}

func (s *sealed) mustOpen(t testing.TB) (*Reader, *memFile) {
	r, f, err := s.open()
	require.NoError(t, err)
	return r, f
}

// readAll reads the whole plaintext with one call.
func readAll(r *Reader) ([]byte, error) {
	p := make([]byte, r.Size())
	n, err := r.ReadAt(p, 0)
	if err == io.EOF && int64(n) == r.Size() {
		err = nil // as io.EOF says, that was all
	}
	return p, err
}

func (s *sealed) reopen(t testing.TB) *Reader {
	r, _ := s.mustOpen(t)
	return r
}

// readPast asks for what lies behind the plaintext.
func (r *Reader) readPast() error {
	_, err := r.ReadAt(make([]byte, 1), r.Size()+1)
	return err
}

func requireSame(t testing.TB, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		i := 0
		for i < min(len(want), len(got)) && want[i] == got[i] {
			i++
		}
		require.FailNow(t, "bytes differ", "at %d; lengths %d and %d", i, len(want), len(got))
	}
}

// ctrSuite encrypts and does not authenticate: it is the negative control.
// What the tests of tampering find with it is found by something other than
// the cipher.
func ctrSuite(key []byte) (aead.Sealer, error) {
	block, err := aes.NewCipher(key)
	return &ctrSealer{block: block}, err
}

type ctrSealer struct{ block cipher.Block }

func (s *ctrSealer) xor(dst, nonce, src []byte) {
	var iv [aes.BlockSize]byte
	copy(iv[:], nonce)
	cipher.NewCTR(s.block, iv[:]).XORKeyStream(dst, src)
}

func (s *ctrSealer) Seal(dst, plaintext, _ []byte) ([]byte, error) {
	out := make([]byte, aead.Overhead+len(plaintext))
	rand.Read(out[:aead.NonceLen])
	s.xor(out[aead.NonceLen:], out[:aead.NonceLen], plaintext)
	return append(dst, out...), nil
}

func (s *ctrSealer) Open(dst, sealed, _ []byte) ([]byte, error) {
	out := make([]byte, len(sealed)-aead.Overhead)
	s.xor(out, sealed[:aead.NonceLen], sealed[aead.NonceLen:len(sealed)-aead.TagLen])
	return append(dst, out...), nil
}

// countingSuite is the real cipher; it counts what it opens.
func countingSuite(opened *atomic.Int64) aead.Suite {
	return func(key []byte) (aead.Sealer, error) {
		s, err := aead.Suite(nil).New(key)
		return &countingSealer{s, opened}, err
	}
}

type countingSealer struct {
	aead.Sealer
	opened *atomic.Int64
}

func (s *countingSealer) Open(dst, sealed, additional []byte) ([]byte, error) {
	s.opened.Add(1)
	return s.Sealer.Open(dst, sealed, additional)
}

// requireCorrupt checks that err is a fault of that class, which no reader can
// take for the end of a file.
func requireCorrupt(t testing.TB, err, class error) *corrupt.Error {
	t.Helper()
	var e *corrupt.Error
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, corrupt.ErrCorrupt)
	require.ErrorIs(t, err, class)
	require.NotErrorIs(t, err, io.EOF)
	require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
	return e
}

// requireFault opens, verifies and reads a file that is not what was written:
// each way finds it, if opening does not already.
func requireFault(t testing.TB, s *sealed, what string) *corrupt.Error {
	t.Helper()
	r, _, err := s.open()
	if err != nil {
		var e *corrupt.Error
		require.ErrorAs(t, err, &e, what)
		requireCorrupt(t, err, corrupt.ErrCorrupt)
		require.Equal(t, s.opts.Path, e.Path)
		return e
	}
	var found *corrupt.Error
	_, err = r.Verify(func(_ int64, err error) bool {
		found = requireCorrupt(t, err, corrupt.ErrCorrupt)
		return false
	})
	require.NoError(t, err)
	require.NotNil(t, found, "verify finds nothing: %s", what)
	for _, read := range []func() ([]byte, error){
		func() ([]byte, error) { return readAll(s.reopen(t)) },
		func() ([]byte, error) { return io.ReadAll(r.NewSequential()) },
	} {
		_, err = read()
		e := requireCorrupt(t, err, corrupt.ErrCorrupt)
		require.Equal(t, found, e, what)
	}
	return found
}
