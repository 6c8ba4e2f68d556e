package keyring

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// A lateRoot answers after a time, or never; its notes too.
type lateRoot struct {
	*anchoredRoot
	after time.Duration // negative: never
	deaf  bool          // it does not hear that nobody waits any more
	last  *Secret       // that it has unwrapped
}

func (r *lateRoot) wait(ctx context.Context) error {
	var answered <-chan time.Time
	if r.after >= 0 {
		answered = time.After(r.after)
	}
	done := ctx.Done()
	if r.deaf {
		done = nil
	}
	select {
	case <-answered:
		return nil
	case <-done:
		return ctx.Err()
	}
}

func (r *lateRoot) Unwrap(ctx context.Context, wrapped []byte, ec Context) (*Secret, error) {
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	key, err := r.anchoredRoot.Unwrap(ctx, wrapped, ec)
	r.last = key
	return key, err
}

func (r *lateRoot) NewestGeneration(ctx context.Context, store ID) (uint64, [32]byte, bool, error) {
	if err := r.wait(ctx); err != nil {
		return 0, [32]byte{}, false, err
	}
	return r.anchoredRoot.NewestGeneration(ctx, store)
}

func (r *lateRoot) NoteGeneration(ctx context.Context, store ID, gen uint64, digest [32]byte) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.anchoredRoot.NoteGeneration(ctx, store, gen, digest)
}

// hedged makes a keyring whose store key and table have the roots a and b, and has a
// answer late from then on.
func hedged(t *testing.T, after time.Duration) (mem *vfs.MemFS, a *lateRoot, b *anchoredRoot, id ID) {
	mem, a, b = newTestFS(t), &lateRoot{anchoredRoot: newAnchoredRoot("a")}, newAnchoredRoot("b")
	k, live := severalRoots(t, mem, a, b)
	for _, at := range []ID{{}, live.ID()} {
		require.NoError(t, addRoot(b).do(t, k, at, nil))
	}
	require.NoError(t, k.Close())
	a.after = after
	return mem, a, b, live.ID()
}

// took runs f and tells how long it took.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// TestRootNeverAnswers has the first root key hang: the second opens keyring and table
// a moment later, and is asked first from then on. Changes go on, and a caller who
// gives up is heard.
func TestRootNeverAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem, a, b, id := hedged(t, -1)
		ctx := t.Context()
		var k *Keyring
		require.Equal(t, hedgeAfter+anchorPatience, took(func() { k = mustOpen(t, mem, a, b) }),
			"a wait for the key, and one to hear what it has noted")
		open := func() {
			tk, err := k.OpenTable(ctx, id)
			require.NoError(t, err)
			tk.Wipe()
		}
		require.Equal(t, hedgeAfter, took(open))
		require.Zero(t, took(open), "it is known by now which one answers")
		require.Equal(t, anchorPatience, took(func() { require.NoError(t, k.SetStates(ctx, NewID(), nil)) }))
		require.Equal(t, k.Generation(), b.notes[k.StoreID()].gen)

		// The other fails too: the first is waited for as long as the caller says.
		b.fail(ErrKeyDenied)
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		require.Equal(t, time.Minute, took(func() {
			_, err := k.OpenTable(limited, id)
			require.ErrorIs(t, err, ErrKeyDenied)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}))
		// A rotation needs it as well.
		b.fail(nil)
		limited, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
		generation := k.Generation()
		require.ErrorIs(t, rotateKey(k, limited, id, nil), context.DeadlineExceeded)
		require.Equal(t, generation, k.Generation())
		// Without it the rotation goes on, and the table opens at once.
		require.NoError(t, removeRoot("fake:a").do(t, k, id, nil))
		require.Zero(t, took(open))
	})
}

// TestRootAnswersLate: an answer that comes before the second root key's counts; one
// that comes after it, although the call was cancelled, is wiped.
func TestRootAnswersLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem, a, b, id := hedged(t, 1500*time.Millisecond)
		k := mustOpen(t, mem, a, b)
		open := func() {
			tk, err := k.OpenTable(t.Context(), id)
			require.NoError(t, err)
			tk.Wipe()
		}
		unwraps := b.unwraps
		b.fail(ErrKeyUnreachable)
		require.Equal(t, 1500*time.Millisecond, took(open), "both are asked, the late one has it")
		require.Equal(t, unwraps+1, b.unwraps)
		b.fail(nil)
		a.deaf, a.after, a.last = true, 3*time.Second, nil
		require.Equal(t, hedgeAfter, took(open))
		require.Zero(t, took(open), "the late one has opened the last key but one, and is not waited for again")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.NotNil(t, a.last)
		require.True(t, a.last.Wiped(), "a key that nobody has waited for")
	})
}

// TestRootAnswersAtOnce: no second root key is asked where the first answers, and one
// that fails is not waited for.
func TestRootAnswersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem, a, b, id := hedged(t, hedgeAfter-1)
		k := mustOpen(t, mem, a, b)
		calls := b.calls()
		_, err := k.OpenTable(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, calls, b.calls())
		a.after = 0
		a.fail(ErrKeyThrottled)
		require.Zero(t, took(func() {
			_, err := k.OpenTable(t.Context(), id)
			require.NoError(t, err)
		}))
	})
}

// TestRootAnswersWrongly: a root key that yields another key, or cannot open its wrap,
// keeps the others from nothing.
func TestRootAnswersWrongly(t *testing.T) {
	t.Parallel()
	mem, a, b, id := hedged(t, 0)
	k := mustOpen(t, mem, a, b)
	for _, spoil := range []func(r *fakeRoot, on bool){
		func(r *fakeRoot, on bool) { r.garble = on },
		func(r *fakeRoot, on bool) {
			r.fail(nil)
			if on {
				r.fail(ErrWrongContext)
			}
		},
	} {
		spoil(a.fakeRoot, true)
		tk, err := k.OpenTable(t.Context(), id)
		require.NoError(t, err)
		tk.Wipe()
		require.NoError(t, must(tryOpen(t, mem, a, b)).Close())
		spoil(b.fakeRoot, true)
		_, err = k.OpenTable(t.Context(), id)
		require.ErrorIs(t, err, ErrWrongContext)
		require.ErrorIs(t, err, corrupt.ErrAuth)
		spoil(a.fakeRoot, false)
		spoil(b.fakeRoot, false)
	}
}

// TestAskCancelled: whoever waits is heard, also where no root key hears it.
func TestAskCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem, a, b, id := hedged(t, 0)
		k := mustOpen(t, mem, a, b)
		a.deaf, a.after = true, time.Hour
		b.fail(ErrKeyUnreachable)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Equal(t, 10*time.Second, took(func() {
			_, err := k.OpenTable(ctx, id)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, ErrKeyUnreachable)
		}))
		time.Sleep(2 * time.Hour)
	})
}

// TestOnlyRootDeaf: so it is where there is one root key, as a lease needs it.
func TestOnlyRootDeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root := &lateRoot{anchoredRoot: newAnchoredRoot("a")}
		k, live := severalRoots(t, newTestFS(t), root)
		root.deaf, root.after = true, time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Equal(t, 10*time.Second, took(func() {
			require.ErrorIs(t, k.Confirm(ctx, live.ID()), context.DeadlineExceeded)
		}))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.True(t, root.last.Wiped(), "a key that nobody has waited for")
	})
}
