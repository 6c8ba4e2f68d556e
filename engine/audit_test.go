package engine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// auditLines are the records of a store's log, in short.
func auditLines(t testing.TB, fs vfs.FS, dir string) (lines []string) {
	for r, err := range audit.Records(fs, fs.PathJoin(dir, auditDir)) {
		require.NoError(t, err)
		s := r.Event + " " + r.Outcome
		if r.ErrorCode != "" {
			s += " " + r.ErrorCode
		}
		if p := r.Request.Context["cofre:purpose"]; p != "" {
			s += " " + p
		}
		lines = append(lines, s)
	}
	return lines
}

// requireAudited requires that the log is whole, and has the heads.
func requireAudited(t testing.TB, s *Store, heads ...audit.Head) *audit.Report {
	t.Helper()
	var found []audit.Finding
	rep, err := s.VerifyAudit(t.Context(), heads, func(f audit.Finding) { found = append(found, f) })
	require.NoError(t, err)
	require.Zero(t, rep.Faults, "%+v", found)
	require.Equal(t, rep.Records, rep.Verified)
	return rep
}

// TestAudit records the life of a store.
func TestAudit(t *testing.T) {
	t.Parallel()
	ctx, root, other := t.Context(), newAttackRoot("a"), newMemRoot("b")
	mem := vfs.NewMem()
	opts := Options{RootKey: root, Roots: []keyring.RootKey{other}, FS: mem, Audit: AuditOptions{Actor: "tests"}}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "ks.t", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, tab.Close())
	_, err = tab.Get([]byte("k"))
	require.NoError(t, err)
	require.NoError(t, tab.RotateKey(ctx))
	other.fail(keyring.ErrKeyDenied)
	require.ErrorIs(t, tab.RotateRoot(ctx, other), ErrKeyInaccessible)
	other.fail(nil)
	require.NoError(t, tab.RotateRoot(ctx, other))
	head, ok, err := s.AuditHead(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = s.DropTable(ctx, "ks.t", DropOptions{})
	require.NoError(t, err)
	requireAudited(t, s, head)
	require.NoError(t, s.Close())

	lines := auditLines(t, mem, "store")
	require.Equal(t, []string{
		"BeginLog success", "Wrap success store-key", "NoteGeneration success", "Unwrap success store-key", "OpenStore success", "Wrap success audit-key",
	}, lines[:6])
	for _, want := range []string{
		"Wrap success table-key", "CreateTable success", "Unwrap success table-key", "OpenTable success", "RotateTableKey success",
		"Wrap denied KeyDenied table-key", "RotateRoot denied KeyDenied", "RotateRoot success", "DropTable success", "NoteGeneration success",
	} {
		require.Contains(t, lines, want)
	}
	for r, err := range audit.Records(mem, "store/audit") {
		require.NoError(t, err)
		require.Equal(t, "tests", r.Actor.Name)
		require.Equal(t, s.ID(), r.Store)
		if r.Event == audit.EventDropTable {
			require.Equal(t, tab.ID(), r.TableID())
			require.Equal(t, []string{"mem:b"}, r.Request.Roots)
		}
		if r.Event == audit.EventRotateRoot && r.Outcome == audit.OutcomeSuccess {
			require.Equal(t, uint32(3), r.Request.Version)
		}
	}

	// It goes on, and verifies from its beginning.
	s, err = Open(ctx, "store", opts)
	require.NoError(t, err)
	rep := requireAudited(t, s, head)
	require.Equal(t, 1, rep.Chains)
	requireVerified(t, s)
	require.NoError(t, s.Close())

	// Read-only: nothing is written, and the sink hears.
	before := auditLines(t, mem, "store")
	var heard []string
	opts.Mode, opts.Audit.Sink = ReadOnly, func(r audit.Record) { heard = append(heard, r.Event) }
	s, err = Open(ctx, "store", opts)
	require.NoError(t, err)
	requireAudited(t, s, head)
	kept, ok, err := s.AuditHead(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, s.Close())
	require.Equal(t, before, auditLines(t, mem, "store"))
	require.Equal(t, []string{"Unwrap", "OpenStore", "Unwrap"}, heard)
	require.Greater(t, kept.Seq, head.Seq)
	require.LessOrEqual(t, uint64(len(before))-kept.Seq, uint64(1), "of the last generation's note alone nothing tells")
}

// TestAuditDenied: who tries to open a store without its key leaves a trace, which
// the next one who has it binds.
func TestAuditDenied(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), newMemRoot("a")
	mem := vfs.NewMem()
	opts := Options{RootKey: root, FS: mem}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	root.fail(keyring.ErrKeyDenied)
	for range 2 {
		_, err = Open(ctx, "store", opts)
		require.ErrorIs(t, err, ErrKeyInaccessible)
	}
	root.fail(nil)
	_, err = Open(ctx, "store", Options{RootKey: newMemRoot("strange"), FS: mem})
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	_, err = mem.Stat("store/audit/provisional.jsonl")
	require.NoError(t, err)
	s, err = Open(ctx, "store", opts)
	require.NoError(t, err)
	requireAudited(t, s)
	require.NoError(t, s.Close())
	_, err = mem.Stat("store/audit/provisional.jsonl")
	require.ErrorIs(t, err, fs.ErrNotExist)
	n := 0
	for r, err := range audit.Records(mem, "store/audit") {
		require.NoError(t, err)
		if r.Provisional {
			n++
			require.Equal(t, audit.OutcomeDenied, r.Outcome)
		}
	}
	require.Equal(t, 2*2+1, n, "a call that was denied and the opening, twice; an opening that called nobody")

	// A store that is not there has no log; nothing is made.
	root.fail(keyring.ErrKeyDenied)
	_, err = Open(ctx, "other", opts)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	_, err = mem.Stat("other/audit")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestAuditTampered: a store whose log was cut, changed or put back does not open
// for writing, unless it is told to go on; it can be read.
func TestAuditTampered(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), newMemRoot("a")
	dir := filepath.Join(t.TempDir(), "store")
	opts := Options{RootKey: root, Mode: MustExist}
	s, err := Open(ctx, dir, Options{RootKey: root})
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "ks.t", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, s.Close())
	older := readTree(t, dir)
	for range 2 {
		s, err = Open(ctx, dir, opts)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	good := readTree(t, dir)
	const name = "audit/audit-000001.jsonl"
	require.Contains(t, good, name)
	for what, tamper := range map[string]func(map[string][]byte){
		"cut":          func(m map[string][]byte) { m[name] = m[name][:len(m[name])/2] },
		"removed":      func(m map[string][]byte) { delete(m, name) },
		"an older one": func(m map[string][]byte) { m[name] = older[name] },
		"others at the end": func(m map[string][]byte) {
			m[name] = append(bytes.Clone(older[name]), good[name][:len(good[name])-len(older[name])]...)
		},
	} {
		files := cloneMap(good)
		tamper(files)
		hit := filepath.Join(t.TempDir(), "store")
		writeTree(t, vfs.Default, hit, files)
		o := opts
		o.RootKey = root
		_, err := Open(ctx, hit, o)
		require.ErrorIs(t, err, audit.ErrBroken, what)
		var c *CorruptionError
		require.ErrorAs(t, err, &c, what)
		require.Equal(t, name, c.Path, what)

		o.Mode = ReadOnly
		s, err := Open(ctx, hit, o)
		require.NoError(t, err, what)
		tab, err := s.Table("ks.t")
		require.NoError(t, err)
		v, err := tab.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		rep, err := s.Verify(ctx, func(Finding) {})
		require.NoError(t, err)
		require.NotZero(t, rep.Faults, what)
		require.NoError(t, s.Close())

		o.Mode, o.Audit.BeginAnew = MustExist, true
		s, err = Open(ctx, hit, o)
		require.NoError(t, err, what)
		require.NoError(t, s.Close())
		o.Audit.BeginAnew = false
		s, err = Open(ctx, hit, o)
		require.NoError(t, err, what)
		rep2, err := s.VerifyAudit(ctx, nil, nil)
		require.NoError(t, err)
		require.NotZero(t, rep2.Faults+rep2.Warnings, "%s: it shows for ever", what)
		require.NoError(t, s.Close())
	}
}

// TestAuditUnwritable: where the log cannot be written, nothing changes a key; what
// is there can be read.
func TestAuditUnwritable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	q, s, tab := newFaulty(t, func(o *Options) { o.DiskFullWait = -1 })
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Close())
	q.arm(faultENOSPC, 1, true, s.path(auditDir))
	v, err := tab.Get(key)
	require.NoError(t, err, "a table opens")
	require.Equal(t, "v", string(v))
	_, err = s.CreateTable(ctx, "ks.other", TableOptions{})
	require.ErrorIs(t, err, audit.ErrUnwritable)
	require.ErrorIs(t, tab.RotateKey(ctx), audit.ErrUnwritable)
	_, err = s.DropTable(ctx, tab.Name(), DropOptions{})
	require.ErrorIs(t, err, audit.ErrUnwritable)
	_, hits := q.heal()
	require.NotZero(t, hits)
	require.NoError(t, tab.RotateKey(ctx))
	_, err = s.CreateTable(ctx, "ks.other", TableOptions{})
	require.NoError(t, err)
	requireAudited(t, s)
	requireVerified(t, s)

	q.arm(faultEIO, 1, true, s.path(auditDir))
	require.Error(t, func() error { _, err := s.CreateTable(ctx, "ks.third", TableOptions{}); return err }())
	q.heal()
	require.NoError(t, tab.Close())
	_, err = tab.Get(key)
	require.NoError(t, err)
	requireAudited(t, s)
}

// TestAuditSinkUsesStore: a sink may use the store whose operation it hears of.
func TestAuditSinkUsesStore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var mu sync.Mutex
	var tab *Table
	gets := 0
	opts := Options{RootKey: newMemRoot("a"), FS: vfs.NewMem(), Audit: AuditOptions{Sink: func(r audit.Record) {
		mu.Lock()
		t := tab
		mu.Unlock()
		if t == nil || r.Event != audit.EventUnwrap {
			return
		}
		if _, err := t.Get([]byte("k")); err == nil || errors.Is(err, ErrClosed) {
			mu.Lock()
			gets++
			mu.Unlock()
		}
	}}}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	made, err := s.CreateTable(ctx, "ks.t", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, made.Put([]byte("k"), nil, nil))
	mu.Lock()
	tab = made
	mu.Unlock()
	require.NoError(t, made.Close())
	require.NoError(t, within("use", func() error { _, err := made.Get([]byte("k")); return err }))
	require.NoError(t, within("close", s.Close))
	mu.Lock()
	defer mu.Unlock()
	require.NotZero(t, gets)
}

// A tattling root key remembers every key that passes through it.
type tattler struct {
	keyring.RootKey
	mu   sync.Mutex
	keys [][]byte
}

func (r *tattler) saw(k *keyring.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = append(r.keys, bytes.Clone(k.Expose()))
}

func (r *tattler) Wrap(ctx context.Context, k *keyring.Secret, ec keyring.Context) ([]byte, error) {
	r.saw(k)
	return r.RootKey.Wrap(ctx, k, ec)
}

func (r *tattler) Unwrap(ctx context.Context, b []byte, ec keyring.Context) (*keyring.Secret, error) {
	k, err := r.RootKey.Unwrap(ctx, b, ec)
	if err == nil {
		r.saw(k)
	}
	return k, err
}

// shownIn tells in which form a key, or a part of it, is in b.
func shownIn(b, key []byte) string {
	for at := 0; at+8 <= len(key); at += 4 {
		part := key[at : at+8]
		for form, enc := range map[string]string{
			"raw": string(part), "hex": hex.EncodeToString(part), "HEX": strings.ToUpper(hex.EncodeToString(part)),
		} {
			if bytes.Contains(b, []byte(enc)) {
				return form
			}
		}
	}
	for shift := range 3 {
		for form, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString(append(make([]byte, shift), key...))
			if bytes.Contains(b, []byte(text[(shift*8+5)/6+1:len(text)-2])) {
				return form
			}
		}
	}
	return ""
}

// TestAuditHoldsNoSecrets searches the log, and what the sink hears, for the bytes
// of every key of a store that has lived a busy life.
func TestAuditHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "store")
	inner := newAttackRoot("a")
	root, second := &tattler{RootKey: inner}, &tattler{RootKey: newMemRoot("b")}
	var heard bytes.Buffer
	opts := Options{RootKey: root, Roots: []keyring.RootKey{second}, IdleTimeout: time.Minute, tune: small, Audit: AuditOptions{FileSize: 8 << 10,
		Sink: func(r audit.Record) {
			b, err := r.JSON()
			if err != nil {
				b = []byte(err.Error())
			}
			heard.Write(b)
		}}}
	var keys [][]byte
	for round := range 3 {
		s, err := Open(ctx, dir, opts)
		require.NoError(t, err)
		for _, name := range []string{"ks.a", "ks.b"} {
			name += strings.Repeat("x", round)
			tab, err := s.CreateTable(ctx, name, TableOptions{})
			require.NoError(t, err)
			for i := range 100 {
				require.NoError(t, tab.Put([]byte{byte(i)}, make([]byte, 1000), &WriteOptions{NoSync: true}))
			}
			require.NoError(t, tab.Flush())
			_, err = tab.Snapshot(ctx, "s")
			require.NoError(t, err)
			require.NoError(t, tab.RotateKey(ctx))
			require.NoError(t, tab.RotateRoot(ctx, second))
			require.NoError(t, tab.RotateRoot(ctx, root))
			require.NoError(t, tab.Reopen(ctx))
			i := tab.inst.Load()
			dk, err := i.keys.NewDataKey(keyring.NewID())
			require.NoError(t, err)
			keys = append(keys, bytes.Clone(dk.Key.Expose()))
			require.NoError(t, tab.DropSnapshot(ctx, "s"))
		}
		_, err = s.DropTable(ctx, "ks.a"+strings.Repeat("x", round), DropOptions{})
		require.NoError(t, err)
		st, err := s.audit.State(ctx)
		require.NoError(t, err)
		keys = append(keys, bytes.Clone(st.Key.Expose()))
		requireAudited(t, s)
		require.NoError(t, s.Close())
		second.RootKey.(*memRoot).fail(keyring.ErrKeyDenied)
		s, err = Open(ctx, dir, opts)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		second.RootKey.(*memRoot).fail(nil)
	}
	keys = append(append(append(keys, root.keys...), second.keys...), inner.key.Expose())
	require.Greater(t, len(keys), 40)

	files := map[string][]byte{"what the sink hears": heard.Bytes()}
	entries, err := os.ReadDir(filepath.Join(dir, auditDir))
	require.NoError(t, err)
	require.Greater(t, len(entries), 3)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, auditDir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = b
	}
	for name, b := range files {
		require.NotEmpty(t, b, name)
		require.NotContains(t, string(b), "ks.", "%s: tables have ids there", name)
		for i, k := range keys {
			require.Empty(t, shownIn(b, k), "key %d of %d in %s", i, len(keys), name)
		}
	}

	// The search finds what is there.
	for form, planted := range map[string]string{
		"raw": string(keys[0]), "hex": hex.EncodeToString(keys[0]), "HEX": strings.ToUpper(hex.EncodeToString(keys[0])),
		"base64": base64.StdEncoding.EncodeToString(keys[0]), "of base64": base64.StdEncoding.EncodeToString(append([]byte("x"), keys[0]...)),
	} {
		b := append(bytes.Clone(files["what the sink hears"]), `"`+planted+`"`...)
		require.NotEmpty(t, shownIn(b, keys[0]), form)
	}
}

// TestAuditOfOldStore: a store of a keyring without an audit log gets one.
func TestAuditOfOldStore(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), newMemRoot("a")
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("store", 0o700))
	k, err := keyring.Create(ctx, "store/keyring", root, keyring.Options{FS: mem})
	require.NoError(t, err)
	require.Nil(t, k.Audit())
	require.NoError(t, k.Close())
	s, err := Open(ctx, "store", Options{RootKey: root, FS: mem, Mode: ReadOnly})
	require.NoError(t, err)
	_, ok, err := s.AuditHead(ctx)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, s.Close())
	s, err = Open(ctx, "store", Options{RootKey: root, FS: mem, Mode: MustExist})
	require.NoError(t, err)
	require.Equal(t, 1, requireAudited(t, s).Chains)
	require.NoError(t, s.Close())
	// Without a keyring, a log is what is left of a store.
	require.NoError(t, mem.RemoveAll("store/keyring"))
	require.NoError(t, mem.RemoveAll("store/tables"))
	require.NoError(t, mem.RemoveAll("store/BALLAST"))
	_, err = Open(ctx, "store", Options{RootKey: root, FS: mem})
	require.ErrorIs(t, err, corrupt.ErrMissing)
}

// TestAuditOfRootChanges: who gets a root key of the store can verify what is
// recorded from the next opening on; changes of keys are recorded as what they are.
func TestAuditOfRootChanges(t *testing.T) {
	t.Parallel()
	ctx, a, b := t.Context(), newMemRoot("a"), newMemRoot("b")
	mem := vfs.NewMem()
	open := func(mode Mode, first keyring.RootKey, others ...keyring.RootKey) *Store {
		s, err := Open(ctx, "store", Options{RootKey: first, Roots: others, FS: mem, Mode: mode})
		require.NoError(t, err)
		return s
	}
	s := open(CreateIfMissing, a, b)
	tab, err := s.CreateTable(ctx, "ks.t", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.AddRoot(ctx, b))
	require.NoError(t, tab.RemoveRoot(ctx, a.URI()))
	require.NoError(t, tab.RetireKey(ctx, 1))
	require.Error(t, tab.RetireKey(ctx, 2))
	_, err = tab.Reencrypt(ctx, ReencryptOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Lock(ctx))
	require.NoError(t, tab.Unlock(ctx))
	require.NoError(t, s.AddRoot(ctx, b))
	require.ErrorIs(t, s.AddRoot(ctx, b), keyring.ErrRootExists)
	require.NoError(t, s.Close())
	lines := auditLines(t, mem, "store")
	for _, want := range []string{
		"AddRoot success", "RemoveRoot success", "RetireKey success", "RetireKey failure VersionCurrent", "Reencrypt success", "LockTable success", "UnlockTable success",
		"AddRoot failure RootKeyExists",
	} {
		require.Contains(t, lines, want)
	}

	s = open(MustExist, a, b)
	require.Equal(t, 2, requireAudited(t, s).Chains)
	head, _, err := s.AuditHead(ctx)
	require.NoError(t, err)
	require.NoError(t, s.RemoveRoot(ctx, a.URI()))
	require.NoError(t, s.Close())
	s = open(MustExist, b)
	rep, err := s.VerifyAudit(ctx, []audit.Head{head}, nil)
	require.NoError(t, err)
	require.Equal(t, 3, rep.Chains)
	require.Zero(t, rep.Faults)
	require.Equal(t, 1, rep.Warnings, "of the first chain it takes the root key that the store had")
	require.Less(t, rep.Verified, rep.Records)
	require.NoError(t, s.Close())
	s = open(ReadOnly, b, a)
	require.Equal(t, 3, requireAudited(t, s, head).Chains)
	require.NoError(t, s.Close())
}

// TestAuditOfLease: a key that is denied while its table is open is in the log.
func TestAuditOfLease(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), newMemRoot("a")
	mem := vfs.NewMem()
	other := newMemRoot("b")
	s := openStore(t, "store", Options{RootKey: root, Roots: []keyring.RootKey{other}, FS: mem, KeyLease: 40 * time.Millisecond})
	tab, err := s.CreateTable(ctx, "ks.t", TableOptions{RootKey: other})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	other.fail(keyring.ErrKeyDenied)
	require.Eventually(t, func() bool {
		lines := auditLines(t, mem, "store")
		return slices.Contains(lines, "Unwrap denied KeyDenied table-key") && slices.Contains(lines, "LockTable denied KeyDenied")
	}, 20*time.Second, 5*time.Millisecond)
	other.fail(nil)
	requireAudited(t, s)
}
