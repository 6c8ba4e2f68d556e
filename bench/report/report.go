// Package report is what a run of the benchmark leaves: a document of every
// figure of every round, and what is made of it: a table for a terminal, a page
// with charts, and the comparison of two runs.
//
// The document holds what was measured and nothing derived. Medians, ratios and
// spreads are computed from it, so that a reader can compute them anew.
//
// Read reads a document, Report.Compare asks it for a ratio, and these write what
// people look at:
//
//	WriteText      the table of every system and workload, 100 characters wide
//	WritePrice     the short form, a line a workload
//	WriteMarkdown  the main table for a document
//	WriteSVG       the main chart as an image
//	WriteHTML      all of it as one page that loads nothing
//
// A ratio is computed round by round, of turns that ran next to each other. Its
// figure is the median of those, its spread the lowest and the highest. Targets
// are data in targets.go, and all forms mark them as met or missed.
//
// Compare compares two documents. It judges by ratios to the baseline inside each
// run, and calls nothing a change that does not stand out of the noise.
//
// A document may come from anywhere: all forms escape what it says.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Format is the version of the document. It rises when a reader of the former
// one would misread the new one.
const Format = 1

// A Report is one run.
type Report struct {
	Format   int       `json:"format"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // the whole run, loading and checking included
	Command  []string  `json:"command"` // arguments, without the program
	Partial  string    `json:"partial,omitempty"`
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Baseline string    `json:"baseline"` // the system that ratios refer to
	Systems  []System  `json:"systems"`  // in the order of the report
	Results  []Result  `json:"results"`  // by workload and value, in the order of the run; then by system
}

// Machine says where the run took place.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	AES        bool    `json:"aes"`    // the processor has AES instructions
	Memory     int64   `json:"memory"` // bytes
	OS         string  `json:"os"`     // with the kernel's version
	FileSystem string  `json:"fileSystem"`
	Go         string  `json:"go"`
	GoOptions  string  `json:"goOptions,omitempty"` // what the environment sets of the runtime
	Revision   string  `json:"revision"`            // of Cofre's source, or ""
	SyncMicros float64 `json:"syncMicros"`          // median of a 4 KiB write and fdatasync, in microseconds
	GCMMicros  float64 `json:"gcmMicros"`           // AES-256-GCM, opening 4 KiB, on one core
}

// Settings are those that hold for the whole run.
type Settings struct {
	Rows    int    `json:"rows"`  // of a loaded table, at the main value size
	Value   string `json:"value"` // main value size, as in --value
	Data    int64  `json:"data"`  // bytes of such a table's rows
	Rounds  int    `json:"rounds"`
	Cache   int64  `json:"cache"` // bytes, each system
	Seed    uint64 `json:"seed"`
	Durable string `json:"durable"` // how durable writes are, in words
	// MaxSeconds bounds a turn's measured part; a slower system is stopped there,
	// and after two such turns has no more of the workload.
	MaxSeconds float64 `json:"maxSeconds"`
}

// A System is a store that took part.
type System struct {
	Name          string `json:"name"`
	Title         string `json:"title"`
	Version       string `json:"version"`
	Encrypted     bool   `json:"encrypted"`
	Authenticated bool   `json:"authenticated"`
	Options       string `json:"options"`
}

// A Result is one workload on one system.
type Result struct {
	Workload string  `json:"workload"`
	Value    string  `json:"value"` // size of values, as in --value
	Class    string  `json:"class"` // write, synced, read, scan, mixed, keys, upkeep
	System   string  `json:"system"`
	Rounds   []Round `json:"rounds"`
	Failed   string  `json:"failed,omitempty"`  // what the system did wrong; it has no rounds then
	Skipped  string  `json:"skipped,omitempty"` // why it cannot be measured here; it has no rounds then
}

// A Round is one turn of a system. Rounds of the same number of all systems ran
// next to each other: they are what ratios compare.
type Round struct {
	Number  int     `json:"round"`
	Ops     int64   `json:"ops"`
	Seconds float64 `json:"seconds"` // until the work, with what it left to the background, was done
	// Front is the time until the last operation had returned; Seconds less Front
	// is the background's.
	Front       float64  `json:"front"`
	CPU         float64  `json:"cpu"`               // seconds, user and system, of the whole process
	Latency     *Latency `json:"latency,omitempty"` // nil where an operation is not one call
	UserBytes   int64    `json:"userBytes"`         // keys and values that were written
	DiskWritten int64    `json:"diskWritten"`       // bytes that the process sent to disk; -1: not known
	Space       int64    `json:"space"`             // bytes of its files after the turn and a close, a file with several names once
	PeakMemory  int64    `json:"peakMemory"`        // bytes resident, at most; -1: not known
	Allocs      int64    `json:"allocs"`            // objects
	AllocBytes  int64    `json:"allocBytes"`
	Stopped     bool     `json:"stopped,omitempty"` // at MaxSeconds, before all operations were done
	Checked     int64    `json:"checked"`           // rows that were compared with what they should be, after the turn
	// Phases are the latencies before, during and after the events of a turn that
	// has events: a third of its operations each. The fourth are those during the events
	// that one ran beside.
	Phases   []Latency `json:"phases,omitempty"`
	Timeline []Point   `json:"timeline,omitempty"`
	Events   []Event   `json:"events,omitempty"`
}

// Latency is the time that single operations took, in nanoseconds.
type Latency struct {
	Mean int64 `json:"mean"`
	P50  int64 `json:"p50"`
	P95  int64 `json:"p95"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
	// Curve is the latency at rising quantiles, for drawing: quantile, nanoseconds.
	Curve [][2]float64 `json:"curve"`
}

// A Point is the throughput of one interval of a turn.
type Point struct {
	At  float64 `json:"at"`  // seconds since the turn's first operation, the interval's end
	Ops int64   `json:"ops"` // operations that ended in it
	P99 int64   `json:"p99"` // nanoseconds, of those operations
}

// An Event is something that happened during a turn, such as a rotation.
type Event struct {
	At      float64 `json:"at"` // seconds since the turn's first operation
	Seconds float64 `json:"seconds"`
	Name    string  `json:"name"`
}

// Write writes the document: its head for readers, and then a line for each
// result, because the figures are many.
func (r *Report) Write(w io.Writer) error {
	head := *r
	head.Results = nil
	text, err := json.MarshalIndent(&head, "", " ")
	if err != nil {
		return err
	}
	text, ok := bytes.CutSuffix(text, []byte("null\n}"))
	if !ok {
		return errors.New("results are not the last field of the document")
	}
	text = append(text, "[\n"...)
	for i := range r.Results {
		line, err := json.Marshal(&r.Results[i])
		if err != nil {
			return err
		}
		text = append(append(text, "  "...), line...)
		if i < len(r.Results)-1 {
			text = append(text, ',')
		}
		text = append(text, '\n')
	}
	_, err = w.Write(append(text, " ]\n}\n"...))
	return err
}

// Read reads a document that Write wrote. It fails on one of another format,
// and on one with fields that it does not know.
func Read(rd io.Reader) (*Report, error) {
	d := json.NewDecoder(rd)
	d.DisallowUnknownFields()
	r := new(Report)
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("not a benchmark report: %w", err)
	}
	if d.More() {
		return nil, errors.New("not a benchmark report: more than one document")
	}
	if r.Format != Format {
		return nil, fmt.Errorf("the report has format %d, this program reads format %d", r.Format, Format)
	}
	return r, nil
}
