package crashfs

import (
	"fmt"
	"math/rand/v2"
)

// A Style says which of the legal states a crash leaves: what it keeps of what
// is not durable. A name that is not kept means what it durably did, so a
// removed file comes back. All but SyncedOnly and AllKept draw from a random
// source.
type Style uint8

const (
	// SyncedOnly keeps nothing: what was synced is there, and that alone.
	SyncedOnly Style = 0
	// AllKept keeps everything, as if all had been written just in time; but
	// not what a failed sync has left clean.
	AllKept Style = 1
	// Ordered keeps all up to a random mutation and nothing after it: a disk
	// that writes in order.
	Ordered Style = 2
	// Reordered keeps all from a random mutation on, and nothing that came
	// before.
	Reordered Style = 3
	// Sectors keeps names and lengths, and random sectors of the content. A
	// sector that was written several times may be found as it was in between.
	Sectors Style = 4
	// Torn keeps names and lengths. Some sectors begin with the bytes of one
	// version and end with those of the one before; in some files the first
	// torn sector is the end of what is kept.
	Torn Style = 5
	// Lengths keeps names and content, and of each file a random length
	// between the durable one and the last.
	Lengths Style = 6
	// Names keeps the content, and random names: each for itself.
	Names Style = 7
	// Zeros keeps names and lengths, and no content: what was never durable
	// reads as zeros.
	Zeros Style = 8
	// Garbage is Zeros with random bytes, or sectors of removed files, in
	// place of the zeros.
	Garbage Style = 9
	// Random keeps random sectors, lengths and names.
	Random Style = 10
	// Mixed draws another style for each file and directory.
	Mixed Style = 11
)

var styleNames = [...]string{"synced only", "all kept", "ordered", "reordered", "sectors", "torn",
	"lengths", "names", "zeros", "garbage", "random", "mixed"}

func (s Style) String() string {
	if int(s) < len(styleNames) {
		return styleNames[s]
	}
	return fmt.Sprintf("style %d", uint8(s))
}

// Styles returns all styles.
func Styles() []Style {
	all := make([]Style, len(styleNames))
	for i := range all {
		all[i] = Style(i)
	}
	return all
}

// A rule says which version of a thing is kept.
type rule uint8

const (
	durable  rule = iota // none that is not durable
	current              // the last
	anything             // a random one
	upTo                 // the last that is not after a mutation
	from                 // the last if it is not before a mutation, else none
)

// A filling is what is read where a file is long enough, but its content was
// never written to the disk.
type filling uint8

const (
	zeros    filling = iota
	garbage          // random bytes
	stale            // of a file that was removed
	patchy           // any of these, by the sector
	fillings = 4
)

// A plan is a style as drawn for a crash, or for one file or directory of it.
type plan struct {
	data, length, names rule
	at                  int  // the mutation, of upTo and from
	keep                int  // sectors kept, of anything; percent
	tear                int  // kept sectors that are torn, percent
	cut                 bool // keep the sectors before a random one, tear that, and no more
	fill                filling
}

// plan draws a plan. It does not touch rng for styles that draw nothing.
func (s Style) plan(rng *rand.Rand, m *Moment) plan {
	switch s {
	case SyncedOnly:
		return plan{}
	case AllKept:
		return plan{data: current, length: current, names: current}
	case Ordered, Reordered:
		p := plan{data: upTo, length: upTo, names: upTo, at: m.oldest + rng.IntN(m.op-m.oldest+2), fill: draw(rng)}
		if s == Ordered {
			p.at-- // from none to all
		} else {
			p.data, p.length, p.names = from, from, from
		}
		return p
	case Sectors:
		return plan{data: anything, length: current, names: current, keep: odds(rng), fill: draw(rng)}
	case Torn:
		return plan{data: anything, length: current, names: current, keep: 80, tear: odds(rng), cut: rng.IntN(2) == 0, fill: draw(rng)}
	case Lengths:
		return plan{data: current, length: anything, names: current}
	case Names:
		return plan{data: current, length: current, names: anything}
	case Zeros:
		return plan{data: durable, length: current, names: current}
	case Garbage:
		return plan{data: durable, length: current, names: current, fill: garbage + filling(rng.IntN(2))}
	case Mixed:
		return Style(rng.IntN(int(Mixed))).plan(rng, m)
	}
	return plan{data: anything, length: anything, names: anything, keep: odds(rng), tear: rng.IntN(3) * 10, cut: rng.IntN(8) == 0, fill: draw(rng)}
}

func draw(rng *rand.Rand) filling { return filling(rng.IntN(fillings)) }

func odds(rng *rand.Rand) int { return []int{5, 25, 50, 75, 95}[rng.IntN(5)] }
