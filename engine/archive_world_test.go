package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// A shipment is what an archive has of a log segment.
type shipment struct {
	ArchiveSegment
	bytes []byte
}

// A shipper takes a table's log segments, as a backup does.
type shipper struct {
	mu   sync.Mutex // guards all below
	have map[keyring.ID]*shipment
	// former are keys of the table's from before versions were retired, or nil.
	former *keyring.TableKeys
	keep   bool // it says of none that it is done
}

func newShipper() *shipper { return &shipper{have: make(map[keyring.ID]*shipment)} }

// clone is what has been shipped by now.
func (s *shipper) clone() *shipper {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newShipper()
	for id, h := range s.have {
		d := *h
		c.have[id] = &d
	}
	return c
}

// ship takes what there is.
func (s *shipper) ship(ctx context.Context, t *Table) error {
	if err := t.SyncLog(ctx); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return s.take(ctx, t)
}

// take is ship without what is not synced.
func (s *shipper) take(ctx context.Context, t *Table) error {
	list, err := t.ArchiveSegments(ctx)
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	return s.shipAll(t, list)
}

func (s *shipper) shipAll(t *Table, list []ArchiveSegment) error {
	for _, seg := range list {
		if seg.Damage != nil {
			return seg.Damage
		}
		if err := s.shipOne(t, seg); err != nil {
			return fmt.Errorf("segment %d (%s): %w", seg.Number, seg.FileID, err)
		}
		if seg.Closed && !s.keep {
			if err := t.ArchiveDone(seg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shipper) shipOne(t *Table, seg ArchiveSegment) error {
	r, err := t.OpenSegment(seg)
	if err != nil {
		return err
	}
	b := make([]byte, seg.Length)
	n, err := r.ReadAt(b, 0)
	if n < len(b) {
		return errors.Join(fmt.Errorf("%d bytes of %d: %w", n, len(b), err), r.Close())
	}
	if err := r.Close(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.have[seg.FileID]; old != nil {
		if !bytes.HasPrefix(b, old.bytes) {
			return fmt.Errorf("%d bytes do not begin with the %d of before", len(b), len(old.bytes))
		}
		if seg.Frames < old.Frames || old.Closed && (!seg.Closed || seg.Frames != old.Frames) {
			return fmt.Errorf("%d frames, closed %v; it had %d, closed %v", seg.Frames, seg.Closed, old.Frames, old.Closed)
		}
	}
	s.have[seg.FileID] = &shipment{seg, b}
	return nil
}

// chain orders what was shipped, and demands that nothing is missing between the
// first and the last.
func (s *shipper) chain() ([]*shipment, error) {
	var list []*shipment
	for _, h := range s.have {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *shipment) int { return int(a.Number) - int(b.Number) })
	for i, h := range list[min(1, len(list)):] {
		before := list[i]
		want := wal.Segment{Number: before.Number, FileID: before.FileID, Frames: before.Frames}
		if h.Previous != want {
			return nil, fmt.Errorf("segment %d follows %+v, and what is there is %+v", h.Number, h.Previous, want)
		}
	}
	return list, nil
}

// keptKeys are a table's keys, and those of before.
type keptKeys struct {
	keyring.DataKeys
	former *keyring.TableKeys
}

func (k keptKeys) DataKey(file keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error) {
	key, err := k.DataKeys.DataKey(file, version, wrapped)
	if errors.Is(err, keyring.ErrVersionUnknown) && k.former != nil {
		return k.former.DataKey(file, version, wrapped)
	}
	return key, err
}

// batches gives the batches of all that was shipped, in order, and demands that
// their sequence numbers have no gap within a segment.
func (s *shipper) batches(ctx context.Context, t *Table, visit func(ArchivedBatch) error) error {
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if err := t.loadOverlay(keys, m); err != nil {
		return err
	}
	list, err := s.chain()
	if err != nil {
		return err
	}
	var next uint64
	for _, h := range list {
		l, err := OpenArchived(bytes.NewReader(h.bytes), int64(len(h.bytes)), ArchivedOptions{
			Keys: keptKeys{keys, s.former}, StoreID: t.store.ID(), TableID: t.id, Number: h.Number, FileID: h.FileID, Frames: h.Frames, Path: "shipped",
		})
		if err != nil {
			return err
		}
		if l.Previous() != h.Previous {
			return fmt.Errorf("segment %d follows %+v and was said to follow %+v", h.Number, l.Previous(), h.Previous)
		}
		last, first := h.First, true
		for b, err := range l.Batches() {
			if err != nil {
				return err
			}
			if b.Time.Before(last) || b.Time.After(h.Last) {
				return fmt.Errorf("segment %d: a batch of %s, after %s, in frames up to %s", h.Number, b.Time, last, h.Last)
			}
			last = b.Time
			if b.Count == 0 {
				continue
			}
			if b.SeqNum < next || !first && b.SeqNum > next {
				return fmt.Errorf("segment %d: a batch begins with %d, the one before it ended with %d", h.Number, b.SeqNum, next-1)
			}
			next, first = b.SeqNum+uint64(b.Count), false
			if err := visit(b); err != nil {
				return err
			}
		}
		if e := l.Extent(); e.Frames != h.Frames || e.Bytes != h.Length || !e.First.Equal(h.First) || !e.Last.Equal(h.Last) || len(e.Keys) != len(h.Keys) {
			return fmt.Errorf("segment %d holds %+v, and was listed as %+v", h.Number, e, h.ArchiveSegment)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// newAside makes a store in memory for tables that are rebuilt.
func newAside(t testing.TB) *Store {
	s, err := Open(t.Context(), crashDir, Options{RootKey: newMemRoot("aside"), FS: vfs.NewMem(), MemoryBudget: 64 << 20, IdleTimeout: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// rebuild makes what was shipped of a table into a table of another store, and
// returns what that holds.
func (s *shipper) rebuild(ctx context.Context, t *Table, in *Store) (state, error) {
	name := fmt.Sprintf("rebuilt.t%d", rebuilt.Add(1))
	to, err := in.CreateTable(ctx, name, TableOptions{})
	if err != nil {
		return nil, err
	}
	err = s.batches(ctx, t, func(b ArchivedBatch) error { return to.ApplyArchived(b, &WriteOptions{NoSync: true}) })
	if err != nil {
		return nil, err
	}
	got, err := to.contents()
	_, derr := in.DropTable(ctx, name, DropOptions{})
	return got, errors.Join(err, derr)
}

var rebuilt atomic.Int64 // tables, so that each has a name of its own

var _ io.ReaderAt = (*ArchiveReader)(nil)
