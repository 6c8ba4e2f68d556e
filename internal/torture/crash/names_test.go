package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// An odd is a source of random numbers that are all the same but for one. Where
// names are drawn, it keeps all of them but one, or one alone.
type odd struct {
	at, n int
	none  bool // the others keep nothing
}

// What draws the first of the versions of a name, which is the last made, and
// what draws the durable one.
const first, durable = 0x1000_0000_0000_0000, ^uint64(first)

func (o *odd) Uint64() uint64 {
	o.n++
	if (o.n-1 == o.at) == o.none {
		return first
	}
	return durable
}

// TestNames lives a short life and cuts the power after each change of a name.
// Of the names that are not durable then, the disk has kept none, all but one,
// or one alone: each in turn.
func TestNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/names.txt")
	require.NoError(t, err)
	ops, err := work.ParseAll(string(text))
	require.NoError(t, err)
	fs, world := crashfs.New(crashfs.Options{}), &oracle.World{}
	var mu sync.Mutex
	var moments []moment
	fs.OnOp(func(_ int, op crashfs.Op) {
		switch op.Kind {
		case crashfs.OpCreate, crashfs.OpMkdir, crashfs.OpLink, crashfs.OpRename, crashfs.OpRemove:
		default:
			return
		}
		mu.Lock()
		defer mu.Unlock()
		m := moment{op: op.String()}
		m.world = world.Clone(func() { m.at = fs.Moment() })
		moments = append(moments, m)
	})
	r := &Run{}
	e := &work.Engine{Options: r.options(fs), World: world}
	require.NoError(t, e.Open())
	for _, op := range ops {
		require.Equal(t, "ok", op.Run(e), "%s", op)
	}
	require.NoError(t, e.Close())

	mu.Lock()
	lived := moments
	moments = nil // later operations are of no interest
	mu.Unlock()
	var states []leftover
	for i := range lived {
		seen := make(map[string]bool)
		for _, none := range []bool{false, true} {
			for n, drawn := 0, 1; n < drawn; n++ {
				o := &odd{at: n, none: none}
				l := leftover{moment: &lived[i], disk: lived[i].at.Crash(rand.New(o), crashfs.Names), lone: none, n: n}
				drawn = o.n
				if names := listing(t, l.disk); !seen[names] {
					seen[names] = true
					states = append(states, l)
				}
			}
		}
	}
	t.Logf("%d moments, %d states", len(lived), len(states))
	require.Greater(t, len(states), len(lived))
	var g errgroup.Group
	g.SetLimit(2)
	for i, st := range states {
		if testing.Short() && i%12 != 0 {
			continue
		}
		g.Go(func() error { return st.check(r) })
	}
	require.NoError(t, g.Wait())
}

// A leftover is what a crash has left of the names.
type leftover struct {
	*moment
	disk *crashfs.FS
	lone bool // one name alone was kept, or lost
	n    int  // which
}

// check opens the store, holds it against its world, and closes it.
func (l *leftover) check(r *Run) (err error) {
	defer func() {
		err = verdict.In(err, "mutation %d (%s), name %d, kept alone: %v", l.at.Op(), l.op, l.n, l.lone)
	}()
	w := l.world.Clone(nil)
	e := &work.Engine{Options: r.options(l.disk), World: w}
	if w.IsMade() {
		e.Options.Mode = engine.MustExist
	}
	if err := e.Open(); err != nil {
		return alarm("open", err)
	}
	err = w.Match(context.Background(), e)
	return errors.Join(err, e.Close())
}

// listing is every path of a file system.
func listing(t *testing.T, fs vfs.FS) string {
	var paths []string
	var list func(dir string)
	list = func(dir string) {
		names, err := fs.List(dir)
		require.NoError(t, err)
		for _, n := range names {
			p := fs.PathJoin(dir, n)
			info, err := fs.Stat(p)
			require.NoError(t, err)
			if paths = append(paths, p); info.IsDir() {
				list(p)
			}
		}
	}
	list("/")
	slices.Sort(paths)
	return strings.Join(paths, "\n")
}
