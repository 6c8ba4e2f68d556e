// Package linear has many goroutines read and write few keys of a store, with
// flushes, compactions, reopens and other tables coming and going beside them,
// and checks that each key's history is linearizable.
package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// A Run is a round.
type Run struct {
	Seed uint64
	Ops  int // of each client
	// Get, if not nil, is how clients read; a test lies with it.
	Get func(t *engine.Table, key []byte) ([]byte, error)
}

const (
	clients = 8
	keys    = 24
	name    = "linear.table"
)

// An input is an operation on one key. Deletes write "".
type input struct {
	key   int
	write bool
	value string
}

// register is a key that is read and written.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, keys)
		for _, o := range history {
			k := o.Input.(input).key
			parts[k] = append(parts[k], o)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.write {
			return true, i.value
		}
		return out.(string) == state.(string), state
	},
	DescribeOperation: func(in, out any) string {
		i := in.(input)
		if i.write {
			return fmt.Sprintf("write k%d %q", i.key, i.value)
		}
		return fmt.Sprintf("read k%d: %q", i.key, out)
	},
}

// Do does the round.
func (r Run) Do(ctx context.Context) (verdict.Counts, error) {
	counts := verdict.Counts{Rounds: 1}
	s, err := engine.Open(ctx, work.Dir, engine.Options{
		RootKey: work.NewRoot("linear"), FS: crashfs.New(crashfs.Options{}), MemoryBudget: 1 << 20, UnitSize: 256, IdleTimeout: -1,
	})
	if err != nil {
		return counts, verdict.New(verdict.FalseAlarm, "open: %v", err)
	}
	defer func() { _ = s.Close() }()
	t, err := s.CreateTable(ctx, name, engine.TableOptions{SeparateValuesFrom: 500})
	if err != nil {
		return counts, verdict.New(verdict.FalseAlarm, "create: %v", err)
	}
	if r.Get == nil {
		r.Get = (*engine.Table).Get
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	busy, done := context.WithCancel(ctx)
	defer done()
	var g, beside errgroup.Group
	for c := range clients {
		g.Go(func() error {
			own, err := r.client(t, c, start)
			mu.Lock()
			defer mu.Unlock()
			history = append(history, own...)
			return err
		})
	}
	beside.Go(func() error { return r.disturb(busy, s, t) })
	err = verdict.Within(5*time.Minute, "the clients", g.Wait)
	done()
	err = errors.Join(err, verdict.Within(time.Minute, "what is beside", beside.Wait))
	counts.Operations = int64(len(history))
	if err != nil {
		if v := new(verdict.Violation); errors.As(err, &v) {
			return counts, v
		}
		return counts, verdict.New(verdict.FalseAlarm, "%v", err)
	}
	if res := porcupine.CheckOperationsTimeout(register, history, 2*time.Minute); res != porcupine.Ok {
		return counts, verdict.New(verdict.Wrong, "seed %d: the history of a key is not linearizable (%v)", r.Seed, res)
	}
	if err := s.Close(); err != nil {
		return counts, verdict.New(verdict.FalseAlarm, "close: %v", err)
	}
	return counts, nil
}

// client runs operations one after another, and notes when each began and
// returned.
func (r Run) client(t *engine.Table, c int, start time.Time) (own []porcupine.Operation, err error) {
	rng := rand.New(rand.NewPCG(r.Seed, uint64(c)))
	for n := range r.Ops {
		in := input{key: rng.IntN(keys), write: rng.IntN(2) == 0}
		key := fmt.Appendf(nil, "k%02d", in.key)
		out := ""
		call := time.Since(start).Nanoseconds()
		wo := &engine.WriteOptions{NoSync: rng.IntN(4) > 0}
		switch {
		case in.write && rng.IntN(6) == 0:
			err = t.Delete(key, wo)
		case in.write:
			in.value = fmt.Sprintf("%d/%d/%s", c, n, work.Value(uint64(n), rng.IntN(800)))
			err = t.Put(key, []byte(in.value), wo)
		default:
			var v []byte
			if v, err = r.Get(t, key); errors.Is(err, engine.ErrNotFound) {
				err = nil
			}
			out = string(v)
		}
		if err != nil {
			return own, fmt.Errorf("client %d, operation %d: %w", c, n, err)
		}
		own = append(own, porcupine.Operation{ClientId: c, Input: in, Call: call, Output: out, Return: time.Since(start).Nanoseconds()})
	}
	return own, nil
}

// disturb flushes, compacts, snapshots, scans, and creates and drops other
// tables, until ctx ends.
func (r Run) disturb(ctx context.Context, s *engine.Store, t *engine.Table) error {
	rng := rand.New(rand.NewPCG(r.Seed, 99))
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		switch rng.IntN(6) {
		case 0:
			err = t.Flush()
		case 1:
			err = t.Compact(context.Background(), nil, nil)
		case 2:
			snap := fmt.Sprintf("s%d", n)
			if _, err = t.Snapshot(context.Background(), snap); err == nil {
				err = t.DropSnapshot(context.Background(), snap)
			}
		case 3:
			err = t.Close() // the next use opens it
		case 4:
			var o *engine.Table
			if o, err = s.CreateTable(context.Background(), "linear.other", engine.TableOptions{}); err == nil {
				err = o.Put([]byte("k"), []byte("v"), nil)
				_, derr := s.DropTable(context.Background(), "linear.other", engine.DropOptions{})
				err = errors.Join(err, derr)
			}
		case 5:
			last := ""
			for e, serr := range t.Scan(engine.ScanOptions{}) {
				if serr != nil {
					if !errors.Is(serr, engine.ErrClosed) {
						err = serr
					}
					break
				}
				if string(e.Key) <= last {
					return verdict.New(verdict.Wrong, "a scan gives %q after %q", e.Key, last)
				}
				last = string(e.Key)
			}
		}
		if err != nil {
			return fmt.Errorf("beside the clients: %w", err)
		}
	}
	return nil
}
