package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A crash is what a test's step panics with. Locks are released as they are
// when a process ends; nothing is cleaned up.
type crash struct{}

// steps are those of one replacement of the file.
var steps = []string{"remove", "write", "sync", "rename", "sync directory"}

// state is all that a service tells, as text.
func state(t testing.TB, s *Service) string {
	t.Helper()
	infos, err := s.List()
	require.NoError(t, err)
	aliases, err := s.Aliases()
	require.NoError(t, err)
	grants, err := s.ListGrants("")
	require.NoError(t, err)
	notes, err := s.Notes()
	require.NoError(t, err)
	info, err := s.Info()
	require.NoError(t, err)
	return fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n%s", infos, aliases, grants, notes, info.SealedBy)
}

// TestCrash ends the process at each step of each change, with each part of
// the temporary file on the disk: what opens is the file before the change or
// after it, the next change works, and nothing is left beside.
func TestCrash(t *testing.T) {
	t.Parallel()
	key := newKeyFile(t)
	for name, change := range map[string]func(context.Context, *Service, *Key) error{
		"CreateKey": func(ctx context.Context, s *Service, _ *Key) error { return second(s.CreateKey(ctx, "new")) },
		"Disable":   func(ctx context.Context, s *Service, _ *Key) error { return s.Disable(ctx, "default") },
		"Rotate":    func(ctx context.Context, s *Service, _ *Key) error { return second(s.Rotate(ctx, "default")) },
		"ScheduleDeletion": func(ctx context.Context, s *Service, _ *Key) error {
			return second(s.ScheduleDeletion(ctx, "default", 7))
		},
		"CreateAlias": func(ctx context.Context, s *Service, _ *Key) error { return s.CreateAlias(ctx, "a", "default") },
		"CreateGrant": func(ctx context.Context, s *Service, _ *Key) error {
			return second(s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap}))
		},
		"NoteGeneration": func(ctx context.Context, _ *Service, k *Key) error {
			return k.NoteGeneration(ctx, keyring.ID{1}, 1, [32]byte{})
		},
		"Seal":   func(ctx context.Context, s *Service, _ *Key) error { return s.Seal(ctx, byFile(t, key)) },
		"Unseal": func(ctx context.Context, s *Service, _ *Key) error { return s.Unseal(ctx) },
	} {
		for _, sealed := range []bool{false, true} {
			for _, at := range steps {
				for _, part := range []int{0, 1, 50, 100} { // percent of the temporary file
					if at != "sync" && part != 100 {
						continue
					}
					what := fmt.Sprintf("%s, sealed %v, crash before %s, %d %%", name, sealed, at, part)
					var by *Sealing
					if sealed {
						by = byFile(t, key)
					}
					s, k := newSealedKey(t, by)
					before := state(t, s)
					changes := name != "Unseal" || sealed
					require.Equal(t, changes, crashes(t, s, at, part, func() error { return change(t.Context(), s, k) }), what)
					again := reopen(t, s.path, key)
					after := state(t, again)
					renamed := at == "sync directory" && changes && !(name == "Seal" && sealed) // which tells the same
					require.Equal(t, renamed, before != after, what)
					require.NoError(t, second(again.CreateKey(t.Context(), "next")), what)
					require.ElementsMatch(t, []string{"keys.cofre", "keys.cofre.lock"}, names(t, filepath.Dir(s.path)), what)
				}
			}
		}
	}
}

// crashes runs a change that a crash before a step ends, and tells whether it
// came that far.
func crashes(t testing.TB, s *Service, at string, part int, change func() error) (crashed bool) {
	t.Helper()
	s.step = func(next string) {
		if next != at {
			return
		}
		if at == "sync" {
			fi, err := os.Stat(s.path + ".tmp")
			require.NoError(t, err)
			require.NoError(t, os.Truncate(s.path+".tmp", fi.Size()*int64(part)/100))
		}
		panic(crash{})
	}
	defer func() {
		s.step = nil
		if r := recover(); r != nil {
			require.Equal(t, crash{}, r)
			crashed = true
		}
	}()
	require.NoError(t, change())
	return false
}

// reopen opens the file, sealed by a key file or unsealed.
func reopen(t testing.TB, path, key string) *Service {
	t.Helper()
	s, err := Open(path, Options{MustExist: true, Sealing: byFile(t, key)})
	if err != nil {
		require.ErrorIs(t, err, ErrNotSealed)
		s, err = Open(path, Options{MustExist: true})
	}
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestCrashDestroying crashes while a key is destroyed: it is there whole and
// refused, or gone.
func TestCrashDestroying(t *testing.T) {
	t.Parallel()
	for _, at := range steps {
		clock, s, k := newClockedKey(t)
		require.NoError(t, second(s.ScheduleDeletion(t.Context(), "default", 7)))
		clock.days(7)
		require.True(t, crashes(t, s, at, 50, func() error { return second(s.CreateKey(t.Context(), "new")) }))
		f := onDisk(t, s)
		if at == "sync directory" {
			require.Empty(t, f.keys)
			require.Len(t, f.destroyed, 1)
		} else {
			require.Len(t, f.keys, 1)
			require.Equal(t, keyring.StatePendingDeletion, f.keys[0].state)
		}
		require.ErrorIs(t, second(k.Wrap(t.Context(), keyring.RandomSecret(), testContext())), keyring.ErrKeyNotFound)
		require.NoError(t, second(s.CreateKey(t.Context(), "new")))
		f = onDisk(t, s)
		require.Len(t, f.keys, 1)
		require.Equal(t, "new", f.keys[0].name)
	}
}

// TestFirstCrash crashes while the file is made.
func TestFirstCrash(t *testing.T) {
	t.Parallel()
	key := newKeyFile(t)
	for _, at := range steps {
		s, err := Open(filepath.Join(t.TempDir(), "cofre", "keys.cofre"), Options{Sealing: byFile(t, key)})
		require.NoError(t, err)
		require.True(t, crashes(t, s, at, 50, func() error { return second(s.CreateKey(t.Context(), "new")) }))
		again, err := Open(s.path, Options{Sealing: byFile(t, key)})
		require.NoError(t, err)
		_, created, err := again.Ensure(t.Context(), "new")
		require.NoError(t, err)
		require.Equal(t, at != "sync directory", created)
		info, err := again.Info()
		require.NoError(t, err)
		require.True(t, info.Sealed)
		require.NoError(t, again.Close())
	}
}
