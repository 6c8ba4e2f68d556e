package keyring

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

// TestAuditState: every generation says where the audit log was when it was made.
func TestAuditState(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newAnchoredRoot("a")
	var now, handed *AuditState
	var fault error
	opts := Options{FS: mem, Audit: func(context.Context) (*AuditState, error) {
		if now == nil || fault != nil {
			return nil, fault
		}
		c := *now
		c.Key = now.Key.Clone()
		handed = &c
		return &c, nil
	}}
	k, err := Create(t.Context(), testDir, root, opts)
	require.NoError(t, err)
	require.Nil(t, k.Audit())
	say := func(seq uint64) *AuditState {
		now = &AuditState{AuditHead: AuditHead{Chain: ID{1}, Seq: seq, MAC: [AuditMACLen]byte{byte(seq)}}, File: 3, End: 77, Key: RandomSecret()}
		return now
	}
	want := say(5)
	mustTable(t, k, "t", root, "")
	require.Equal(t, want.AuditHead, k.Audit().AuditHead)
	require.Nil(t, k.Audit().Key, "what is in the file need not be in memory")
	require.True(t, handed.Key.Wiped())

	// The key is there after an opening, and stays where nobody knows better.
	now = nil
	again, err := Open(t.Context(), testDir, []RootKey{root}, false, opts)
	require.NoError(t, err)
	for range 2 {
		got := again.Audit()
		require.Equal(t, want.AuditHead, got.AuditHead)
		require.Equal(t, want.File, got.File)
		require.Equal(t, want.End, got.End)
		require.True(t, want.Key.Equal(got.Key))
		got.Key.Wipe()
		mustTable(t, again, "u"+string(rune('0'+again.Generation())), root, "")
	}
	// An error refuses the change, before anything is written.
	fault = errors.New("the log cannot be written")
	gen := again.Generation()
	_, err = again.CreateTable(t.Context(), "refused", root, nil)
	require.ErrorIs(t, err, fault)
	require.Equal(t, gen, again.Generation())
	fault = nil
	held := again.cur.Load().audit
	want = say(6)
	mustTable(t, again, "v", root, "")
	require.Equal(t, uint64(6), again.Audit().Seq)
	require.True(t, held.Key.Wiped())
	_, file := readFile(t, mem)
	require.False(t, bytes.Contains(file, want.Key.Expose()))
	require.NoError(t, again.Close())
}

// TestAuditStateRules has one state for each rule of parseAudit.
func TestAuditStateRules(t *testing.T) {
	t.Parallel()
	good := &AuditState{AuditHead: AuditHead{Chain: ID{1}, Seq: 1}, File: 1, End: 1, Key: RandomSecret()}
	again, err := parseAudit(good.encode())
	require.NoError(t, err)
	require.Equal(t, good.AuditHead, again.AuditHead)
	require.True(t, good.Key.Equal(again.Key))
	none, err := parseAudit((*AuditState)(nil).encode())
	require.NoError(t, err)
	require.Nil(t, none)
	for name, edit := range map[string]func(*AuditState){
		"no chain":         func(a *AuditState) { a.Chain = ID{} },
		"no record":        func(a *AuditState) { a.Seq = 0 },
		"no file":          func(a *AuditState) { a.File = 0 },
		"a file too many":  func(a *AuditState) { a.File = 1 << 32 },
		"no end":           func(a *AuditState) { a.End = 0 },
		"an end too far":   func(a *AuditState) { a.End = 1 << 40 },
		"an end beyond it": func(a *AuditState) { a.End = -1 },
	} {
		a := *good
		edit(&a)
		_, err := parseAudit(a.encode())
		require.ErrorIs(t, err, corrupt.ErrFormat, name)
	}
	for n := range good.encode() {
		_, err := parseAudit(good.encode()[:n])
		require.ErrorIs(t, err, corrupt.ErrFormat)
	}
	_, err = parseAudit(append(good.encode(), 0))
	require.ErrorIs(t, err, corrupt.ErrFormat)
}

// TestFileVersion1 opens what version 1 wrote: the same without the section.
func TestFileVersion1(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	s := v.k.cur.Load()
	b := encodeVersion1(t, v.k, s)
	f, err := parseFile(b)
	require.NoError(t, err)
	require.Equal(t, uint16(1), f.version)
	old, err := f.authenticate(nil, v.k.storeKey.open.keys[1])
	require.NoError(t, err)
	require.Nil(t, old.audit)
	require.Len(t, old.tables, len(s.tables))
	// Neither version parses as the other.
	for _, x := range [][]byte{b, v.file} {
		c := bytes.Clone(x)
		c[9] ^= 3
		_, err := v.open(t, c, nil)
		tampering(t, err, "another version")
	}
}

// encodeVersion1 writes a state as version 1 did.
func encodeVersion1(t testing.TB, k *Keyring, s *state) []byte {
	t.Helper()
	key := k.storeKey.open.keys[1]
	w := codec.Writer{B: fileHeader(k.storeID, s.generation)}
	w.B[9] = 1
	w.Bytes(s.store.raw)
	sealed, err := sealSalted(nil, key, labelList, s.encodeList(), w.B[:fileHeaderLen])
	require.NoError(t, err)
	w.Bytes(sealed)
	w.U32(uint32(len(s.tables)))
	for i := range s.tables {
		w.Bytes(s.tables[i].entry.raw)
	}
	sum, err := mac(key, labelKeyringMAC, w.B)
	require.NoError(t, err)
	w.Raw(sum)
	return w.B
}
