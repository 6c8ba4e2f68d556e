package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrBroken: a storage does not keep a promise that [Check] has tried.
var ErrBroken = errors.New("the storage does not keep its promises")

// CheckOptions say how a storage is checked.
type CheckOptions struct {
	// Large is the size of the largest object that is put, in bytes; 0 is 20
	// MiB, more than package s3 sends at once.
	Large int64
	// Report is called with each finding, in order; nil is not called.
	Report func(Finding)
}

// A Finding says whether a storage keeps one promise.
type Finding struct {
	Promise string        // such as "a range is what was asked for"
	Matters string        // what depends on it
	Err     error         // nil where it is kept
	Took    time.Duration // for what was tried
}

// scratch begins the names of what Check puts.
const scratch = "check-storage"

// skew is how far a storage's clock may be from ours.
const skew = 15 * time.Minute

// A checker tries one storage.
type checker struct {
	s      Storage
	o      CheckOptions
	prefix string // of all names
}

// Check tries whether a storage keeps its promises, with objects of its own
// below a prefix of its own, which it removes. It holds the largest of them in
// memory. It goes on after a promise that is not kept, and returns all that are
// not, as [ErrBroken]; where nothing can be put at all, or not any more, it
// returns why, with its class.
//
// It can show that a promise is broken, not that it is kept: what goes well a
// few times at once may go wrong some day.
func Check(ctx context.Context, s Storage, o CheckOptions) error {
	if o.Large == 0 {
		o.Large = 20 << 20
	}
	c := &checker{s: s, o: o, prefix: scratch + "/" + rand.Text() + "/"}
	var broken []error
	for i, p := range []struct {
		promise, matters string
		try              func(context.Context) error
	}{
		{"an object that was put is read back", "everything", c.readAfterWrite},
		{"an object of no bytes is an object", "empty files", c.empty},
		{"a name may have every character that is allowed", "names of objects", c.names},
		{"what is not there is told", "finding lost objects", c.absent},
		{"a name that is taken is not put to", "objects are immutable", c.exists},
		{"of several puts of a name at once one succeeds", "two backups at once", c.putAtOnce},
		{"what replaces an object is read back", "repair of damaged objects", c.replace},
		{"a range is what was asked for", "restores of a key range", c.ranges},
		{"a large object is read back byte for byte", "every table", c.large},
		{"an object that was put is listed at once, in order", "finding backups; prune", c.listAfterWrite},
		{"an object that was deleted is gone at once, and from lists", "prune", c.listAfterDelete},
		{"a register is swapped only by who knows its version", "the lock of the repository", c.swap},
		{"of several swaps of a register at once one succeeds", "the lock of the repository", c.swapAtOnce},
		{"its clock is right", "the age of what prune and clean remove", c.clock},
		{"what was put can be removed", "prune", c.cleanUp},
	} {
		began := time.Now()
		err := p.try(ctx)
		if ended := Ended(ctx); ended != nil {
			// What was put is removed all the same.
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			return errors.Join(&Error{Op: "check", Location: s.Location(), Err: ended}, c.cleanUp(undo))
		}
		if o.Report != nil {
			o.Report(Finding{p.promise, p.matters, err, time.Since(began)})
		}
		if hopeless(err, i == 0) {
			return fmt.Errorf("check %s: %s: %w", s.Location(), p.promise, err)
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("%s: %w", p.promise, err))
		}
	}
	if len(broken) > 0 {
		return &Error{Op: "check", Location: s.Location(), Class: ErrBroken, Err: errors.Join(broken...)}
	}
	return nil
}

// hopeless tells whether err says that nothing can be had of the storage. What
// is denied later is one thing that is not permitted.
func hopeless(err error, first bool) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrClosed) || errors.Is(err, ErrFull) ||
		first && (errors.Is(err, ErrDenied) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrLocation))
}

func (c *checker) name(name string) string { return c.prefix + name }

// pattern is n bytes, others for each seed, in which no two stretches are
// alike for long.
func pattern(seed byte, n int64) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

// holds demands that an object has these bytes.
func (c *checker) holds(ctx context.Context, name string, want []byte) error {
	info, err := c.s.Stat(ctx, name)
	if err != nil {
		return err
	}
	if info.Size != int64(len(want)) {
		return &SizeError{info.Size, int64(len(want))}
	}
	got, err := c.get(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: other bytes than were put", name)
	}
	return nil
}

func (c *checker) get(ctx context.Context, name string, off, length int64) (b []byte, err error) {
	r, err := c.s.Get(ctx, name, off, length)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, max(c.o.Large, 1<<20)+1))
}

// demand is nil where err is of the class.
func demand(what string, err, class error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s succeeds, and should be: %w", what, class)
	case !errors.Is(err, class):
		return err
	}
	return nil
}

func (c *checker) readAfterWrite(ctx context.Context) error {
	for i := range 5 {
		name, want := c.name(fmt.Sprintf("read/%d", i)), pattern(byte(i), 10_000)
		// Some remember that there was none.
		_, err := c.s.Stat(ctx, name)
		if err := demand("stat of what is not there", err, ErrNotFound); err != nil {
			return err
		}
		if err := c.s.Put(ctx, name, Bytes(want)); err != nil {
			return err
		}
		if err := c.holds(ctx, name, want); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) empty(ctx context.Context) error {
	if err := c.s.Put(ctx, c.name("empty"), Bytes(nil)); err != nil {
		return err
	}
	return c.holds(ctx, c.name("empty"), nil)
}

func (c *checker) names(ctx context.Context) error {
	names := []string{
		"names/abcdefghijklmnopqrstuvwxyz0123456789.-_x", "names/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"names/" + strings.Repeat("e", MaxElement), "names/-", "names/_", "names/a..b/0.0",
	}
	for i, name := range names {
		if err := c.s.Put(ctx, c.name(name), Bytes([]byte{byte(i)})); err != nil {
			return err
		}
	}
	for i, name := range names {
		if err := c.holds(ctx, c.name(name), []byte{byte(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) absent(ctx context.Context) error {
	_, err := c.s.Get(ctx, c.name("absent"), 0, -1)
	if err := demand("get", err, ErrNotFound); err != nil {
		return err
	}
	_, _, err = c.s.Load(ctx, c.name("absent"))
	return demand("load", err, ErrNotFound)
}

func (c *checker) exists(ctx context.Context) error {
	name, want := c.name("exists"), []byte("first")
	if err := c.s.Put(ctx, name, Bytes(want)); err != nil {
		return err
	}
	if err := demand("a second put", c.s.Put(ctx, name, Bytes([]byte("second"))), ErrExists); err != nil {
		return err
	}
	if err := demand("a large put", c.s.Put(ctx, name, Bytes(pattern(1, c.o.Large))), ErrExists); err != nil {
		return err
	}
	return c.holds(ctx, name, want)
}

const (
	rounds     = 5
	contenders = 4
)

// atOnce runs contenders at the same time, one of which has to succeed, and
// returns which did.
func atOnce(class error, try func(i int) error) (int, error) {
	errs := make([]error, contenders)
	var ready, done sync.WaitGroup
	ready.Add(contenders)
	for i := range contenders {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = try(i)
		})
	}
	done.Wait()
	winner, winners := 0, 0
	for i, err := range errs {
		switch {
		case err == nil:
			winner = i
			winners++
		case !errors.Is(err, class):
			return 0, err
		}
	}
	if winners != 1 {
		return 0, fmt.Errorf("%d of %d succeed", winners, contenders)
	}
	return winner, nil
}

func (c *checker) putAtOnce(ctx context.Context) error {
	for round := range rounds {
		name := c.name(fmt.Sprintf("once/%d", round))
		winner, err := atOnce(ErrExists, func(i int) error {
			return c.s.Put(ctx, name, Bytes(pattern(byte(i), 1000)))
		})
		if err != nil {
			return err
		}
		if err := c.holds(ctx, name, pattern(byte(winner), 1000)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) replace(ctx context.Context) error {
	name := c.name("replaced")
	for i := range rounds {
		want := pattern(byte(i), 1000+int64(i))
		if err := c.s.Replace(ctx, name, Bytes(want)); err != nil {
			return err
		}
		if err := c.holds(ctx, name, want); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) ranges(ctx context.Context) error {
	name, want := c.name("ranges"), pattern(1, 100_000)
	if err := c.s.Put(ctx, name, Bytes(want)); err != nil {
		return err
	}
	n := int64(len(want))
	for _, r := range [][2]int64{{0, 1}, {n - 1, 1}, {1000, 5000}, {n / 2, n / 2}, {0, n}} {
		got, err := c.get(ctx, name, r[0], r[1])
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
			return fmt.Errorf("bytes %d to %d are others", r[0], r[0]+r[1])
		}
	}
	_, err := c.get(ctx, name, n-10, 11)
	return demand("a range beyond the end", err, ErrRange)
}

func (c *checker) large(ctx context.Context) error {
	want := pattern(7, c.o.Large)
	if err := c.s.Put(ctx, c.name("large"), Bytes(want)); err != nil {
		return err
	}
	return c.holds(ctx, c.name("large"), want)
}

// list returns the names below a folder of ours, without what precedes them.
func (c *checker) list(ctx context.Context, folder string) ([]string, error) {
	var names []string
	for info, err := range c.s.List(ctx, c.name(folder)) {
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(info.Name, c.prefix))
	}
	return names, nil
}

// lists demands that a folder has these names, in this order.
func (c *checker) lists(ctx context.Context, folder string, want []string) error {
	names, err := c.list(ctx, folder)
	if err == nil && !slices.Equal(names, want) {
		err = fmt.Errorf("it lists %q, and there are %q", names, want)
	}
	return err
}

var listed = []string{"list/a-b", "list/a.b", "list/a/b", "list/a0", "list/b"}

func (c *checker) listAfterWrite(ctx context.Context) error {
	for i := range listed {
		// The last comes first, so that the order is the storage's doing.
		if err := c.s.Put(ctx, c.name(listed[len(listed)-1-i]), Bytes(nil)); err != nil {
			return err
		}
		if err := c.lists(ctx, "list/", listed[len(listed)-1-i:]); err != nil {
			return err
		}
	}
	return c.lists(ctx, "list/a", listed[:4])
}

func (c *checker) listAfterDelete(ctx context.Context) error {
	for i := range 3 {
		name := fmt.Sprintf("delete/%d", i)
		if err := c.s.Put(ctx, c.name(name), Bytes(nil)); err != nil {
			return err
		}
		for range 2 { // deleting again is no error
			if err := c.s.Delete(ctx, c.name(name)); err != nil {
				return err
			}
			if err := c.lists(ctx, "delete/", nil); err != nil {
				return err
			}
			_, err := c.s.Stat(ctx, c.name(name))
			if err := demand("stat of what was deleted", err, ErrNotFound); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) swap(ctx context.Context) error {
	name := c.name("register")
	v := NoVersion
	for i := range rounds {
		want := fmt.Appendf(nil, "content %d", i)
		next, err := c.s.Swap(ctx, name, v, want)
		if err != nil {
			return err
		}
		_, err = c.s.Swap(ctx, name, v, []byte("by who came too late"))
		if err := demand("a swap of an old version", err, ErrConflict); err != nil {
			return err
		}
		_, err = c.s.Swap(ctx, name, NoVersion, []byte("by who thinks it is not there"))
		if err := demand("a swap of no version", err, ErrConflict); err != nil {
			return err
		}
		b, loaded, err := c.s.Load(ctx, name)
		switch {
		case err != nil:
			return err
		case !bytes.Equal(b, want) || loaded != next:
			return errors.New("what is loaded is not what was swapped in")
		}
		v = next
	}
	return nil
}

func (c *checker) swapAtOnce(ctx context.Context) error {
	name, v := c.name("contended"), NoVersion
	for round := range rounds {
		content := func(i int) []byte { return fmt.Appendf(nil, "round %d, by %d", round, i) }
		winner, err := atOnce(ErrConflict, func(i int) error {
			_, err := c.s.Swap(ctx, name, v, content(i))
			return err
		})
		if err != nil {
			return err
		}
		b, loaded, err := c.s.Load(ctx, name)
		if err != nil {
			return err
		}
		if !bytes.Equal(b, content(winner)) {
			return errors.New("what is loaded is another's than the winner's")
		}
		v = loaded
	}
	return nil
}

func (c *checker) clock(ctx context.Context) error {
	if err := c.s.Put(ctx, c.name("clock"), Bytes(nil)); err != nil {
		return err
	}
	info, err := c.s.Stat(ctx, c.name("clock"))
	if err != nil {
		return err
	}
	if d := time.Since(info.Modified); d.Abs() > skew {
		return fmt.Errorf("an object that was put now is from %v ago", d.Round(time.Second))
	}
	return nil
}

func (c *checker) cleanUp(ctx context.Context) error {
	names, err := c.list(ctx, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.s.Delete(ctx, c.name(name)); err != nil {
			return err
		}
	}
	return c.lists(ctx, "", nil)
}
