package kill

import (
	"bufio"
	"io"
	"os"
	"regexp"
	"strings"
)

// A sysCall is one that strace has logged.
type sysCall struct {
	name     string
	thread   string
	index    int  // from 1, among those of its name and thread: as strace counts
	ours     bool // on a file of the store or of the key service
	injected bool // strace has made it fail
}

// logLine is the begin of a line of strace -f: the thread and the call, which
// begins here or goes on from an earlier line.
var logLine = regexp.MustCompile(`^([0-9]+) +(<\.\.\. )?([a-z0-9_]+)(\(| resumed>)`)

// readTrace reads the log of a child whose files are in dir.
func readTrace(log, dir string) ([]sysCall, error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTrace(f, dir)
}

func parseTrace(r io.Reader, dir string) ([]sysCall, error) {
	var calls []sysCall
	type site struct{ thread, name string }
	count := make(map[site]int)
	last := make(map[site]int) // its position in calls
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return calls, nil // a torn last line is that of a child that was killed
		}
		if err != nil {
			return nil, err
		}
		m := logLine.FindStringSubmatch(line)
		if m == nil {
			continue // a signal, the end of a thread
		}
		s := site{m[1], m[3]}
		if m[2] == "" {
			count[s]++
			last[s] = len(calls)
			calls = append(calls, sysCall{name: s.name, thread: s.thread, index: count[s]})
		} else if count[s] == 0 {
			continue
		}
		c := &calls[last[s]]
		c.ours = c.ours || strings.Contains(line, dir)
		c.injected = c.injected || strings.HasSuffix(line, "(INJECTED)\n")
	}
}

// onlyOurs are the calls on files of the store.
func onlyOurs(calls []sysCall) (ours []sysCall) {
	for _, c := range calls {
		if c.ours {
			ours = append(ours, c)
		}
	}
	return ours
}

// startup is how many calls the first thread makes before any is on a file of
// the store: those that load the program, which cannot begin if they fail.
func startup(calls []sysCall) (n int) {
	for _, c := range calls {
		if c.ours {
			break
		}
		if c.thread == calls[0].thread {
			n++
		}
	}
	return n
}

// injected counts the calls on files of the store that strace has made fail.
func injected(calls []sysCall) (n int) {
	for _, c := range onlyOurs(calls) {
		if c.injected {
			n++
		}
	}
	return n
}
