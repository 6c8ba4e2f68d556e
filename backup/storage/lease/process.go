package lease

import "os"

// What is known of a holder's process.
type state int

const (
	unknown state = iota
	alive
	dead
)

// self describes this process.
func self() record {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	pid := os.Getpid()
	boot := bootID()
	r := record{Host: clip(host), PID: pid, Boot: clip(boot)}
	if boot != "" {
		r.Start = clip(startOf(pid))
	}
	return r
}

// state tells whether a holder's process lives. It knows only of processes
// that this one can see: of the same boot of the same machine, in the same
// namespace.
func (r *record) state() state {
	if boot := bootID(); boot == "" || r.Boot != boot || r.PID <= 0 {
		return unknown
	}
	if !exists(r.PID) {
		return dead
	}
	switch start := startOf(r.PID); {
	case start == "" || r.Start == "":
		return unknown
	case start != r.Start:
		return dead // the number is another's now
	}
	return alive
}
