package backup

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// TestRetiredBetween rotates, re-encrypts, prunes and retires between the backups of one
// line: a version goes when no backup needs it any more, and what is listed restores.
func TestRetiredBetween(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	roots := []keyring.RootKey{w.root}
	restores := func(want map[string]string, as string) {
		t.Helper()
		_, err := w.repo.Restore(ctx, w.store, RestoreOptions{Roots: roots, Tables: []string{"clinic.patients"}, As: map[string]string{"clinic.patients": as}})
		require.NoError(t, err)
		r, err := w.store.Table(as)
		require.NoError(t, err)
		require.Equal(t, want, rows(t, r))
	}
	put(t, tab, 0, 300)
	require.NoError(t, tab.Flush())
	w.create(CreateOptions{})
	require.NoError(t, tab.RotateKey(ctx))
	put(t, tab, 200, 400)
	// The overlay has re-wrapped what the first backup has under version 1.
	w.create(CreateOptions{})
	var needed *engine.NeededError
	require.ErrorAs(t, tab.RetireKey(ctx, 1), &needed)
	require.Len(t, needed.By, 1)
	rep, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 1}, Grace: -1})
	require.NoError(t, err)
	require.Len(t, rep.Removed, 1)
	require.ErrorAs(t, tab.RetireKey(ctx, 1), &needed) // nobody has told the table yet
	w.create(CreateOptions{})
	require.NoError(t, tab.RetireKey(ctx, 1))
	restores(rows(t, tab), "restored.one")

	_, err = tab.Reencrypt(ctx, engine.ReencryptOptions{})
	require.NoError(t, err)
	again := w.create(CreateOptions{})
	require.Positive(t, again.Sent) // other ciphertext
	restores(rows(t, tab), "restored.two")
	w.verify()
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{Tables: []string{"clinic.patients"}, RemoveOld: true})
	require.NoError(t, err)
	restores(rows(t, tab), "restored.three")
}

// TestNetwork backs up, prunes, verifies and restores over a network that loses, breaks
// off, repeats and refuses requests at random.
func TestNetwork(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := s3test.Start(t)
	p := s3test.NewProxy(t, s.Endpoint)
	w := newWorldIn(t, bucket(t, s, p.Endpoint))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	faults := []s3test.Fault{s3test.Refuse, s3test.Lose, s3test.Error500, s3test.Error503, s3test.CutBody, s3test.Repeat, s3test.CutRequest, s3test.FlipRequest}
	p.Set(func(*http.Request) s3test.Fault {
		if rng.IntN(12) > 0 {
			return s3test.Pass
		}
		return faults[rng.IntN(len(faults))]
	})
	tab := w.table("clinic.patients")
	for n := range 4 {
		put(t, tab, n*200, n*200+300)
		require.NoError(t, tab.Flush())
		w.create(CreateOptions{})
	}
	_, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 2}, Grace: -1})
	require.NoError(t, err)
	w.verify()
	other := w.newStore()
	_, err = w.repo.Restore(ctx, other, RestoreOptions{Roots: []keyring.RootKey{w.root}})
	require.NoError(t, err)
	r, err := other.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
	injected := 0
	for _, f := range faults {
		injected += p.Injected(f)
	}
	require.Greater(t, injected, 5)
}

// TestListThousand lists a thousand backups, by their manifests alone.
func TestListThousand(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 10)
	b := w.create(CreateOptions{}).Backup
	for range 999 {
		c := *b
		c.Time = c.Time.Add(time.Second)
		c.Name = newName(c.Time)
		data, err := c.encode()
		require.NoError(t, err)
		require.NoError(t, w.storage.Put(ctx, backupsPrefix+c.Name, storage.Bytes(data)))
	}
	began := time.Now()
	list, err := w.repo.Backups(ctx)
	took := time.Since(began)
	require.NoError(t, err)
	require.Len(t, list, 1000)
	t.Logf("%s", took)
	require.Less(t, took, 5*time.Second) // a second, where nothing else runs
}
