package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

func TestLog(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.opts = Options{Actor: "payroll", Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }}
	var heads []Head
	for range 3 {
		heads = append(heads, s.live(5))
	}
	require.Equal(t, uint64(1+5), heads[0].Seq, "the first record begins the chain")
	require.Equal(t, uint64(1+15), heads[2].Seq)
	rep := s.sound(heads...)
	require.Equal(t, uint64(16), rep.Records)
	require.Equal(t, heads[2], rep.Last)
	require.Equal(t, 1, rep.Files)
	require.Equal(t, 1, rep.Chains)

	// What a line is.
	rs := s.records()
	require.Len(t, rs, 16)
	require.Equal(t, EventBegin, rs[0].Event)
	var m map[string]any
	require.NoError(t, json.Unmarshal(must(rs[2].JSON()), &m))
	require.Equal(t, float64(3), m["sequence"])
	require.Equal(t, "2026-01-02T03:04:05.000000006Z", m["eventTime"])
	require.Equal(t, "Unwrap", m["eventName"])
	require.Equal(t, "cofre.keyring", m["eventSource"])
	require.Equal(t, "denied", m["outcome"])
	require.Equal(t, "KeyDenied", m["errorCode"])
	require.Equal(t, s.id.String(), m["storeId"])
	require.Equal(t, "payroll", m["userIdentity"].(map[string]any)["principalId"])
	require.Equal(t, "test:a", m["requestParameters"].(map[string]any)["keyId"])
	require.Equal(t, "success", rs[1].Outcome)
	require.Empty(t, rs[1].ErrorCode)
	var whole []byte
	for _, r := range rs {
		whole = append(append(whole, must(r.JSON())...), '\n')
	}
	require.Equal(t, string(s.files()[fileName(1)]), string(whole), "Records gives what stands in the file")
}

// TestErased: what a log holds does not authenticate what was.
func TestErased(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	l := s.open()
	for range 3 {
		key := l.chain.key
		require.NoError(t, l.Record(EventWrap, Request{}, nil))
		require.True(t, key.Wiped())
	}
	last := l.chain.key
	require.NoError(t, l.Close())
	require.True(t, last.Wiped())
	require.ErrorIs(t, l.Record(EventWrap, Request{}, nil), keyring.ErrClosed)
	require.NoError(t, l.Close())
}

// TestRotate lets files grow to a size, and no longer.
func TestRotate(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.opts.FileSize = 4 << 10
	var heads []Head
	for range 5 {
		heads = append(heads, s.live(7))
	}
	rep := s.sound(heads...)
	require.Greater(t, rep.Files, 4)
	require.Equal(t, uint64(36), rep.Records)
	for n, b := range s.files() {
		require.LessOrEqual(t, len(b), 4<<10, n)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	h := Head{Seq: 77, MAC: [macLen]byte{1, 2, 0xff}}
	again, err := ParseHead(h.String())
	require.NoError(t, err)
	require.Equal(t, h, again)
	require.Equal(t, "77:", h.String()[:3])
	for _, bad := range []string{"", "77", "77:", "0" + h.String()[2:], "x" + h.String(), h.String() + "0", h.String()[:98] + "g", "-1" + h.String()[2:], strings.Repeat("7", 500)} {
		_, err := ParseHead(bad)
		require.Error(t, err, bad)
		require.Less(t, len(err.Error()), 400)
	}
}

// TestUnwritable has the disk fail. Nothing is lost that the process lives to write.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"write", "sync", "write create", "create rename write"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := newTestStore(t)
			q := &failFS{FS: s.fs, err: syscall.ENOSPC}
			s.fs = q
			l := s.open()
			s.note(l)
			require.NoError(t, l.Note(EventUnwrap, Request{Version: 1}, nil))
			q.ops = op
			require.NoError(t, l.Note(EventUnwrap, Request{Version: 2}, nil), "it waits")
			l.Later(EventOpenTable, Request{Version: 3}, nil)
			err := l.Record(EventWrap, Request{Version: 4}, nil)
			require.ErrorIs(t, err, ErrUnwritable)
			require.ErrorIs(t, err, syscall.ENOSPC)
			_, err = l.State(t.Context())
			require.ErrorIs(t, err, ErrUnwritable)
			q.ops = ""
			require.NoError(t, l.Note(EventUnwrap, Request{Version: 5}, nil))
			head := s.note(l)
			require.NoError(t, l.Close())
			var got []uint32
			for _, r := range s.records() {
				if r.Request.Version > 0 {
					got = append(got, r.Request.Version)
				}
			}
			require.Equal(t, []uint32{1, 2, 3, 4, 5}, got)
			require.Equal(t, uint64(6), s.sound(head).Last.Seq)
			require.Contains(t, s.files(), fileName(2), "what had failed is left as it was")
			s.live(3)
			s.sound(head)
		})
	}
}

// TestTooManyWait: the log gives no more than it promises.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	q := &failFS{FS: s.fs, err: syscall.EIO}
	s.fs = q
	l := s.open()
	q.ops = "write create"
	for range maxWaiting {
		require.NoError(t, l.Note(EventUnwrap, Request{}, nil))
	}
	root := Root(newTestRoot("b"), l)
	_, err := root.Describe(t.Context())
	require.ErrorIs(t, err, ErrUnwritable)
	l.Later(EventOpenTable, Request{}, nil)
	q.ops = ""
	require.NoError(t, l.Record(EventWrap, Request{}, nil))
	s.note(l)
	require.Equal(t, uint64(1+maxWaiting+1), s.sound().Records)

	early := New(Options{})
	for range maxWaiting {
		require.NoError(t, early.Note(EventUnwrap, Request{}, nil))
	}
	require.ErrorIs(t, early.Note(EventUnwrap, Request{}, nil), ErrUnwritable)
	require.NoError(t, early.Close())
}

// TestCrash cuts the power after each record, with what was not durable there or
// not. All that was acknowledged is there, and the log goes on.
func TestCrash(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newTestStore(t)
		s.opts.FileSize = 3 << 10
		acked := 0
		for range 6 {
			l := s.open()
			if rng.IntN(3) > 0 {
				s.note(l)
			}
			for range rng.IntN(6) {
				require.NoError(t, l.Record(EventWrap, Request{Generation: uint64(acked + 1)}, nil))
				acked++
				l.Later(EventNote, Request{}, nil)
				if rng.IntN(4) == 0 {
					s.note(l)
				}
			}
			if s.state == nil {
				s.note(l) // else it is no log's beginning, and begun anew
			}
			s.fs = s.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		}
		n := 0
		for _, r := range s.records() {
			if r.Event == EventWrap {
				n++
				require.Equal(t, uint64(n), r.Request.Generation)
			}
		}
		require.Equal(t, acked, n, "seed %d", seed)
		s.sound()
	}
}

// TestTorn cuts the last line at each byte, behind the record that the keyring
// names, or puts other bytes there: it is what a crash leaves.
func TestTorn(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.live(3)
	named := len(s.files()[fileName(1)])
	kept := s.state
	s.live(1)
	whole := s.files()[fileName(1)]
	for cut := named; cut < len(whole); cut += 1 + (cut*7)%13 {
		for _, tail := range [][]byte{nil, make([]byte, 20), []byte("garbage\n"), []byte("{}\n{}\n")} {
			s.state = kept
			c := s.with(map[string][]byte{fileName(1): append(bytes.Clone(whole[:cut]), tail...)})
			if cut == named && len(tail) == 0 {
				c.sound()
				continue
			}
			rep, found := c.verify()
			require.Zero(t, rep.Faults, "%+v", found)
			require.Equal(t, 1, rep.Warnings)
			head := c.live(2)
			require.Equal(t, uint64(6), head.Seq)
			rep = c.sound(head)
			require.Equal(t, 2, rep.Files)
			require.Equal(t, 1, rep.Warnings, "what a crash has left stays, and is told of")
			require.Len(t, c.records(), 6)
		}
	}
}

// TestUnfinished: a crash came between the first record and the keyring that names
// it. The log begins again, behind that.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	require.NoError(t, s.open().Close())
	h := s.live(2)
	rep := s.sound(h)
	require.Equal(t, 2, rep.Chains)
	require.Equal(t, 1, rep.Warnings)
	require.Equal(t, uint64(4), rep.Records)
}

func TestBeginAnew(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.live(4)
	files := s.files()
	first := s.state
	files[fileName(1)] = files[fileName(1)][:len(files[fileName(1)])/2]
	c := s.with(files)
	_, err := c.tryOpen(false)
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorIs(t, err, corrupt.ErrMissing)
	l, err := c.tryOpen(true)
	require.NoError(t, err)
	require.NoError(t, l.Record(EventWrap, Request{}, nil))
	c.note(l)
	require.NoError(t, l.Close())
	rep, found := c.verify()
	require.NotZero(t, rep.Faults)
	require.Contains(t, fmt.Sprint(found), "a new chain begins with record 6")
	rs := c.records()
	require.Equal(t, Head{first.Seq, first.MAC}.String(), rs[len(rs)-2].Begin.Previous)
	// It goes on, and does not begin again where it is whole.
	l, err = c.tryOpen(true)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Len(t, c.records(), len(rs))
	// The record that was expected is missed by who noted it.
	_, found = c.verify(Head{first.Seq, first.MAC})
	require.Contains(t, fmt.Sprint(found), "record 5, which was noted, is not in the log")
}

// TestSink: the sink hears of all records in order, may use the log, and is waited
// for.
func TestSink(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	var mu sync.Mutex
	var heard []Record
	var l *Log
	ready := make(chan struct{})
	s.opts.Sink = func(r Record) {
		<-ready
		_, err := l.State(t.Context()) // takes the log's lock
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, r)
		if err != nil {
			heard = nil
		}
	}
	l = s.open()
	close(ready)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				_ = l.Note(EventUnwrap, Request{}, nil)
			}
		})
	}
	wg.Wait()
	s.note(l)
	require.NoError(t, l.Close())
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, heard, 81)
	rs := s.records()
	for i := range heard {
		require.Equal(t, must(rs[i].JSON()), must(heard[i].JSON()))
	}
}

// TestSlowSink: a sink that hangs holds up nobody, and sees what it missed.
func TestSlowSink(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	go1 := make(chan struct{})
	var heard []uint64
	q := newQueue(func(r Record) { <-go1; heard = append(heard, r.Seq) }, slog.New(slog.NewTextHandler(&log, nil)))
	for i := range uint64(2*maxQueued + 10) {
		q.put(Record{Seq: i + 1})
	}
	close(go1)
	q.close()
	q.put(Record{Seq: 1})
	require.GreaterOrEqual(t, len(heard), maxQueued)
	require.Less(t, len(heard), 2*maxQueued+10)
	require.Contains(t, log.String(), "too slow")
	for i, n := range heard[1:] {
		require.Greater(t, n, heard[i])
	}
}

// TestReadOnly: nothing is written; the sink hears.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	fs := syncedDir(t, "store")
	var heard []Record
	l := New(Options{Sink: func(r Record) { heard = append(heard, r) }})
	require.NoError(t, l.Note(EventUnwrap, Request{}, nil))
	id := keyring.NewID()
	l.OpenReadOnly(id)
	require.NoError(t, l.Record(EventWrap, Request{}, keyring.ErrKeyDenied))
	st, err := l.State(t.Context())
	require.NoError(t, err)
	require.Nil(t, st)
	require.NoError(t, l.Close())
	require.Len(t, heard, 2)
	require.Equal(t, id, heard[0].Store)
	require.Zero(t, heard[0].Seq)
	require.Equal(t, "KeyDenied", heard[1].ErrorCode)
	names, err := fs.List("store")
	require.NoError(t, err)
	require.Empty(t, names)
}

// TestProvisional: what was recorded without a key is bound by the next opening.
func TestProvisional(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	var heard []Record
	s.live(1)
	for i := range 3 {
		l := New(Options{Sink: func(r Record) { heard = append(heard, r) }})
		require.NoError(t, l.Note(EventUnwrap, Request{Version: uint32(i)}, keyring.ErrKeyDenied))
		require.NoError(t, l.KeepProvisional(s.place()))
		require.NoError(t, l.Close())
	}
	require.Len(t, heard, 3)
	require.Len(t, s.records(), 2+3, "they show before they are bound")
	s.sound()
	// What a crash leaves of a line, and what others write, is no reason to fail.
	files := s.files()
	files[provisionalName] = append(files[provisionalName], "{\"eventName\":\"Unwrap\",\"sequ\n{}\n{\"eventName\":\"BeginLog\"}\nUnwr"...)
	c := s.with(files)
	h := c.live(1)
	rep := c.sound(h)
	require.Equal(t, uint64(2+3+1), rep.Records)
	rs := c.records()
	for i, r := range rs[2:5] {
		require.True(t, r.Provisional)
		require.Equal(t, "KeyDenied", r.ErrorCode)
		require.Equal(t, heard[i].ID, r.ID)
		require.True(t, heard[i].Time.Equal(r.Time))
	}
	require.NotContains(t, c.files(), provisionalName)
	require.Equal(t, uint64(7), c.live(1).Seq)

	// It is bounded.
	for range 3000 {
		l := New(Options{})
		require.NoError(t, l.Note(EventUnwrap, Request{Context: keyring.Context{}.Map()}, keyring.ErrKeyDenied))
		require.NoError(t, l.KeepProvisional(c.place()))
	}
	require.LessOrEqual(t, len(c.files()[provisionalName]), maxProvisional)
	require.Greater(t, len(c.files()[provisionalName]), maxProvisional/2)
	c.live(0)
	c.sound()
}

// TestNoKeyToBegin: a log does not begin without a wrap of its first key, and
// nothing is left.
func TestNoKeyToBegin(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.root.err = keyring.ErrKeyDenied
	_, err := s.tryOpen(false)
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.Empty(t, s.files())
	s.root.err = nil
	s.sound(s.live(1))
}

func TestRoot(t *testing.T) {
	t.Parallel()
	var heard []Record
	var mu sync.Mutex
	l := New(Options{Sink: func(r Record) { mu.Lock(); defer mu.Unlock(); heard = append(heard, r) }})
	l.OpenReadOnly(keyring.ID{1})
	inner := newTestRoot("a")
	root := Root(inner, l)
	_, ok := root.(keyring.Anchor)
	require.False(t, ok)
	ec := keyring.Context{Store: keyring.ID{1}, Table: keyring.ID{2}, Purpose: keyring.PurposeTableKey, Version: 3}
	key := keyring.RandomSecret()
	blob, err := root.Wrap(t.Context(), key, ec)
	require.NoError(t, err)
	got, err := root.Unwrap(t.Context(), blob, ec)
	require.NoError(t, err)
	require.True(t, got.Equal(key))
	_, err = root.Unwrap(t.Context(), blob, keyring.Context{})
	require.ErrorIs(t, err, keyring.ErrWrongContext)
	_, err = root.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, "test:a", fmt.Sprint(root))
	require.Equal(t, "test:a", fmt.Sprintf("%#v", root))
	require.NoError(t, l.Close())
	var lines []string
	for _, r := range heard {
		lines = append(lines, r.Event+" "+r.Outcome+" "+r.ErrorCode+" "+r.Request.Key+" "+r.Request.Context["cofre:version"])
	}
	require.Equal(t, []string{"Wrap success  test:a 3", "Unwrap success  test:a 3", "Unwrap failure WrongContext test:a 0", "Describe success  test:a "}, lines)
	require.Equal(t, keyring.ID{2}, heard[0].TableID())
	require.Zero(t, heard[2].TableID())
}

// A doomedRoot can be destroyed.
type doomedRoot struct{ keyring.RootKey }

func (doomedRoot) ScheduleDeletion(_ context.Context, days int) (time.Time, error) {
	return time.Unix(int64(days), 0), nil
}

// An offlineRoot is on paper.
type offlineRoot struct{ keyring.RootKey }

func (offlineRoot) Offline() bool { return true }

// TestRootKinds: what a root key can do besides, and no more, it can do recorded.
func TestRootKinds(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	l := s.open()
	plain, anchored := newTestRoot("a"), &anchoredRoot{testRoot: newTestRoot("b")}
	for i, inner := range []keyring.RootKey{plain, anchored, doomedRoot{plain}, struct {
		*anchoredRoot
		keyring.Destroyer
	}{anchored, doomedRoot{plain}}, offlineRoot{plain}} {
		root := Root(inner, l)
		_, want := inner.(keyring.Anchor)
		_, got := root.(keyring.Anchor)
		require.Equal(t, want, got, i)
		_, want = inner.(keyring.Destroyer)
		d, got := root.(keyring.Destroyer)
		require.Equal(t, want, got, i)
		if got {
			at, err := d.ScheduleDeletion(t.Context(), 9)
			require.NoError(t, err)
			require.Equal(t, int64(9), at.Unix())
		}
		require.Equal(t, i == 4, root.(keyring.Offline).Offline(), i)
	}
	s.note(l)
	rs := s.records()
	require.Len(t, rs, 3)
	require.Equal(t, EventScheduleDeletion, rs[2].Event)
	require.Equal(t, 9, rs[2].Request.Days)
}

// TestRootUnwritable: a wrap without a record is none.
func TestRootUnwritable(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	q := &failFS{FS: s.fs, err: syscall.EIO}
	s.fs = q
	l := s.open()
	root := Root(s.root, l)
	key, ec := keyring.RandomSecret(), keyring.Context{Store: s.id}
	blob, err := root.Wrap(t.Context(), key, ec)
	require.NoError(t, err)
	q.ops = "write create"
	none, err := root.Wrap(t.Context(), key, ec)
	require.ErrorIs(t, err, ErrUnwritable)
	require.Nil(t, none)
	_, err = root.Unwrap(t.Context(), blob, ec)
	require.NoError(t, err, "its record waits")
	require.ErrorIs(t, l.Close(), ErrUnwritable)
}

// TestAnchor: a root key that takes notes still does, and that is recorded.
func TestAnchor(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	l := s.open()
	inner := &anchoredRoot{testRoot: s.root}
	a, ok := Root(inner, l).(keyring.Anchor)
	require.True(t, ok)
	require.NoError(t, a.NoteGeneration(t.Context(), s.id, 7, [32]byte{0xab}))
	gen, digest, ok, err := a.NewestGeneration(t.Context(), s.id)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(7), gen)
	require.Equal(t, [32]byte{0xab}, digest)
	inner.err = keyring.ErrRollback
	require.ErrorIs(t, a.NoteGeneration(t.Context(), s.id, 6, [32]byte{}), keyring.ErrRollback)
	s.note(l)
	rs := s.records()
	require.Len(t, rs, 3)
	require.Equal(t, EventNote, rs[1].Event)
	require.Equal(t, uint64(7), rs[1].Request.Generation)
	require.Equal(t, "ab00", rs[1].Request.Digest[:4])
	require.Equal(t, "Rollback", rs[2].ErrorCode)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	keyringtest.Run(t, keyringtest.Config{
		New: func(t testing.TB) keyring.RootKey {
			s := newTestStore(t)
			return Root(s.root, s.open())
		},
		Secrets: func(t testing.TB, k keyring.RootKey) [][]byte {
			return [][]byte{k.(*recorded).inner.(*testRoot).key.Expose()}
		},
		Stride: 9,
	})
}

func TestErrorCode(t *testing.T) {
	t.Parallel()
	require.Empty(t, ErrorCode(nil))
	require.Equal(t, "Failed", ErrorCode(errors.New("secret text")))
	require.Equal(t, "KeyDenied", ErrorCode(&keyring.KeyError{Op: "x", URI: "a:b", Err: keyring.ErrKeyDenied}))
	require.Equal(t, "Corruption", ErrorCode(corrupt.New(corrupt.ErrAuth, "", -1, "x")))
	require.Equal(t, "Rollback", ErrorCode(corrupt.New(corrupt.ErrRollback, "", -1, "x")))
	seen := map[string]bool{}
	for _, c := range codes {
		require.Equal(t, c.code, ErrorCode(fmt.Errorf("x: %w", c.class)))
		require.False(t, seen[c.code])
		seen[c.code] = true
	}
}

// TestRootsChanged: where the store gets another root key a new chain begins, which
// that one can verify, and follows the one before.
func TestRootsChanged(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	first := s.live(3)
	s.former, s.root = []*testRoot{s.root}, newTestRoot("b")
	named := s.state
	second := s.live(3)
	third := s.live(1)
	require.Equal(t, uint64(4+1+3+1), third.Seq)
	rep := s.sound(first, second, third)
	require.Equal(t, 2, rep.Chains)
	require.Equal(t, 2, rep.Files)
	require.Zero(t, rep.Warnings, "that is as it must be")
	begin := s.records()[4]
	require.Equal(t, ReasonRoots, begin.Begin.Reason)
	require.Equal(t, first.String(), begin.Begin.Previous)

	// A crash kept the keyring from naming it.
	s.state = named
	head := s.live(2)
	require.Equal(t, uint64(11), head.Seq)
	s.sound(first, second, third, head)

	// The end of the chain before is held by the new one.
	files := s.files()
	ls := split(files[fileName(1)])
	c := s.with(edited(files, fileName(1), bytes.Join(ls[:len(ls)-1], nil)))
	c.found("the end of the chain before cut", fileName(2), 0)

	// Somebody without a key cannot begin one.
	for name, wraps := range map[string][]Wrap{"none": nil, "of another context": begin.Begin.Wraps, "of nobody": {{"test:b", []byte("x")}}} {
		r := begin
		r.Seq, r.Begin = head.Seq+1, &Begin{Chain: keyring.ID{1}, Wraps: wraps, Reason: ReasonRoots, Previous: head.String()}
		forged := s.with(edited(files, fileName(uint64(len(files)+1)), line(must(r.text()), [macLen]byte{})))
		forged.found("a chain with wraps "+name, fileName(uint64(len(files)+1)), 0)
		_, err := forged.tryOpen(false)
		require.ErrorIs(t, err, ErrBroken, name)
		l, err := forged.tryOpen(true)
		require.NoError(t, err, name)
		require.NoError(t, l.Close())
	}

	// The former root key is not named: what it alone verifies is told of.
	s.former = nil
	rep, _ = s.verify(first)
	require.Zero(t, rep.Faults)
	require.Equal(t, 1, rep.Warnings)
	require.Equal(t, rep.Records-4, rep.Verified)

	// It does not wrap: the chain goes on as it is, and later there is a new one.
	x := newTestStore(t)
	x.live(1)
	x.former, x.root = []*testRoot{x.root}, newTestRoot("c")
	x.root.err = keyring.ErrKeyUnreachable
	x.live(1)
	require.Equal(t, 1, x.sound().Chains)
	x.root.err = nil
	x.live(1)
	require.Equal(t, 2, x.sound().Chains)
}
