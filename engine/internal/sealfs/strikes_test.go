package sealfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cofredb/cofre/keyring"
)

// strikes make reads below the sealing FS fail at random, with
// errorfs.ErrInjected. Struck are all reads of the database's own files and of
// tables to be ingested, openings of tables, and the look at their sizes.
//
// Not struck is what Pebble ends the process for: the directory handle that a
// marker needs, the look at a log to be recycled, and the listing at the end of
// Open, which leaves its goroutines at work on caches that are closed. Package
// hole has an answer to each. Nor what the suite does not try again: files of
// its own in "external", and a value that is read when its key has been found.
// (Pebble's Get then returns an empty value and no error, and only the closer
// tells; the engine asks it.)
type strikes struct {
	rate float64

	mu    sync.Mutex // guards all below
	left  int        // so many more: what is tried again must succeed at last
	on    bool
	rng   *rand.Rand
	count map[string]int // by what was read
}

// maxStrikes is how often a run is struck. A compaction makes hundreds of reads
// and begins anew after each that fails.
const maxStrikes = 100

func newStrikes(seed uint64, rate float64) *strikes {
	return &strikes{rate: rate, left: maxStrikes, rng: rand.New(rand.NewPCG(seed, 3)), count: make(map[string]int)}
}

func (s *strikes) String() string { return fmt.Sprintf("reads fail at %g", s.rate) }

// turn makes them begin or end.
func (s *strikes) turn(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// MaybeError is asked before each operation.
func (s *strikes) MaybeError(op errorfs.Op) error {
	what := struck(op)
	if what == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || s.left == 0 || s.rng.Float64() >= s.rate || spared(what) {
		return nil
	}
	s.left--
	s.count[what]++
	return errorfs.ErrInjected
}

// spared tells whether an iterator above is at a value that it has left for
// later, or may wait to get there: all who want a blob share one opening of it,
// and its error.
func spared(what string) bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "(*Iterator).ValueAndErr") ||
			what == "blob" && strings.HasSuffix(f.Function, "(*fileCacheHandle).openFile") {
			return true
		}
		if !more {
			return false
		}
	}
}

// struck is what kind of file an operation reads; "" if it is not to fail.
func struck(op errorfs.Op) string {
	if dir := filepath.Dir(op.Path); dir != metaDir && dir != filepath.Join(metaDir, "tmp") {
		return ""
	}
	fn := parseWide(filepath.Base(op.Path))
	switch op.Kind {
	case errorfs.OpFileRead, errorfs.OpFileReadAt:
	case errorfs.OpOpen, errorfs.OpStat, errorfs.OpFileStat:
		if fn.class != classTable {
			return ""
		}
	default:
		return ""
	}
	switch fn.class {
	case classTable:
		if fn.kind == keyring.KindBlob {
			return "blob"
		}
		return "sst"
	case classLog:
		return "log"
	case classManifest:
		return "manifest"
	case classOptions:
		return "options"
	}
	return ""
}

func formatCounts(count map[string]int) string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%s %d", what, count[what]))
	}
	return strings.Join(list, ", ")
}
