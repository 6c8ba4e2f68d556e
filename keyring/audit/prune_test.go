package audit

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// prune opens the log, prunes it, and has the keyring name what is newest.
func (s *testStore) prune(o PruneOptions) (*PruneReport, error) {
	l := s.open()
	s.note(l)
	o.Wrap, o.Unwrap, o.Named = s.wrap, s.unwrap, s.state.File
	rep, err := l.Prune(context.Background(), s.place(), o)
	s.note(l)
	require.NoError(s.t, l.Close())
	return rep, err
}

// long has a log of several files.
func long(t testing.TB) (*testStore, []Head) {
	s := newTestStore(t)
	s.opts.FileSize = 4 << 10
	var heads []Head
	for range 6 {
		heads = append(heads, s.live(7))
	}
	require.Greater(t, len(s.files()), 5)
	return s, heads
}

// TestPrune removes the oldest files again and again, under root keys that change, and
// what is kept verifies, record by record.
func TestPrune(t *testing.T) {
	t.Parallel()
	s, heads := long(t)
	rep, err := s.prune(PruneOptions{MaxBytes: 1 << 20})
	require.NoError(t, err)
	require.Zero(t, rep.Files)
	before := s.sound(heads...)
	require.Zero(t, before.Pruned)

	rep, err = s.prune(PruneOptions{MaxBytes: 12 << 10})
	require.NoError(t, err)
	require.Positive(t, rep.Files)
	require.NotContains(t, s.files(), fileName(1))
	after := s.sound(heads[5])
	require.Equal(t, rep.Records, after.Pruned)
	require.Equal(t, after.Records, after.Verified)
	require.Equal(t, after.Pruned+after.Records, after.Last.Seq)
	require.Equal(t, after.Pruned+1, s.records()[0].Seq)
	verified, found := s.verify(heads[0])
	require.Zero(t, verified.Faults)
	require.Len(t, found, 1)
	require.Contains(t, found[0].Detail, "was pruned")

	// It goes on, and is pruned again.
	for range 4 {
		heads = append(heads, s.live(7))
	}
	_, err = s.prune(PruneOptions{MaxBytes: 12 << 10})
	require.NoError(t, err)
	require.Greater(t, s.sound(heads[9]).Pruned, after.Pruned)

	// With another root key a new chain begins, although the former's beginning is gone;
	// and when that chain is the oldest its own beginning counts.
	s.former, s.root = []*testRoot{s.root}, newTestRoot("b")
	for range 8 {
		heads = append(heads, s.live(7))
	}
	require.Equal(t, 2, s.sound(heads[9], heads[17]).Chains)
	s.former[0].err = keyring.ErrKeyNotFound
	var all int64
	for _, b := range s.files() {
		all += int64(len(b))
	}
	_, err = s.prune(PruneOptions{MaxBytes: all - 1})
	require.ErrorIs(t, err, keyring.ErrKeyNotFound, "what goes cannot be verified, and the key of what stays is not to be had")
	s.former[0].err = nil
	_, err = s.prune(PruneOptions{MaxBytes: 8 << 10})
	require.NoError(t, err)
	s.former = nil
	require.Equal(t, 1, s.sound(heads[17]).Chains)
	s.live(3)
	s.sound()
}

// TestPruneByAge keeps what is not older, and what the keyring names.
func TestPruneByAge(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.opts.FileSize = 4 << 10
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	s.opts.Now = func() time.Time { return now }
	for range 6 {
		s.live(7)
		now = now.AddDate(0, 0, 10)
	}
	cutoff := now.AddDate(0, 0, -35)
	_, err := s.prune(PruneOptions{Before: cutoff})
	require.NoError(t, err)
	rep := s.sound()
	require.Positive(t, rep.Pruned)
	times := []time.Time{}
	for _, r := range s.records() {
		times = append(times, r.Time)
	}
	require.True(t, slices.ContainsFunc(times, func(at time.Time) bool { return !at.Before(cutoff) && at.Before(cutoff.AddDate(0, 0, 10)) }))

	l := s.open()
	defer l.Close()
	got, err := l.Prune(context.Background(), s.place(), PruneOptions{MaxBytes: 1, Named: 1, Wrap: s.wrap, Unwrap: s.unwrap})
	require.NoError(t, err)
	require.Zero(t, got.Files, "the keyring names a record of a file before")
}

// TestPruneAttacks removes and changes more than was pruned.
func TestPruneAttacks(t *testing.T) {
	t.Parallel()
	s, _ := long(t)
	damaged := s.files()
	damaged[fileName(1)] = []byte(strings.Replace(string(damaged[fileName(1)]), EventUnwrap, EventDescribe, 1))
	c := s.with(damaged)
	_, err := c.prune(PruneOptions{MaxBytes: 8 << 10})
	require.ErrorIs(t, err, ErrBroken)
	require.Contains(t, c.files(), fileName(1), "it stays, and shows what was done")

	_, err = s.prune(PruneOptions{MaxBytes: 12 << 10})
	require.NoError(t, err)
	s.live(7)
	s.sound()
	files := s.files()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(n string) bool { _, ok := parseFileName(n); return !ok })
	for what, change := range map[string]func(map[string][]byte){
		"another file removed": func(f map[string][]byte) { delete(f, names[0]) },
		"two files removed":    func(f map[string][]byte) { delete(f, names[0]); delete(f, names[1]) },
		"the first record removed": func(f map[string][]byte) {
			_, rest, _ := strings.Cut(string(f[names[0]]), "\n")
			f[names[0]] = []byte(rest)
		},
		"the first record changed": func(f map[string][]byte) {
			f[names[0]] = []byte(strings.Replace(string(f[names[0]]), `"outcome":"`, `"outcome":"x`, 1))
		},
		"what tells of the pruning changed": func(f map[string][]byte) {
			for _, n := range names {
				f[n] = []byte(strings.Replace(string(f[n]), `"firstSequence":`, `"firstSequence":1`, 1))
			}
		},
		"what tells of the pruning removed": func(f map[string][]byte) {
			for _, n := range names {
				var kept []string
				for line := range strings.Lines(string(f[n])) {
					if !strings.Contains(line, EventPrune) {
						kept = append(kept, line)
					}
				}
				f[n] = []byte(strings.Join(kept, ""))
			}
		},
		"a pruning made up": func(f map[string][]byte) {
			for i, n := range names {
				f[n] = []byte(strings.Replace(string(f[n]), `"firstFile":`, `"firstFile":1`, 1))
				if i < 2 {
					delete(f, n)
				}
			}
		},
	} {
		changed := maps.Clone(files)
		change(changed)
		rep, found := s.with(changed).verify()
		require.Positive(t, rep.Faults, "%s: %+v", what, found)
	}
	// Without its keys what is kept is read, and nothing is authenticated.
	s.root.err = keyring.ErrKeyUnreachable
	rep, _ := s.verify()
	require.Zero(t, rep.Faults)
	require.Less(t, rep.Verified, rep.Records)
}

// TestPruneCrash crashes at each operation of a pruning: what is left verifies, goes on,
// and is pruned in the end.
func TestPruneCrash(t *testing.T) {
	t.Parallel()
	s, _ := long(t)
	mem := s.fs.(*vfs.MemFS)
	require.NoError(t, directory{fs: mem}.sync(testDir))
	var clones []*vfs.MemFS
	watching := false
	rng := rand.New(rand.NewPCG(1, 9))
	crash := func() {
		clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}), mem.CrashClone(vfs.CrashCloneCfg{}))
	}
	s.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if watching && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			crash()
		}
		return nil
	}))
	l := s.open()
	s.note(l)
	watching = true
	rep, err := l.Prune(context.Background(), s.place(), PruneOptions{MaxBytes: 8 << 10, Wrap: s.wrap, Unwrap: s.unwrap, Named: s.state.File})
	require.NoError(t, err)
	require.Greater(t, rep.Files, 2)
	watching = false
	crash()
	state := s.state
	require.NoError(t, l.Close())
	require.Greater(t, len(clones), 10)
	for n, clone := range clones {
		c := *s
		c.fs, c.state = clone, state
		found, all := c.verify()
		require.Zero(t, found.Faults, "crash %d: %+v", n, all)
		c.live(2)
		_, err := c.prune(PruneOptions{MaxBytes: 8 << 10})
		require.NoError(t, err, "crash %d", n)
		require.NotContains(t, c.files(), fileName(1))
		done := c.sound()
		require.Zero(t, done.Warnings, "crash %d", n)
	}
}

// TestPruneLines refuses records of a pruning that say nothing.
func TestPruneLines(t *testing.T) {
	t.Parallel()
	for _, k := range []*Pruning{nil, {}, {File: 2, Seq: 5}, {File: 2, Seq: 9, Chain: keyring.ID{1}}, {File: 1 << 32, Seq: 2, Chain: keyring.ID{1}}} {
		r := Record{Version: recordVersion, Seq: 9, Event: EventPrune, Pruned: k}
		text, err := r.text()
		require.NoError(t, err)
		_, err = parseLine(line(text, [macLen]byte{})[:len(line(text, [macLen]byte{}))-1])
		require.Error(t, err)
	}
}

// TestPruneForged has somebody who writes to the disk put a record of a pruning into a file
// that lies before the keyring's head, which nothing reads when the log opens: what it says
// was pruned is not removed for that, least of all what is being written.
func TestPruneForged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, _ := long(t)
	_, err := s.prune(PruneOptions{MaxBytes: 12 << 10})
	require.NoError(t, err)
	for range 6 {
		s.live(7)
	}
	names := slices.Sorted(maps.Keys(s.files()))
	victim := names[len(names)-2] // before the head's
	lines := split(s.files()[victim])
	p := must(parseLine(bytes.TrimSuffix(lines[1], []byte("\n"))))
	last := s.state.File
	for _, file := range []uint64{1 << 20, last, last - 1} {
		forged := p.rec
		forged.Event = EventPrune
		forged.Pruned = &Pruning{File: file, Seq: 3, Chain: s.state.Chain, Previous: Head{2, p.mac}.String()}
		text := must(forged.JSON())
		all := slices.Clone(lines)
		all[1] = line(text[:len(text)-1], p.mac)
		_, err := parseLine(bytes.TrimSuffix(all[1], []byte("\n")))
		require.NoError(t, err)
		evil := s.with(edited(s.files(), victim, bytes.Join(all, nil)))
		l := evil.open()
		_, err = l.Prune(ctx, evil.place(), PruneOptions{MaxBytes: 12 << 10, Wrap: s.wrap, Unwrap: s.unwrap, Named: evil.state.File})
		require.ErrorIs(t, err, ErrBroken, "%d", file)
		require.NoError(t, l.Close())
		left := evil.files()
		for n := range s.files() {
			require.Contains(t, left, n)
		}
	}
}
