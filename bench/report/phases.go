package report

// rotations is how many events there were, in all rounds, beside operations
// whose latencies before, during and after them are known.
func (x *Result) rotations() (n int) {
	for _, r := range x.Rounds {
		if len(r.Phases) >= 3 {
			n += len(r.Events)
		}
	}
	return n
}

// phaseP99 is the p99 before, during and after the events, and of what one ran beside,
// in nanoseconds: medians over rounds. 0 where it is not known.
func (x *Result) phaseP99() (p99 [4]float64) {
	for p := range p99 {
		var all []float64
		for _, r := range x.Rounds {
			if p < len(r.Phases) {
				all = append(all, float64(r.Phases[p].P99))
			}
		}
		if len(all) > 0 {
			p99[p] = Summarize(all).Median
		}
	}
	return p99
}

// eventSeconds is the median time that an event took.
func (x *Result) eventSeconds() float64 {
	var all []float64
	for _, r := range x.Rounds {
		for _, e := range r.Events {
			all = append(all, e.Seconds)
		}
	}
	return Summarize(all).Median
}
