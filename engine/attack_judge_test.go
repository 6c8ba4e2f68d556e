package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cofredb/cofre/keyring"
)

// What must come of an attack.
type attackVerdict string

const (
	failsOpen     attackVerdict = "O"   // an error when store or table opens
	failsRead     attackVerdict = "OR"  // an error at open or when what it hit is read
	failsSnapshot attackVerdict = "S"   // an error when the snapshot opens or is read
	keepsPrefix   attackVerdict = "O/P" // an error at open, or an exact prefix of the writes
	losesNothing  attackVerdict = "-"   // no error, nothing lost
	failsOrKeeps  attackVerdict = "O/-" // an error at open, or no error and nothing lost
	documented    attackVerdict = "X"   // an error at open, or an older state, as documented
)

// A requirement is what the matrix says of an attack.
type requirement struct {
	verdict attackVerdict
	verify  bool  // Verify names file and offset
	warns   bool  // Verify warns and finds no fault
	class   error // of the error; nil is ErrCorruption
	loose   bool  // the error may name another file
	keys    bool  // the error may say instead that no key fits
	both    bool  // both tables are concerned
}

// judge tells what came of an attack: in one word, and what is wrong with it,
// if anything.
func (v *victim) judge(req requirement, o *outcome) (word, fault string) {
	if o.broken != "" {
		return "broken", o.broken
	}
	if o.memory > attackMemory {
		return "memory", fmt.Sprintf("%d bytes were allocated", o.memory)
	}
	for name, to := range o.tables {
		if len(to.lies) > 0 {
			return "lie", name + ": " + strings.Join(to.lies, "; ")
		}
		if name != v.table && !req.both {
			if f := v.whole(name, to); f != "" {
				return "lie", name + ", which was not touched: " + f
			}
		}
	}
	word, fault, err := v.stage(req, o)
	if fault != "" {
		return word, fault
	}
	if err != nil {
		if fault := v.named(req, err); fault != "" {
			return word, fault
		}
	} else if o.closing != nil {
		return word, "close: " + o.closing.Error()
	}
	found := v.found(o)
	switch {
	case req.verify && found == "":
		return word, fmt.Sprintf("Verify does not name %v (offset %d): %s", v.paths, v.offset, findings(o.verify))
	case req.warns && (found != "warning" || slices.ContainsFunc(o.verify, func(f Finding) bool { return !f.Warning })):
		return word, "Verify should warn, and only warn: " + findings(o.verify)
	case req.verdict == failsRead && err == nil && found != "fault":
		return word, "neither reads nor Verify find it"
	}
	return word, ""
}

// stage tells at which stage the attack was found.
func (v *victim) stage(req requirement, o *outcome) (word, fault string, err error) {
	if o.store != nil {
		word, err = "open", o.store
	} else if to := o.tables[v.table]; to != nil {
		switch {
		case to.open != nil:
			word, err = "open", to.open
		case to.read != nil:
			word, err = "read", to.read
		case to.snapshot != nil:
			word, err = "snapshot", to.snapshot
		}
	}
	ok := false
	switch req.verdict {
	case failsOpen:
		ok = word == "open"
	case failsRead:
		ok = word == "open" || word == "read" || word == ""
	case failsSnapshot:
		ok = word == "snapshot"
	case keepsPrefix, failsOrKeeps:
		ok = word == "open" || word == ""
	case documented:
		ok = word != "read"
	case losesNothing:
		ok = word == ""
	}
	if !ok {
		return word, fmt.Sprintf("must be %s, came out as %q: %v", req.verdict, word, err), err
	}
	if err != nil {
		return word, "", err
	}
	if req.verdict == failsRead {
		return "unread", v.whole(v.table, o.tables[v.table]), nil
	}
	for name, to := range o.tables {
		f := v.whole(name, to)
		switch {
		case v.kept != nil && name == v.table:
			if to.sum != *v.kept {
				return word, fmt.Sprintf("%s holds step %d, not the one that it must", name, to.step), nil
			}
			word = "as must be"
		case f == "":
			if word == "" {
				word = "nothing lost"
			}
		case (req.verdict == keepsPrefix || req.verdict == documented) && to.known:
			word = string(req.verdict[len(req.verdict)-1:])
		default:
			return word, name + ": " + f, nil
		}
	}
	return word, "", nil
}

// whole tells what is missing of a table that must hold all that was
// acknowledged.
func (v *victim) whole(name string, o *tableOutcome) string {
	h := v.w.tables[name]
	switch err := errors.Join(o.open, o.read, o.snapshot); {
	case err != nil:
		return err.Error()
	case !o.known:
		return "its content is none that it ever had"
	case o.step < h.acked:
		return fmt.Sprintf("it holds %d of %d steps, and says nothing", o.step, h.acked)
	}
	return ""
}

// named checks that an error has the class it must and names the file.
func (v *victim) named(req requirement, err error) string {
	if req.class != nil {
		if !errors.Is(err, req.class) {
			return fmt.Sprintf("the error is not %v: %v", req.class, err)
		}
		return ""
	}
	for _, class := range []error{keyring.ErrRootNotPinned, keyring.ErrKeyNotFound, keyring.ErrWrongContext} {
		if req.keys && errors.Is(err, class) {
			return ""
		}
	}
	var c *CorruptionError
	if !errors.Is(err, ErrCorruption) || !errors.As(err, &c) {
		return fmt.Sprintf("not ErrCorruption: %v", err)
	}
	if !req.loose && !slices.Contains(v.paths, c.Path) {
		return fmt.Sprintf("names %q, not %v: %v", c.Path, v.paths, err)
	}
	return ""
}

// found tells whether Verify has found a fault in what was tampered with, at
// its place, or warns of it.
func (v *victim) found(o *outcome) string {
	word := ""
	for _, f := range o.verify {
		if !slices.Contains(v.paths, f.Path) {
			continue
		}
		if f.Warning {
			word = "warning"
		} else if v.offset < 0 || f.Offset >= 0 && f.Offset <= v.offset || f.Offset >= 0 && max(f.Offset, v.offset) < keyring.HeaderLen {
			return "fault"
		}
	}
	return word
}

func findings(fs []Finding) string {
	if len(fs) == 0 {
		return "no finding"
	}
	var b strings.Builder
	for i, f := range fs {
		if i == 5 {
			fmt.Fprintf(&b, " … %d in all", len(fs))
			break
		}
		fmt.Fprintf(&b, "[%s at %d: %s: %s, warning %v] ", f.Path, f.Offset, f.Class, f.Detail, f.Warning)
	}
	return b.String()
}
