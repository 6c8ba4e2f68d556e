package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
	"github.com/cofredb/cofre/keyring"
)

// A base is the disk that scenarios begin with.
type base struct {
	at    *crashfs.Moment
	world *oracle.World
	seed  uint64
}

func options(fs *crashfs.FS) engine.Options {
	return engine.Options{RootKey: work.NewRoot("fault"), Roots: []keyring.RootKey{work.NewRoot("fault-other")}, FS: fs, IdleTimeout: -1, UnitSize: 256, MemoryBudget: 1 << 20, DiskFullWait: -1}
}

func newBase(seed uint64) (*base, error) {
	b := &base{world: &oracle.World{}, seed: seed}
	fs := crashfs.New(crashfs.Options{})
	e := &work.Engine{Options: options(fs), World: b.world}
	if err := e.Open(); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, name := range []string{table, other} {
		if err := e.Create(name); err != nil {
			return nil, err
		}
		for range 40 {
			if err := e.Write(name, someWrite(rng), true); err != nil {
				return nil, err
			}
		}
		if err := e.Snapshot(name, "before"); err != nil {
			return nil, err
		}
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	b.at = fs.Moment()
	return b, nil
}

// someWrite is a random write on few keys.
func someWrite(rng *rand.Rand) []oracle.Effect {
	one := func() oracle.Effect {
		k := fmt.Sprintf("k%02d", rng.IntN(40))
		switch n := rng.IntN(10); {
		case n < 7:
			return oracle.Effect{Kind: oracle.Put, A: k, B: work.Value(rng.Uint64(), rng.IntN(1+rng.IntN(6000)))}
		case n < 9:
			return oracle.Effect{Kind: oracle.Delete, A: k}
		}
		return oracle.Effect{Kind: oracle.DeleteRange, A: k, B: k + "x"}
	}
	w := []oracle.Effect{one()}
	if rng.IntN(4) == 0 {
		w = append(w, one(), one(), one())
	}
	return w
}

// crash makes the base one that was not closed: with a flush before the last
// writes, so that the one of recovery makes a compaction due beside the open.
func (b *base) crash() error {
	t := b.try(way{}, nil)
	if err := t.e.Open(); err != nil {
		return err
	}
	for _, name := range []string{table, other} {
		for n := range 24 {
			if err := t.e.Write(name, someWrite(t.rng), true); err != nil {
				return err
			}
			if n == 11 {
				if err := t.e.Flush(name); err != nil {
					return err
				}
			}
		}
	}
	b.world = t.e.World.Clone(func() { b.at = t.fs.Moment() })
	return t.e.Close()
}

// count runs a scenario without a fault: of what kinds the operations are that
// may fail.
func (b *base) count(sc scenario, w way) ([]crashfs.Kind, error) {
	t := b.try(w, nil)
	if err := t.prepare(sc); err != nil {
		return nil, err
	}
	var mu sync.Mutex // Pebble's goroutines go on when the scenario has ended
	var kinds []crashfs.Kind
	t.fs.OnOp(func(_ int, op crashfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, op.Kind)
	})
	reads := t.fs.Reads()
	sc.run(t)
	reads = t.fs.Reads() - reads
	t.fs.OnOp(nil)
	if len(t.errs) > 0 {
		return nil, verdict.New(verdict.FalseAlarm, "%v", errors.Join(t.errs...))
	}
	if t.e.Store != nil {
		if err := t.close(); err != nil {
			return nil, verdict.New(verdict.FalseAlarm, "close: %v", err)
		}
	}
	if w.fault == crashfs.ReadEIO {
		return slices.Repeat([]crashfs.Kind{crashfs.OpRead}, reads), nil
	}
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(kinds), nil
}
