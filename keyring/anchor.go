package keyring

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// anchorPatience is how long each key service is given to read or take a note: one
// that hangs must not hold up what another has opened.
const anchorPatience = 5 * time.Second

// anAnchor is a root key whose service takes notes.
type anAnchor interface {
	RootKey
	Anchor
}

// anchors are those of the store key's roots that are Anchors, in any of the states.
func (k *Keyring) anchors(states ...*state) []anAnchor {
	var as []anAnchor
	for _, s := range states {
		for _, uri := range s.store.roots() {
			a, ok := k.pins[uri].(anAnchor)
			if ok && !slices.ContainsFunc(as, func(o anAnchor) bool { return o.URI() == uri }) {
				as = append(as, a)
			}
		}
	}
	return as
}

// otherAnchors are the pinned Anchors besides those given. A keyring of before the store
// key had one does not name it: if it were not asked, that keyring could be put back.
func (k *Keyring) otherAnchors(own []anAnchor) (as []anAnchor) {
	for _, uri := range slices.Sorted(maps.Keys(k.pins)) {
		a, ok := k.pins[uri].(anAnchor)
		if ok && !slices.ContainsFunc(own, func(o anAnchor) bool { return o.URI() == uri }) {
			as = append(as, a)
		}
	}
	return as
}

// A noted is what an anchor remembers of a store.
type noted struct {
	generation uint64
	digest     [32]byte
	ok         bool // it remembers something
	err        error
}

// readNotes asks all anchors at once.
func (k *Keyring) readNotes(ctx context.Context, as []anAnchor) []noted {
	notes := make([]noted, len(as))
	each(ctx, as, func(ctx context.Context, i int) {
		n := &notes[i]
		n.generation, n.digest, n.ok, n.err = as[i].NewestGeneration(ctx, k.storeID)
	})
	return notes
}

// note tells anchors of s, which is durable. A note that fails is no failed
// change: the next change, or the next Open, notes again, and until then a
// rollback to before s would not be found. The change is made, so ctx no longer
// cancels.
func (k *Keyring) note(ctx context.Context, s *state, as []anAnchor) {
	each(context.WithoutCancel(ctx), as, func(ctx context.Context, i int) {
		if err := as[i].NoteGeneration(ctx, k.storeID, s.generation, s.digest); err != nil {
			k.opts.Logger.Warn("keyring: the key service has not noted the newest generation",
				"store", k.storeID, "generation", s.generation, "root", as[i].URI(), "err", err)
		}
	})
}

// each calls f for all anchors at once and waits for them.
func each(ctx context.Context, as []anAnchor, f func(ctx context.Context, i int)) {
	ctx, cancel := context.WithTimeout(ctx, anchorPatience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range as {
		if i == len(as)-1 {
			f(ctx, i) // here, so that a single one needs no goroutine
			break
		}
		wg.Go(func() { f(ctx, i) })
	}
	wg.Wait()
}
