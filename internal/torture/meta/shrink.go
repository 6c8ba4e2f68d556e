package meta

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

var errorWords = regexp.MustCompile(`: |panicked|poisoned|corrupt|closed`)

// shrink takes operations away as long as what is left fails in the same way:
// all of a verb or a table first, then halves, then smaller pieces, down to
// single ones.
func (r Run) shrink(ctx context.Context, c Config, ops []work.Op, kind verdict.Kind) ([]work.Op, *verdict.Violation) {
	limit := r.ShrinkFor
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last *verdict.Violation
	tried := make(map[string]bool)
	fails := func(ops []work.Op) bool {
		v := verdict.Of(Replay(c, ops))
		if v == nil || v.Kind != kind {
			return false
		}
		last = v
		return true
	}
	kinds := func(op work.Op) []string { return append([]string{op.Verb}, op.Args[:min(2, len(op.Args))]...) }
	for _, op := range slices.Clone(ops) {
		for _, k := range kinds(op) {
			if tried[k] || ctx.Err() != nil {
				continue
			}
			tried[k] = true
			less := slices.DeleteFunc(slices.Clone(ops), func(op work.Op) bool { return slices.Contains(kinds(op), k) })
			if fails(less) {
				ops = less
			}
		}
	}
	for size := len(ops) / 2; size > 0; {
		less := false
		for from := 0; from < len(ops) && ctx.Err() == nil; {
			shorter := slices.Concat(ops[:from], ops[min(from+size, len(ops)):])
			if fails(shorter) {
				ops, less = shorter, true
			} else {
				from += size
			}
		}
		switch {
		case ctx.Err() != nil:
			return ops, last
		case size > 1:
			size /= 2
		case !less:
			return ops, last
		}
	}
	return ops, last
}
