package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// ErrRecord: the register does not hold what a lock's does, or that of a newer
// version. Somebody else has written it.
var ErrRecord = errors.New("malformed lock")

// recordVersion is the version of the record, which is JSON. A record of
// another is not understood, and its lock not taken.
const recordVersion = 1

// Bounds of what a record may say.
const (
	minTTL    = time.Second
	maxTTL    = time.Hour
	maxText   = 256
	maxRecord = 8 << 10
)

// A Holder is who holds a lock, as it said itself.
type Holder struct {
	Host      string    // name of the machine
	PID       int       // number of the process
	Operation string    // what it does
	Since     time.Time // by its clock
	ID        string    // random; another for each time the lock is taken
}

func (h Holder) String() string {
	return fmt.Sprintf("%q (process %d on host %q, since %s)", h.Operation, h.PID, h.Host, h.Since.UTC().Format(time.RFC3339))
}

// A record is what the register holds.
type record struct {
	Version   int       `json:"version"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Boot      string    `json:"boot,omitempty"`  // names the boot of the machine and the namespace of its processes
	Start     string    `json:"start,omitempty"` // when the process was started, in the system's units
	Operation string    `json:"operation"`
	Since     time.Time `json:"since"`
	ID        string    `json:"id"`
	Counter   uint64    `json:"counter"`
	TTL       int64     `json:"ttl_ms"`
	Released  bool      `json:"released,omitempty"`
}

func (r *record) holder() Holder {
	return Holder{Host: r.Host, PID: r.PID, Operation: r.Operation, Since: r.Since, ID: r.ID}
}

func (r *record) ttl() time.Duration { return time.Duration(r.TTL) * time.Millisecond }

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

func parse(b []byte) (*record, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes", ErrRecord, len(b))
	}
	r := new(record)
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("%w: not JSON of a lock", ErrRecord)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more follows it", ErrRecord)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrRecord, r.Version, recordVersion)
	}
	if ms := int64(maxTTL / time.Millisecond); r.TTL < int64(minTTL/time.Millisecond) || r.TTL > ms {
		return nil, fmt.Errorf("%w: TTL of %d ms", ErrRecord, r.TTL)
	}
	for _, s := range []string{r.Host, r.Boot, r.Start, r.Operation, r.ID} {
		if len(s) > maxText {
			return nil, fmt.Errorf("%w: a text of %d bytes", ErrRecord, len(s))
		}
	}
	if r.ID == "" {
		return nil, fmt.Errorf("%w: no id", ErrRecord)
	}
	return r, nil
}

// clip makes a text one that a record may have.
func clip(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
