package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// hedgeAfter is how long a root key is waited for alone. Then the next one is
// asked as well, and the first that answers with the key is enough: a service
// that hangs costs this much, not the table. Services answer in a tenth of it.
const hedgeAfter = time.Second

// unwrap recovers the newest version of an entry's key, from whichever of its
// pinned roots opens it first. One that is not pinned is never called, and keeps
// none of the others from opening: it cannot have been written in by somebody
// without the key, for the entry has a MAC under it, which the caller checks. What
// a pin keeps out is the next wrap (prepare).
//
// Errors are *KeyError values, joined where there were several roots.
func (k *Keyring) unwrap(ctx context.Context, e *keyEntry, ec Context, op string, at place) (*Secret, error) {
	v := e.newest()
	asked, unpinned := k.askable(v.wraps)
	if len(asked) == 0 {
		var errs []error
		for _, w := range unpinned {
			errs = append(errs, at.fault(op, w.uri, ErrRootNotPinned))
		}
		return nil, joined(errs)
	}
	key, answers := k.ask(ctx, asked, ec, v.commitment)
	if key == nil {
		for i, a := range answers {
			answers[i].err = at.fault(op, a.uri, a.err)
		}
		if told := telling(answers); len(told) > 0 {
			return nil, joined(told)
		}
		// Only recovery keys are pinned: name those that could open it as well.
		var all []error
		for _, w := range unpinned {
			all = append(all, at.fault(op, w.uri, ErrRootNotPinned))
		}
		for _, a := range answers {
			all = append(all, a.err)
		}
		return nil, joined(all)
	}
	for _, w := range unpinned {
		k.opts.Logger.Warn("keyring: a root key that the configuration does not name wraps this key; no rotation goes on with it",
			"store", k.storeID, "table", e.id, "root", w.uri)
	}
	return key, nil
}

// askable orders the wraps of pinned roots: first those that have unwrapped the
// last key that they were asked for, so that a service that is down delays one
// opening and not each; last those that are offline. Else the order is that of
// the wraps.
func (k *Keyring) askable(wraps []wrap) (asked, unpinned []wrap) {
	var rest, offline []wrap
	for _, w := range wraps {
		root, ok := k.pins[w.uri]
		_, proven := k.unwraps.Load(w.uri)
		switch {
		case !ok:
			unpinned = append(unpinned, w)
		case isOffline(root):
			offline = append(offline, w)
		case proven:
			asked = append(asked, w)
		default:
			rest = append(rest, w)
		}
	}
	return slices.Concat(asked, rest, offline), unpinned
}

// An answer is what came of a question to a root key: a key, or an error.
type answer struct {
	uri string
	key *Secret
	err error
}

// ask asks the roots of the wraps for the key, the next one when one has failed
// or has kept silent for hedgeAfter. It returns the first key, or what each has
// answered instead. Calls that go on when it returns are cancelled; a key that one
// of them yields all the same is wiped. Who waits is heard, also by a service that does
// not hear him: a lease ends in time.
func (k *Keyring) ask(ctx context.Context, wraps []wrap, ec Context, commitment []byte) (*Secret, []answer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	answers := make(chan answer)
	waiting := make(map[string]bool)
	next := func() {
		w := wraps[0]
		wraps = wraps[1:]
		waiting[w.uri] = true
		go func() {
			a := k.askOne(ctx, w, ec, commitment)
			select {
			case answers <- a:
			case <-over:
				a.key.Wipe()
			}
		}()
	}
	next()
	silence := time.NewTicker(hedgeAfter)
	defer silence.Stop()
	var failed []answer
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.uri)
			if a.err == nil {
				for uri := range waiting {
					k.unwraps.Delete(uri) // it would delay the next opening too
				}
				return a.key, nil
			}
			failed = append(failed, a)
		case <-silence.C:
		case <-ctx.Done():
			for uri := range waiting {
				failed = append(failed, answer{uri: uri, err: ctx.Err()})
			}
			return nil, failed
		}
		if len(wraps) > 0 {
			next()
			silence.Reset(hedgeAfter)
		}
	}
	return nil, failed
}

// askOne has a root unwrap a key, and compares it with the commitment.
func (k *Keyring) askOne(ctx context.Context, w wrap, ec Context, commitment []byte) answer {
	key, err := k.pins[w.uri].Unwrap(ctx, w.blob, ec)
	if err == nil {
		var ok bool
		if ok, err = committed(key, ec, commitment); ok {
			if ec.Purpose == PurposeTableKey {
				k.unwraps.Store(w.uri, nil)
			}
			return answer{uri: w.uri, key: key}
		}
		key.Wipe()
		if err == nil {
			err = fmt.Errorf("%w: the key is not the one committed to", ErrWrongContext)
		}
	}
	k.unwraps.Delete(w.uri)
	return answer{uri: w.uri, err: err}
}

// telling are the errors that say why a key is not to be had. That a recovery key
// is offline is none.
func telling(answers []answer) (errs []error) {
	for _, a := range answers {
		if !errors.Is(a.err, ErrKeyOffline) {
			errs = append(errs, a.err)
		}
	}
	return errs
}

// joined is errors.Join, but for a single error.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
