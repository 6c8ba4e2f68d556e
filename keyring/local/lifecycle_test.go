package local

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A testClock is set by hand.
type testClock struct{ ns atomic.Int64 }

func newTestClock() *testClock {
	c := new(testClock)
	c.ns.Store(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano())
	return c
}

func (c *testClock) now() time.Time       { return time.Unix(0, c.ns.Load()) }
func (c *testClock) add(d time.Duration)  { c.ns.Add(int64(d)) }
func (c *testClock) days(n time.Duration) { c.add(n * day) }

// newClockedKey is newTestKey with a clock.
func newClockedKey(t testing.TB) (*testClock, *Service, *Key) {
	t.Helper()
	clock := newTestClock()
	s, err := Open(filepath.Join(t.TempDir(), "keys.cofre"), Options{Now: clock.now})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	k, err := s.CreateKey(t.Context(), "default")
	require.NoError(t, err)
	return clock, s, k
}

// onDisk parses the file as it is.
func onDisk(t testing.TB, s *Service) *keyFile {
	t.Helper()
	b, err := os.ReadFile(s.path)
	require.NoError(t, err)
	f, err := parse(t.Context(), b, nil)
	require.NoError(t, err)
	return f
}

func TestScheduleDeletion(t *testing.T) {
	t.Parallel()
	clock, s, k := newClockedKey(t)
	ctx := t.Context()
	var de *DaysError
	for _, days := range []int{-1, 1, 6, 31, 1 << 40} {
		_, err := s.ScheduleDeletion(ctx, "default", days)
		require.ErrorAs(t, err, &de)
		require.ErrorIs(t, err, ErrDays)
		require.Equal(t, DaysError{de.What, days, 7, 30}, *de)
	}
	for days, want := range map[int]time.Duration{0: 30, 7: 7, 30: 30} {
		date, err := s.ScheduleDeletion(ctx, "default", days)
		require.NoError(t, err)
		require.True(t, date.Equal(clock.now().Add(want*day)))
		_, err = s.ScheduleDeletion(ctx, "default", 7)
		require.ErrorIs(t, err, ErrKeyState)
		require.ErrorIs(t, s.Enable(ctx, "default"), ErrKeyState)
		require.ErrorIs(t, s.Disable(ctx, "default"), ErrKeyState)
		require.ErrorIs(t, second(s.Rotate(ctx, "default")), ErrKeyState)
		require.ErrorIs(t, second(s.EnableRotation(ctx, "default", 0)), ErrKeyState)
		require.ErrorIs(t, s.CreateAlias(ctx, "a", "default"), ErrKeyState)
		require.ErrorIs(t, second(s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap})), ErrKeyState)
		d, err := k.Describe(ctx)
		require.NoError(t, err)
		require.Equal(t, keyring.StatePendingDeletion, d.State)
		require.Equal(t, date, d.DeletionDate)
		infos, err := s.List()
		require.NoError(t, err)
		require.Equal(t, date, infos[0].DeletionDate)
		require.NoError(t, s.CancelDeletion(ctx, "default"))
		require.ErrorIs(t, s.CancelDeletion(ctx, "default"), ErrKeyState)
		d, err = k.Describe(ctx)
		require.NoError(t, err)
		require.Equal(t, keyring.StateDisabled, d.State, "as AWS KMS leaves it")
		require.Zero(t, d.DeletionDate)
	}
}

// TestDestroyed: at the date the key is gone for every use, and with the next
// change for good.
func TestDestroyed(t *testing.T) {
	t.Parallel()
	clock, s, k := newClockedKey(t)
	ctx := t.Context()
	require.NoError(t, second(s.CreateKey(ctx, "other")))
	require.NoError(t, s.CreateAlias(ctx, "a", "default"))
	require.NoError(t, s.CreateAlias(ctx, "b", "other"))
	require.NoError(t, second(s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap})))
	require.NoError(t, second(s.CreateGrant(ctx, "other", Grant{Grantee: "g", Operations: OpWrap})))
	blob, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	raw := onDisk(t, s).keys[0].newest().key.Clone()
	date, err := s.ScheduleDeletion(ctx, "default", 7)
	require.NoError(t, err)

	clock.ns.Store(date.UnixNano() - 1)
	require.NoError(t, s.Disable(ctx, "other"), "a change a moment before")
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, testContext())), keyring.ErrKeyDenied)
	require.Len(t, onDisk(t, s).keys, 2)

	clock.add(1)
	for _, err := range []error{
		second(k.Unwrap(ctx, blob, testContext())), second(k.Wrap(ctx, keyring.RandomSecret(), testContext())),
		second(k.Describe(ctx)), second(k.DescribeKey(ctx)), second(s.Key("default")), second(s.Key("alias/a")),
		second(k.Encrypt(ctx, []byte("x"), nil)), second(s.ListGrants("default")),
	} {
		require.ErrorIs(t, err, keyring.ErrKeyNotFound)
		require.ErrorContains(t, err, "default")
	}
	require.Len(t, onDisk(t, s).keys, 2, "what only looks destroys nothing")

	// The change is refused, and what time has brought is written nonetheless.
	require.ErrorIs(t, s.CancelDeletion(ctx, "default"), keyring.ErrKeyNotFound)
	f := onDisk(t, s)
	require.Len(t, f.keys, 1)
	require.Equal(t, []destroyed{{f.destroyed[0].id, "default", clock.now().UTC()}}, f.destroyed)
	require.Equal(t, []alias{{"b", f.keys[0].id}}, f.aliases)
	require.Len(t, f.grants, 1)
	file, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.NotContains(t, string(file), string(raw.Expose()))
	_, err = s.Key("default")
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	require.ErrorContains(t, err, "was destroyed at 2026-01-09")

	// The clock goes back: it stays destroyed, in other processes too.
	clock.days(-100)
	for _, now := range []func() time.Time{clock.now, time.Now} {
		again, err := Open(s.path, Options{MustExist: true, Now: now})
		require.NoError(t, err)
		require.ErrorIs(t, again.CancelDeletion(ctx, "default"), keyring.ErrKeyNotFound)
	}
	// A new key may have the name; it is another.
	k, err = s.CreateKey(ctx, "default")
	require.NoError(t, err)
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, testContext())), keyring.ErrKeyNotFound)
}

// TestClockJumps: back is no way to keep a key that was seen to be gone, ahead
// for a moment is none to destroy one.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	clock, s, k := newClockedKey(t)
	ctx := t.Context()
	blob, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.NoError(t, second(s.ScheduleDeletion(ctx, "default", 7)))
	clock.days(8)
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, testContext())), keyring.ErrKeyNotFound)
	clock.days(-8)
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, testContext())), keyring.ErrKeyNotFound)
	require.ErrorIs(t, s.CancelDeletion(ctx, "default"), keyring.ErrKeyNotFound)
	require.ErrorIs(t, second(s.CreateKey(ctx, "default")), keyring.ErrKeyNotFound, "its name is still taken")
	require.Len(t, onDisk(t, s).keys, 1, "the clock is right again: nothing is destroyed")
	clock.days(7)
	require.NoError(t, second(s.CreateKey(ctx, "other")))
	require.Equal(t, "other", onDisk(t, s).keys[0].name)
}

func TestDestroyedBound(t *testing.T) {
	t.Parallel()
	clock, s, _ := newClockedKey(t)
	ctx := t.Context()
	require.NoError(t, s.change(ctx, func(f *keyFile) (bool, error) {
		for i := range maxDestroyed {
			f.destroyed = append(f.destroyed, destroyed{keyring.ID{1, byte(i >> 8), byte(i)}, "old", unixNano(uint64(i))})
		}
		return true, nil
	}))
	require.NoError(t, second(s.ScheduleDeletion(ctx, "default", 7)))
	clock.days(7)
	require.NoError(t, second(s.CreateKey(ctx, "other")))
	f := onDisk(t, s)
	require.Len(t, f.destroyed, maxDestroyed)
	require.Equal(t, unixNano(1), f.destroyed[0].at, "the oldest has gone")
	require.Equal(t, "default", f.destroyed[maxDestroyed-1].name)
}

func TestAutomaticRotation(t *testing.T) {
	t.Parallel()
	clock, s, k := newClockedKey(t)
	ctx := t.Context()
	for _, days := range []int{-1, 1, 89, 2561} {
		require.ErrorIs(t, second(s.EnableRotation(ctx, "default", days)), ErrDays)
	}
	next, err := s.EnableRotation(ctx, "default", 0)
	require.NoError(t, err)
	require.True(t, next.Equal(clock.now().Add(365*day)))
	blob, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	versions := func() int { return len(onDisk(t, s).keys[0].versions) }

	clock.ns.Store(next.UnixNano() - 1)
	require.NoError(t, second(k.Wrap(ctx, keyring.RandomSecret(), testContext())))
	require.Equal(t, 1, versions())
	clock.add(1)
	require.NoError(t, second(k.Unwrap(ctx, blob, testContext())))
	require.Equal(t, 1, versions(), "unwrapping does not wait for it")
	newer, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.EqualValues(t, 2, newer[20], "the wrap is of the new version")
	require.Equal(t, 2, versions())
	require.NoError(t, second(k.Unwrap(ctx, blob, testContext())))
	info, err := k.DescribeKey(ctx)
	require.NoError(t, err)
	require.Equal(t, 365, info.RotationDays)
	require.Equal(t, clock.now().Add(365*day).UTC(), info.NextRotation)
	require.Equal(t, clock.now().UTC(), info.Versions[1].CreatedAt)

	// Once, however long it took, and by any change.
	clock.days(5 * 365)
	require.NoError(t, second(s.CreateKey(ctx, "another")))
	require.Equal(t, 3, len(onDisk(t, s).keys[1].versions))
	require.NoError(t, second(k.Encrypt(ctx, []byte("x"), nil)))
	require.Equal(t, 3, len(onDisk(t, s).keys[1].versions))

	// A disabled key waits, and one by command does not move the date.
	require.NoError(t, s.Disable(ctx, "default"))
	clock.days(366)
	require.ErrorIs(t, second(k.Wrap(ctx, keyring.RandomSecret(), testContext())), keyring.ErrKeyDenied)
	require.ErrorIs(t, second(s.Rotate(ctx, "default")), ErrKeyState)
	require.ErrorIs(t, second(s.EnableRotation(ctx, "default", 90)), ErrKeyState)
	require.NoError(t, s.Enable(ctx, "default"))
	require.Equal(t, 3, len(onDisk(t, s).keys[1].versions))
	require.NoError(t, second(k.GenerateDataKeyWithoutPlaintext(ctx, nil)))
	require.Equal(t, 4, len(onDisk(t, s).keys[1].versions))
	require.NoError(t, second(s.Rotate(ctx, "default")))
	require.Equal(t, clock.now().Add(365*day).UTC(), onDisk(t, s).keys[1].rotateAt)

	require.NoError(t, s.DisableRotation(ctx, "default"))
	require.NoError(t, s.DisableRotation(ctx, "default"))
	clock.days(5000)
	require.NoError(t, second(k.Wrap(ctx, keyring.RandomSecret(), testContext())))
	require.Equal(t, 5, len(onDisk(t, s).keys[1].versions))
}

// TestRotationUnwritable: where the file cannot be changed, or the key has all
// versions that it may have, the newest goes on.
func TestRotationUnwritable(t *testing.T) {
	t.Parallel()
	clock, s, k := newClockedKey(t)
	ctx := t.Context()
	require.NoError(t, second(s.EnableRotation(ctx, "default", 90)))
	clock.days(90)
	require.NoError(t, os.MkdirAll(filepath.Join(s.path+".tmp", "in the way"), 0o700))
	blob, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.EqualValues(t, 1, blob[20])
	require.NoError(t, os.RemoveAll(s.path+".tmp"))

	require.NoError(t, s.change(ctx, func(f *keyFile) (bool, error) {
		rk := f.keys[0]
		for len(rk.versions) < maxVersions {
			rk.rotate(clock.now())
		}
		rk.rotateAt = clock.now()
		return true, nil
	}))
	before := onDisk(t, s).revision
	require.NoError(t, second(k.Wrap(ctx, keyring.RandomSecret(), testContext())))
	require.Equal(t, before, onDisk(t, s).revision)
}

// TestVersion1 reads a file of version 1, which the next change makes one of
// version 2. A key that was pending deletion there has no date, and is not
// destroyed before somebody gives it one.
func TestVersion1(t *testing.T) {
	t.Parallel()
	found := false
	for _, v := range fileVectors(t) {
		if v.Name != "pending-deletion" {
			continue
		}
		found = true
		path := filepath.Join(t.TempDir(), "keys.cofre")
		require.NoError(t, os.WriteFile(path, v.In.File, 0o600))
		clock := newTestClock()
		clock.days(10000)
		s, err := Open(path, Options{MustExist: true, Now: clock.now})
		require.NoError(t, err)
		defer s.Close()
		info, err := s.Info()
		require.NoError(t, err)
		require.Equal(t, 1, info.Version)
		infos, err := s.List()
		require.NoError(t, err)
		require.Equal(t, keyring.StatePendingDeletion, infos[0].State)
		require.Zero(t, infos[0].DeletionDate)
		require.NoError(t, second(s.CreateKey(t.Context(), "new")))
		info, err = s.Info()
		require.NoError(t, err)
		require.Equal(t, 2, info.Version)
		require.Len(t, onDisk(t, s).keys, 2)
		require.NoError(t, second(s.ScheduleDeletion(t.Context(), infos[0].Name, 7)))
		require.NoError(t, s.CancelDeletion(t.Context(), infos[0].Name))
		again, err := s.List()
		require.NoError(t, err)
		require.Equal(t, infos[0].ID, again[0].ID)
		require.Equal(t, infos[0].Versions, again[0].Versions)
	}
	require.True(t, found)
}

// TestNoFile: only a new key makes a file. What else would change it does not
// make one without the keys.
func TestNoFile(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	require.NoError(t, os.Remove(s.path))
	for _, err := range []error{
		k.NoteGeneration(t.Context(), keyring.ID{1}, 1, [32]byte{}), s.Disable(t.Context(), "default"),
		second(s.Notes()), second(s.Info()), s.Seal(t.Context(), byFile(t, newKeyFile(t))),
	} {
		require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	}
	require.NoFileExists(t, s.path)
}
