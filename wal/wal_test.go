package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A memFile is a file in memory that is written from its first byte on. What
// it held before, as a recycled file does, stays behind.
type memFile struct {
	mu      sync.Mutex
	b       []byte
	pos     int
	syncs   int
	closes  int
	writes  int
	failing func(op string) error // nil: nothing fails
}

func (f *memFile) fail(op string) error {
	if f.failing == nil {
		return nil
	}
	return f.failing(op)
}

func (f *memFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if err := f.fail("write"); err != nil {
		return 0, err
	}
	n := copy(f.b[f.pos:], p)
	f.b = append(f.b, p[n:]...)
	f.pos += len(p)
	return len(p), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail("read"); err != nil {
		return 0, err
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func (f *memFile) sync(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
	return f.fail(op)
}

func (f *memFile) Sync() error     { return f.sync("sync") }
func (f *memFile) SyncData() error { return f.sync("syncdata") }

func (f *memFile) Close() error {
	f.closes++
	return f.fail("close")
}

// blindSuite is the negative control of every test of tampering: a cipher that
// neither hides nor authenticates anything.
func blindSuite([]byte) (aead.Sealer, error) { return blind{}, nil }

type blind struct{}

func (blind) Seal(dst, plaintext, _ []byte) ([]byte, error) {
	dst = append(dst, make([]byte, aead.NonceLen)...)
	dst = append(dst, plaintext...)
	return append(dst, make([]byte, aead.TagLen)...), nil
}

func (blind) Open(dst, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen]...), nil
}

func testIdentity() keyring.Identity {
	return keyring.Identity{
		Kind:        keyring.KindWAL,
		StoreID:     keyring.ID{1},
		TableID:     keyring.ID{2},
		FileID:      keyring.NewID(),
		Number:      7,
		Incarnation: keyring.ID{3},
		CreatedAt:   time.Unix(1700000000, 123456789).UTC(),
	}
}

var testPast = Past{
	FormatVersion: keyring.FormatVersion,
	PebbleFormat:  24,
	Previous:      Segment{Number: 6, FileID: keyring.ID{6}, Frames: 100},
	Manifest:      Segment{Number: 5, FileID: keyring.ID{5}, Frames: 12},
}

// testNow stands still: the order of times is no seal, and the controls of the
// attacks must not be stopped by it.
func testNow() time.Time { return time.Unix(1700000000, 0) }

func newKey() *keyring.DataKey { return &keyring.DataKey{Key: keyring.RandomSecret(), Version: 1} }

// readAll reads a whole file under key, as far as it goes. The frames are
// copies.
func readAll(b []byte, key *keyring.DataKey, opts ReaderOptions) (frames []Frame, r *Reader, err error) {
	h, err := keyring.ParseHeader(b)
	if err != nil {
		return nil, nil, err
	}
	r, err = NewReader(&memFile{b: b}, int64(len(b)), h, key.Key, opts)
	if err != nil {
		return nil, nil, err
	}
	for {
		fr, err := r.Next()
		if err != nil {
			again, err2 := r.Next()
			if err2 != err || again.Data != nil {
				return frames, r, fmt.Errorf("the error %v is not final: then came %v", err, err2)
			}
			return frames, r, err
		}
		fr.Note, fr.Data = bytes.Clone(fr.Note), bytes.Clone(fr.Data)
		frames = append(frames, fr)
	}
}

// requireCorrupt requires a typed error that names the file, and is not what
// Pebble takes for the end of a log.
func requireCorrupt(t testing.TB, err error, path string, msg ...any) *corrupt.Error {
	t.Helper()
	require.Error(t, err, msg...)
	require.ErrorIs(t, err, corrupt.ErrCorrupt, msg...)
	require.NotErrorIs(t, err, io.EOF, msg...)
	require.NotErrorIs(t, err, io.ErrUnexpectedEOF, msg...)
	var e *corrupt.Error
	require.True(t, errors.As(err, &e), msg...)
	require.Equal(t, path, e.Path, msg...)
	require.GreaterOrEqual(t, e.Offset, int64(0), msg...)
	return e
}

// A written log, with all that is known of it.
type testLog struct {
	key     *keyring.DataKey
	id      keyring.Identity
	suite   aead.Suite
	b       []byte // the file
	tag     [segmentTagLen]byte
	data    [][]byte // by index; of frame 0 the past
	offset  []int    // by index, and behind the last
	durable []uint64 // by index: what the frame says
	synced  uint64   // frames synced at the end
}

// frame is the bytes of a frame in the file.
func (l *testLog) frame(i int) []byte { return l.b[l.offset[i]:l.offset[i+1]] }

func (l *testLog) frames() int { return len(l.data) }

// newLog writes frames of random length, at most maxLen, over old, with a sync
// after each with probability syncs.
func newLog(t testing.TB, rng *rand.Rand, suite aead.Suite, old []byte, frames, maxLen int, syncs float64) *testLog {
	t.Helper()
	l := &testLog{key: newKey(), id: testIdentity(), suite: suite}
	f := &memFile{b: old}
	w, err := NewWriter(f, l.id, l.key, testPast, Options{Suite: suite, Now: testNow})
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	l.data = append(l.data, testPast.encode())
	l.offset = append(l.offset, keyring.HeaderLen, f.pos)
	l.durable = append(l.durable, 0)
	for range frames - 1 {
		p := make([]byte, 1+rng.IntN(maxLen))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		l.durable = append(l.durable, w.Durable())
		_, err := w.Write(p)
		require.NoError(t, err)
		l.data = append(l.data, p)
		l.offset = append(l.offset, f.pos)
		if rng.Float64() < syncs {
			require.NoError(t, w.SyncData())
		}
	}
	l.synced = w.Durable()
	l.tag = w.tag
	l.b = f.b
	require.NoError(t, w.Close())
	return l
}

// message is the FLOE message that the header begins.
func (l *testLog) message(t testing.TB) *floe.Message {
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	m, err := floe.Resume(floe.Params{Suite: l.suite}, l.key.Key, h.Identity.AAD(), h.Floe[:])
	require.NoError(t, err)
	return m
}

// requirePrefix requires that frames, read from frame 1 on, are what was
// written.
func (l *testLog) requirePrefix(t testing.TB, frames []Frame, msg ...any) {
	t.Helper()
	require.True(t, l.isPrefix(frames), msg...)
}

func (l *testLog) isPrefix(frames []Frame) bool {
	if len(frames) >= l.frames() {
		return false
	}
	for i, fr := range frames {
		if fr.Index != uint64(i+1) || fr.Durable != l.durable[i+1] || !bytes.Equal(fr.Data, l.data[i+1]) {
			return false
		}
	}
	return true
}

// rngFor makes a generator whose seed is in every failure message that uses
// it.
func rngFor(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
