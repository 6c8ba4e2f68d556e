//go:build goexperiment.runtimesecret && linux && (amd64 || arm64)

package engine

import (
	"bufio"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// mask hides the needles of a search from the search.
const mask = 0x5aa5_3cc3_9669_f00f

// A needle is a key, masked.
type needle struct {
	what  string
	words [4]uint64
}

func newNeedle(what string, key *keyring.Secret) needle {
	n := needle{what: what}
	secret.Scope(func() {
		for i := range n.words {
			n.words[i] = binary.NativeEndian.Uint64(key.Expose()[8*i:]) ^ mask
		}
	})
	return n
}

// inMemory searches all memory that this process may write for the needles, byte by
// byte, and gives how often it has found each.
func inMemory(t *testing.T, needles []needle) map[string]int {
	maps, err := os.Open("/proc/self/maps")
	require.NoError(t, err)
	defer maps.Close()
	mem, err := os.Open("/proc/self/mem")
	require.NoError(t, err)
	defer mem.Close()
	first := make(map[uint64][]needle)
	for _, n := range needles {
		first[n.words[0]] = append(first[n.words[0]], n)
	}
	found := make(map[string]int)
	const overlap = 31
	buf := make([]byte, 1<<20+overlap)
	own := uint64(uintptr(unsafe.Pointer(&buf[0])))
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || mode[:2] != "rw" {
			continue
		}
		for at := from; at < to; at += 1 << 20 {
			n, _ := mem.ReadAt(buf[:min(uint64(len(buf)), to-at)], int64(at))
			for i := 0; i+32 <= n; i++ {
				for _, want := range first[binary.NativeEndian.Uint64(buf[i:])^mask] {
					place := at + uint64(i)
					if place >= own && place < own+uint64(len(buf)) {
						continue // what we have just read
					}
					match := true
					for w := 1; w < 4; w++ {
						match = match && binary.NativeEndian.Uint64(buf[i+8*w:])^mask == want.words[w]
					}
					if match {
						found[want.what]++
					}
				}
			}
		}
	}
	require.NoError(t, lines.Err())
	clear(buf)
	return found
}

// TestMemoryAfterLock searches the memory of this process for the table's keys and
// for the data keys of its files: they are there while the table is in use, and gone
// when its key is denied. It needs a build that erases what Go copies:
//
//	GOEXPERIMENT=runtimesecret go test -run TestMemoryAfterLock ./engine
//
// What another build leaves, the threat model says.
func TestMemoryAfterLock(t *testing.T) {
	require.True(t, secret.Erases)
	ctx := t.Context()
	svc, err := local.Open(t.TempDir()+"/keys/keys.cofre", local.Options{})
	require.NoError(t, err)
	defer svc.Close()
	storeRoot, err := svc.CreateKey(ctx, "store")
	require.NoError(t, err)
	root, err := svc.CreateKey(ctx, "table")
	require.NoError(t, err)
	s, err := Open(ctx, t.TempDir()+"/store", Options{
		RootKey: storeRoot, Roots: []keyring.RootKey{root}, KeyLease: 300 * time.Millisecond, MemoryBudget: 32 << 20,
	})
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{RootKey: root})
	require.NoError(t, err)
	for round := range 3 {
		for i := range 2000 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%d/%05d", round, i), make([]byte, 300), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.RotateKey(ctx))
	}
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.Len(t, tableRows(t, tab), 6001)
	needles := needlesOf(t, tab, root)
	require.Greater(t, len(needles), 6)
	require.NotEmpty(t, inMemory(t, needles), "the control: keys that are in use are found")
	used := inMemory(t, needles)
	for n := 1; n <= 4; n++ {
		require.NotZero(t, used[fmt.Sprint("table key ", n)])
	}
	sealing := 0
	for what := range used {
		if strings.HasPrefix(what, "sealing key of ") {
			sealing++
		}
	}
	require.Greater(t, sealing, 2)

	require.NoError(t, svc.Disable(ctx, "table"))
	require.Eventually(t, func() bool { _, err := tab.Get(key); return err != nil }, 10*time.Second, time.Millisecond)
	_, err = tab.Get(key)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	var found map[string]int
	for range 20 {
		runtime.GC()
		if found = inMemory(t, needles); len(found) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Empty(t, found)

	require.NoError(t, svc.Enable(ctx, "table"))
	require.Eventually(t, func() bool { _, err := tab.Get(key); return err == nil }, 10*time.Second, time.Millisecond)
	require.Len(t, tableRows(t, tab), 6001)
	require.NoError(t, s.Close())
}

// needlesOf are the table's keys, all versions, and the data keys of its files.
func needlesOf(t *testing.T, tab *Table, root keyring.RootKey) (needles []needle) {
	e, err := tab.store.ring.Entry(tab.id)
	require.NoError(t, err)
	ec := keyring.Context{Store: tab.store.ID(), Table: tab.id, Purpose: keyring.PurposeTableKey}
	newest := e.Versions[len(e.Versions)-1]
	ec.Version = newest.Number
	key, err := root.Unwrap(t.Context(), newest.Wraps[0].Blob, ec)
	require.NoError(t, err)
	defer key.Wipe()
	needles = append(needles, newNeedle(fmt.Sprint("table key ", ec.Version), key))
	for _, v := range e.Versions[:len(e.Versions)-1] {
		ec.Version = v.Number
		sealer, err := derive.Sealer(nil, key, "cofre/v1/older-key", binary.BigEndian.AppendUint32(nil, v.Number))
		require.NoError(t, err)
		b, err := sealer.Open(nil, v.Older, ec.Canonical())
		require.NoError(t, err)
		older, err := secret.Take(b)
		require.NoError(t, err)
		needles = append(needles, newNeedle(fmt.Sprint("table key ", v.Number), older))
		older.Wipe()
	}
	i, err := tab.use()
	require.NoError(t, err)
	defer i.leave()
	require.NoError(t, i.fs.Keys(tab.dir, func(u sealfs.KeyUse) error {
		key, err := i.keys.DataKey(u.ID, u.Version, u.Wrapped[:])
		if err != nil {
			return err
		}
		defer key.Wipe()
		needles = append(needles, newNeedle("data key of "+u.Name, key))
		h := tab.store.headerOf(tab.store.fs.PathJoin(tab.dir, u.Name))
		if u.Bytes == 0 || h == nil {
			return nil // another key than the header's
		}
		// What seals is derived from it, as docs/format.md says.
		message := kdf(t, h, key.Expose(), "MESSAGE_KEY:", 48)
		defer clear(message)
		sealing := kdf(t, h, message, "WAL_FRAME:", 32)
		if u.Kind.Random() {
			sealing = kdf(t, h, message, "DEK:\x00\x00\x00\x00\x00\x00\x00\x00", 32)
		}
		for what, b := range map[string][]byte{"message key of ": message[:32], "sealing key of ": sealing} {
			derived, err := secret.Take(b)
			if err != nil {
				return err
			}
			needles = append(needles, newNeedle(what+u.Name, derived))
			derived.Wipe()
		}
		return nil
	}))
	return needles
}

// kdf is the derivation inside a file.
func kdf(t *testing.T, h *keyring.Header, key []byte, purpose string, n int) []byte {
	info := append([]byte(nil), h.Floe[:42]...) // parameters and IV
	info = append(append(info, purpose...), h.Identity.AAD()...)
	var b []byte
	var err error
	secret.Scope(func() { b, err = hkdf.Expand(sha512.New384, key, string(info), n) }) // it leaves nothing either
	require.NoError(t, err)
	return b
}
