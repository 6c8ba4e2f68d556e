package workload

import (
	"math"
	"math/rand/v2"
)

// Keys says how rows are chosen.
type Keys uint8

const (
	Uniform Keys = 0
	Zipfian Keys = 1
	Latest  Keys = 2 // Zipfian from the newest row backwards
)

func (k Keys) String() string {
	return [...]string{"uniform", "zipfian", "latest"}[k]
}

// zipfConstant is YCSB's.
const zipfConstant = 0.99

// A zipf draws ranks from 0 to n-1, rank k with a probability in proportion to
// (k+1)^-s, by rejection-inversion (Hörmann, Derflinger, "Rejection-inversion
// to generate variates from monotone discrete distributions", 1996). It is
// exact for any n, without a table or sum over n: n may grow while it is used.
type zipf struct {
	s      float64
	first  float64 // the integral up to the first rank, less its weight
	accept float64 // distance within which no test is needed
}

func newZipf(s float64) *zipf {
	z := &zipf{s: s}
	z.first = z.integral(1.5) - 1
	z.accept = 2 - z.inverse(z.integral(2.5)-math.Pow(2, -s))
	return z
}

// integral is that of x^-s from 1 on; inverse undoes it.
func (z *zipf) integral(x float64) float64 { return (math.Pow(x, 1-z.s) - 1) / (1 - z.s) }
func (z *zipf) inverse(y float64) float64  { return math.Pow(1+y*(1-z.s), 1/(1-z.s)) }

func (z *zipf) rank(rng *rand.Rand, n uint64) uint64 {
	last := z.integral(float64(n) + 0.5)
	for {
		u := last + rng.Float64()*(z.first-last)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), float64(n))
		if k-x <= z.accept || u >= z.integral(k+0.5)-math.Pow(k, -z.s) {
			return uint64(k) - 1
		}
	}
}
