package work

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Value makes the n-th value, of a length. Half of it compresses.
func Value(n uint64, length int) string {
	if length == 0 {
		return ""
	}
	b := make([]byte, 0, length+8)
	b = append(b, strconv.FormatUint(n, 36)...)
	rng := rand.New(rand.NewPCG(n, uint64(length)))
	for len(b) < length {
		x := rng.Uint64()
		if x&1 == 0 {
			b = append(b, "the safe "...)
			continue
		}
		for range 8 {
			b = append(b, byte(x))
			x >>= 8
		}
	}
	return string(b[:length])
}

func valueArg(n uint64, length int) string { return fmt.Sprintf("%dx%d", n, length) }

// parseValue makes a value from its argument; an odd one is a value as it is.
func parseValue(arg string) string {
	a, b, ok := strings.Cut(arg, "x")
	n, err := strconv.ParseUint(a, 10, 64)
	length, lerr := strconv.Atoi(b)
	if !ok || err != nil || lerr != nil || length < 0 || length > 64<<20 {
		return arg
	}
	return Value(n, length)
}

// digest is a value as answers show it.
func digest(v string) string {
	h := fnv.New64a()
	h.Write([]byte(v))
	return fmt.Sprintf("%d:%x", len(v), h.Sum64())
}
