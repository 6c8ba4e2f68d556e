package wal

import (
	"errors"
	"fmt"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// nextKeyLen is the length of what a frame with flagNextKey holds.
const nextKeyLen = 16 + 4 + keyring.WrappedKeyLen + floe.HeaderLen

// A nextKey is the content of a frame with flagNextKey. The package comment
// draws it.
type nextKey struct {
	id      keyring.ID // in place of a file's id
	version uint32
	wrapped [keyring.WrappedKeyLen]byte
	floe    [floe.HeaderLen]byte
}

func (n *nextKey) encode() []byte {
	w := codec.Writer{B: make([]byte, 0, nextKeyLen)}
	w.Raw(n.id[:])
	w.U32(n.version)
	w.Raw(n.wrapped[:])
	w.Raw(n.floe[:])
	return w.B
}

func parseNextKey(b []byte) (n nextKey) {
	r := codec.NewReader(b) // of the right length: parsePayload has looked
	r.Fill(n.id[:])
	n.version = r.U32()
	r.Fill(n.wrapped[:])
	r.Fill(n.floe[:])
	return n
}

// Rekey seals what is written from now on under another data key, which was
// made for id, a new one. It writes and syncs two frames, while which other
// writes wait: so whoever has the former key alone reads what was there, and
// nothing behind it. The key is not kept, and may be wiped when Rekey has
// returned.
//
// If we crash before it returns, the log ends before, between or behind the
// two, and reads the same. An error is that of a Write or sync, and final.
func (w *Writer) Rekey(id keyring.ID, key *keyring.DataKey) error {
	if key == nil || key.Key.Wiped() {
		return errors.New("wal: the data key has been wiped")
	}
	msg, floeHeader, err := floe.Start(floe.Params{Suite: w.suite}, key.Key, w.id.AAD())
	if err != nil {
		return err
	}
	defer msg.Wipe()
	sealer, err := msg.Derive(purposeFrame)
	if err != nil {
		return err
	}
	next := nextKey{id: id, version: key.Version, wrapped: key.Wrapped, floe: floeHeader}
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	w.keys = append(w.keys, KeyUse{id, key.Version, key.Wrapped})
	w.mu.Unlock()
	// The first is durable before the second says so: then a changed one is
	// found by the other, as any frame is by those behind it.
	for _, f := range []struct {
		flags uint8
		data  []byte
	}{{flagNextKey, next.encode()}, {flagSwitch, nil}} {
		if err := w.append(f.flags, nil, f.data); err != nil {
			return err
		}
		if err := w.SyncData(); err != nil {
			return err
		}
	}
	w.sealer = sealer
	return nil
}

// A KeyUse is a data key that frames of a log are sealed under, as the log
// itself names it.
type KeyUse struct {
	ID      keyring.ID // what the key was made for
	Version uint32     // of the table key that wraps it
	Wrapped [keyring.WrappedKeyLen]byte
}

// Rekeyed are the keys that have followed the header's, in the frames that were
// read so far.
func (r *Reader) Rekeyed() []KeyUse { return r.rekeyed }

// changeKey does what a frame with one of the flags says, and tells what is
// wrong with it.
func (r *Reader) changeKey(p payload) error {
	if p.flags&flagSwitch != 0 {
		if r.following == nil {
			return r.corrupt(corrupt.ErrFormat, r.pos, "frame %d changes to a key that no frame names", r.index)
		}
		r.sealer, r.following = r.following, nil
		return nil
	}
	n := parseNextKey(p.data)
	if r.opts.Key == nil {
		return r.corrupt(corrupt.ErrFormat, r.pos, "frame %d changes the key, and this file has one for its life", r.index)
	}
	key, err := r.opts.Key(n.id, n.version, n.wrapped[:])
	if err != nil {
		var e *corrupt.Error
		if errors.As(err, &e) {
			return r.corrupt(e.Class, r.pos, "frame %d, which names the next key: %s", r.index, e.Detail)
		}
		return fmt.Errorf("wal: the key that frame %d of %s names: %w", r.index, r.opts.Path, err)
	}
	defer key.Wipe()
	msg, err := floe.Resume(floe.Params{Suite: r.opts.Suite}, key, r.aad, n.floe[:])
	if errors.Is(err, floe.ErrHeader) {
		return r.corrupt(corrupt.ErrAuth, r.pos, "frame %d: the tag of the next key does not match", r.index)
	}
	if err != nil {
		return err
	}
	defer msg.Wipe()
	if r.following, err = msg.Derive(purposeFrame); err != nil {
		return err
	}
	r.rekeyed = append(r.rekeyed, KeyUse{n.id, n.version, n.wrapped})
	return nil
}
