package workload

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// KeyLen is the length of every key, in bytes.
const KeyLen = len(keyPrefix) + 16

const (
	keyPrefix = "user"
	stampLen  = 16      // index, version, seed
	poolLen   = 2 << 20 // bytes of text that values are cut from
	// MaxValue bounds a value, in bytes.
	MaxValue = 1 << 20
)

// A Size says how long values are: all the same, or mixed.
type Size struct {
	bytes int // 0: mixed
}

// Mixed values: most are small, most bytes are in large ones. Per mille of the
// rows, and the range of lengths in bytes, uniform within it.
var mix = []struct{ permille, from, to int }{
	{700, 64, 512},
	{250, 512, 4 << 10},
	{45, 4 << 10, 16 << 10},
	{5, 16 << 10, 128 << 10},
}

// ParseSize reads a size: "mixed", a number of bytes, or one with KiB or MiB.
func ParseSize(s string) (Size, error) {
	if s == "mixed" {
		return Size{}, nil
	}
	number, unit := s, 1
	for suffix, n := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "B": 1} {
		if before, ok := strings.CutSuffix(s, suffix); ok && !(suffix == "B" && strings.HasSuffix(before, "i")) {
			number, unit = before, n
		}
	}
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || n < 0 {
		return Size{}, fmt.Errorf("a value size is a number of bytes, such as 100 or 64KiB, or \"mixed\": %q is neither", s)
	}
	if n > MaxValue/unit || n*unit < stampLen {
		return Size{}, fmt.Errorf("a value has %d bytes to %d MiB, not %q", stampLen, MaxValue>>20, s)
	}
	return Size{n * unit}, nil
}

func (s Size) String() string {
	switch {
	case s.bytes == 0:
		return "mixed"
	case s.bytes%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", s.bytes>>20)
	case s.bytes%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", s.bytes>>10)
	}
	return strconv.Itoa(s.bytes)
}

// Mean is the mean length of a value, in bytes.
func (s Size) Mean() int {
	if s.bytes > 0 {
		return s.bytes
	}
	sum := 0
	for _, m := range mix {
		sum += m.permille * (m.from + m.to) / 2
	}
	return sum / 1000
}

// of is the length of a value that hashes to h.
func (s Size) of(h uint64) int {
	if s.bytes > 0 {
		return s.bytes
	}
	p := int(h % 1000)
	for _, m := range mix {
		if p < m.permille {
			return m.from + int(h>>20)%(m.to-m.from)
		}
		p -= m.permille
	}
	return mix[0].from
}

// Data makes keys and values. It is safe for concurrent use.
type Data struct {
	seed    uint64
	size    Size
	ordered bool
	pool    []byte
}

// NewData returns the rows of a seed. Ordered keys rise with the row's index,
// others are hashed.
func NewData(seed uint64, size Size, ordered bool) *Data {
	return &Data{seed: seed, size: size, ordered: ordered, pool: text(seed)}
}

// AppendKey appends the key of row i to dst.
func (d *Data) AppendKey(dst []byte, i uint64) []byte {
	if !d.ordered {
		i = mix64(i)
	}
	return d.appendHash(dst, i)
}

// appendHash appends the key at place h of the order of keys.
func (d *Data) appendHash(dst []byte, h uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], h)
	return hex.AppendEncode(append(dst, keyPrefix...), b[:])
}

// hash is the place of row i in the order of keys.
func (d *Data) hash(i uint64) uint64 {
	if d.ordered {
		return i
	}
	return mix64(i)
}

// Index is the row of a key; false means that no row has such a key.
func (d *Data) Index(key []byte) (i uint64, ok bool) {
	var b [8]byte
	if len(key) != KeyLen || string(key[:len(keyPrefix)]) != keyPrefix {
		return 0, false
	}
	if _, err := hex.Decode(b[:], key[len(keyPrefix):]); err != nil {
		return 0, false
	}
	i = binary.BigEndian.Uint64(b[:])
	if !d.ordered {
		i = unmix64(i)
	}
	return i, true
}

// AppendValue appends the value that row i has when it was written version
// times.
func (d *Data) AppendValue(dst []byte, i uint64, version uint32) []byte {
	body := d.body(i, version)
	dst = binary.LittleEndian.AppendUint64(dst, i)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(d.seed))
	return append(dst, body...)
}

// body is a value but for its stamp.
func (d *Data) body(i uint64, version uint32) []byte {
	h := mix64(i ^ d.seed*0x9e3779b97f4a7c15 ^ uint64(version)<<40)
	n := d.size.of(h) - stampLen
	at := int((h >> 8) % uint64(len(d.pool)-n))
	return d.pool[at : at+n]
}

// stamp reads what a value says it is.
func (d *Data) stamp(value []byte) (i uint64, version uint32, ok bool) {
	if len(value) < stampLen || binary.LittleEndian.Uint32(value[12:]) != uint32(d.seed) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint32(value[8:]), true
}

// check compares a whole value with what row i holds at version.
func (d *Data) check(i uint64, version uint32, value []byte) error {
	gotRow, gotVersion, ok := d.stamp(value)
	switch {
	case !ok:
		return fmt.Errorf("row %d: the value of %d bytes was never written", i, len(value))
	case gotRow != i:
		return fmt.Errorf("row %d: has the value of row %d", i, gotRow)
	case gotVersion != version:
		return fmt.Errorf("row %d: has version %d, %d was acknowledged", i, gotVersion, version)
	case !bytes.Equal(value[stampLen:], d.body(i, version)):
		return fmt.Errorf("row %d: its value differs from the one that was written", i)
	}
	return nil
}

// mix64 is a bijection that scatters: the finalizer of SplitMix64 (Steele, Lea,
// Flood, OOPSLA 2014).
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unmix64 undoes mix64: by the inverses of its factors modulo 2^64, and of its
// shifts.
func unmix64(z uint64) uint64 {
	z = (z ^ z>>31 ^ z>>62) * 0x319642b2d24d8ec3
	z = (z ^ z>>27 ^ z>>54) * 0x96de1b173f119089
	return z ^ z>>30 ^ z>>60
}

// text is what values are cut from: records with names that come again, and
// numbers and identifiers that do not.
func text(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 0x7465787473))
	words := make([]string, 200)
	for i := range words {
		w := make([]byte, 3+rng.IntN(8))
		for j := range w {
			w[j] = byte('a' + rng.IntN(26))
		}
		words[i] = string(w)
	}
	word := func() string { return words[rng.IntN(1+rng.IntN(len(words)))] } // small numbers are common
	b := make([]byte, 0, poolLen+1024)
	for len(b) < poolLen {
		b = fmt.Appendf(b, `{"id":"%016x","name":"%s %s","at":%d,"amount":%d.%02d,"state":"%s","token":"`,
			rng.Uint64(), word(), word(), 1_700_000_000+rng.IntN(1<<27), rng.IntN(5000), rng.IntN(100), word())
		b = strconv.AppendUint(b, rng.Uint64(), 36)
		b = append(b, `","text":"`...)
		for range 8 + rng.IntN(16) {
			b = append(append(b, word()...), ' ')
		}
		b = append(b, `"}`...)
	}
	return b[:poolLen]
}
