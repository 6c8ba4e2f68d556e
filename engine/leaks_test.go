package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring/local"
)

// A canary is something that must be found nowhere but in the table.
type canary struct {
	what string
	b    []byte
}

// newCanary is text of 160 bits, of the letters that a name may have.
func newCanary(what, prefix string) canary {
	var b [20]byte
	rand.Read(b[:])
	return canary{what, []byte(prefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:])))}
}

// rawCanary is 32 bytes of any value.
func rawCanary(what string) canary {
	b := make([]byte, 32)
	rand.Read(b)
	return canary{what, b}
}

// forms are what a canary looks like in the encodings that programs use. Of
// base64 they are the parts that do not depend on what stands around.
func (c canary) forms() map[string][]byte {
	f := map[string][]byte{
		"raw": c.b, "hex": []byte(hex.EncodeToString(c.b)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(c.b))),
		"spaced hex": []byte(fmt.Sprintf("% x", c.b)), "decimal": []byte(strings.Trim(fmt.Sprint(c.b), "[]")),
		"quoted": []byte(strings.Trim(fmt.Sprintf("%q", c.b), `"`)), "query": []byte(url.QueryEscape(string(c.b))),
	}
	for shift := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			s := enc.EncodeToString(append(make([]byte, shift), c.b...))
			f[fmt.Sprint(name, shift)] = []byte(s[(shift*8+5)/6+1 : len(s)-2])
		}
	}
	j, _ := json.Marshal(string(c.b))
	f["json"] = bytes.Trim(j, `"`)
	return f
}

// A leakSearch looks for canaries in all that it is shown.
type leakSearch struct {
	forms map[string][]byte
	seen  int64 // bytes
	found []string
}

func newLeakSearch(cs []canary) *leakSearch {
	s := &leakSearch{forms: map[string][]byte{}}
	for _, c := range cs {
		for name, f := range c.forms() {
			s.forms[c.what+", "+name] = f
		}
	}
	return s
}

func (s *leakSearch) look(where string, b []byte) {
	s.seen += int64(len(b))
	for name, f := range s.forms {
		if bytes.Contains(b, f) {
			s.found = append(s.found, where+": "+name)
		}
	}
}

// tree looks at every byte and name below dir.
func (s *leakSearch) tree(t *testing.T, dir string) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s.look("the name "+path, []byte(d.Name()))
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		s.look(path, b)
		return err
	}))
}

// syncBuffer takes the log of several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// TestNoPlaintextAnywhere puts canaries into everything that a caller names or
// stores, makes the store do all it does, and looks for them on the disk, in
// the key service's file, in the log at its most talkative, and in errors.
func TestNoPlaintextAnywhere(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	live := filepath.Join(dir, "store")
	table, snapshot := newCanary("table name", "t"), newCanary("snapshot name", "s")
	space := newCanary("keyspace", "k")
	key, value, big := newCanary("key", ""), newCanary("value", ""), newCanary("separated value", "")
	rawKey, rawValue := rawCanary("binary key"), rawCanary("binary value")
	logged, removed := newCanary("logged value", ""), newCanary("removed key", "")
	rows := []canary{key, value, big, rawKey, rawValue, logged, removed}
	all := append([]canary{table, snapshot, space}, rows...)

	svc, err := local.Open(filepath.Join(dir, "service", "keys"), local.Options{})
	require.NoError(t, err)
	root, _, err := svc.Ensure(ctx, "default")
	require.NoError(t, err)
	var log syncBuffer
	opts := Options{
		RootKey: root, FS: newAttackFS(vfs.Default), tune: tuning{memTableSize: 256 << 10, targetFileSize: 16 << 10},
		Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})),
	}
	s, err := Open(ctx, live, opts)
	require.NoError(t, err)
	name := string(space.b) + "." + string(table.b)
	tab, err := s.CreateTable(ctx, name, TableOptions{SeparateValuesFrom: 512, NoCompression: true})
	require.NoError(t, err)
	put := func(k, v []byte) { require.NoError(t, tab.Put(k, v, nil)) }
	long := bytes.Repeat(big.b, 40)
	for i := range 60 {
		put(fmt.Appendf(nil, "%s/%03d", key.b, i), append(fmt.Appendf(nil, "%03d ", i), value.b...))
		put(fmt.Appendf(bytes.Clone(rawKey.b), "%03d", i), rawValue.b)
		put(fmt.Appendf(nil, "%s/big/%03d", key.b, i), long)
		if i%20 == 19 {
			require.NoError(t, tab.Flush())
		}
	}
	put(removed.b, removed.b)
	require.NoError(t, tab.Delete(removed.b, nil))
	require.NoError(t, tab.DeleteRange(fmt.Appendf(nil, "%s/010", key.b), fmt.Appendf(nil, "%s/015", key.b), nil))
	_, err = tab.Snapshot(ctx, string(snapshot.b))
	require.NoError(t, err)
	require.NoError(t, tab.Compact(ctx, nil, nil))
	put(key.b, logged.b)

	// As a crash leaves it, and what recovery makes of it.
	crashed := filepath.Join(dir, "crashed")
	copyLive(t, crashed, live)
	require.NoError(t, s.Close())
	recovered := filepath.Join(dir, "recovered")
	copyLive(t, recovered, crashed)
	opts.AcceptOlderKeyring = true
	r, err := Open(ctx, recovered, opts)
	require.NoError(t, err)
	again, err := r.Table(name)
	require.NoError(t, err)
	v, err := again.Get(key.b)
	require.NoError(t, err)
	require.Equal(t, logged.b, v)

	search := newLeakSearch(rows)
	var errs []string
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err))
		}
	}
	_, err = again.Get(removed.b)
	fail(err)
	fail(again.Put(bytes.Repeat(key.b, MaxKeyLen/len(key.b)+1), nil, nil))
	require.NoError(t, r.Close())
	fail(again.Put(key.b, value.b, nil))
	damage(t, recovered, rows, opts, fail)
	require.Greater(t, len(errs), 9, "nothing has failed")
	search.look("an error", []byte(strings.Join(errs, "\n")))
	require.Empty(t, search.found)

	search = newLeakSearch(all)
	search.tree(t, dir)
	search.look("the log", log.bytes())
	require.Empty(t, search.found)
	require.Greater(t, search.seen, int64(300<<10))
	require.Greater(t, len(log.bytes()), 1000)

	// The search can find: in the clear, and as encodings have it.
	for _, c := range all {
		for form, b := range map[string][]byte{
			"raw": c.b, "hex": []byte(hex.EncodeToString(c.b)), "quoted": fmt.Appendf(nil, "%q", c.b),
			"base64": []byte(base64.StdEncoding.EncodeToString(append([]byte("xy"), append(bytes.Clone(c.b), "z"...)...))),
		} {
			search := newLeakSearch(all)
			search.look("here", append([]byte("before "), b...))
			require.NotEmpty(t, search.found, "%s as %s", c.what, form)
		}
	}
}

// damage flips a bit in each file of the store in turn and reads it, under the
// real cipher; and with one that does not authenticate, which lets Pebble see
// the damage and speak of it.
func damage(t *testing.T, dir string, rows []canary, opts Options, fail func(error)) {
	ctx := context.Background()
	use := func(dir string, opts Options) {
		s, err := Open(ctx, dir, opts)
		if err != nil {
			fail(err)
			return
		}
		_, err = s.Verify(ctx, func(f Finding) {
			fail(f.Err)
			if f.Err == nil {
				fail(fmt.Errorf("%+v", f))
			}
		})
		fail(err)
		for _, info := range s.Tables() {
			tab, err := s.Table(info.Name)
			fail(err)
			for _, r := range rows {
				_, err := tab.Get(r.b)
				fail(err)
			}
			for _, err := range tab.Scan(ScanOptions{}) {
				fail(err)
			}
			fail(tab.Compact(ctx, nil, nil))
		}
		fail(s.Close())
	}
	flip := func(dir string, at func(n int) int) {
		for name, b := range readTree(t, dir) {
			if ext := filepath.Ext(name); len(b) == 0 || ext != ".sst" && ext != ".blob" && ext != ".log" && !strings.Contains(name, "MANIFEST") || strings.Contains(name, snapshotsDir) {
				continue
			}
			b[at(len(b))] ^= 1
			mem := vfs.NewMem()
			files := readTree(t, dir)
			files[name] = b
			writeTree(t, mem, "store", files)
			o := opts
			o.FS = newAttackFS(mem)
			use("store", o)
		}
	}
	flip(dir, func(n int) int { return n / 2 })

	weak := filepath.Join(t.TempDir(), "weak")
	opts.suite = weakSuite
	s, err := Open(ctx, weak, opts)
	require.NoError(t, err)
	// No blobs: of one that it finds damaged itself, Pebble can only panic.
	tab, err := s.CreateTable(ctx, "a.b", TableOptions{NoCompression: true})
	require.NoError(t, err)
	for i := range 50 {
		for _, r := range rows {
			require.NoError(t, tab.Put(fmt.Appendf(bytes.Clone(r.b), "%d", i), bytes.Repeat(r.b, 1+i%30), &WriteOptions{NoSync: true}))
		}
	}
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.Put(rows[0].b, rows[1].b, nil))
	copyLive(t, weak+"-crashed", weak)
	require.NoError(t, s.Close())
	for _, at := range []func(int) int{
		func(n int) int { return n / 2 }, func(n int) int { return n/3 + 7 }, func(n int) int { return n - 40 }, func(n int) int { return n - 100 },
	} {
		flip(weak, at)
		flip(weak+"-crashed", at)
	}
}

func copyLive(t *testing.T, dst, src string) {
	writeTree(t, vfs.Default, dst, readTree(t, src))
}
