package fault

import "github.com/cofredb/cofre/internal/torture/work"

// A scenario is what happens while a fault lies in wait.
type scenario struct {
	name string
	shut bool // it opens the store itself
	// crashed: it begins with a store that was not closed. Mutations take their
	// time then, so that a compaction that recovery begins is under way still
	// while the rest of the opening fails.
	crashed bool
	run     func(t *try)
}

var filling = scenario{"fill", false, false, func(t *try) {
	t.write(table, 25)
	t.call("flush", func() error { return t.s.Flush(table) })
	t.write(table, 10)
	// The next log is written over a former one.
	t.call("flush", func() error { return t.s.Flush(table) })
	t.write(table, 3)
}}

var recovery = scenario{"recovery", true, true, func(t *try) {
	if t.open() == nil {
		t.call("read", func() error { _, err := t.e.Contents(table); return err })
		t.write(table, 2)
	}
}}

func scenarios() []scenario {
	return []scenario{
		filling,
		{"compaction", false, false, func(t *try) {
			t.write(table, 10)
			t.call("flush", func() error { return t.s.Flush(table) })
			t.call("compact", func() error { return t.s.Compact(table, "", "") })
			t.write(table, 3)
		}},
		{"snapshot", false, false, func(t *try) {
			t.write(table, 3)
			t.call("snapshot", func() error { return t.s.Snapshot(table, "meanwhile") })
			t.write(table, 2)
			t.call("drop snapshot", func() error { return t.s.DropSnapshot(table, "before") })
		}},
		{"create", false, false, func(t *try) {
			if t.call("create", func() error { return t.s.Create(fresh) }) == nil {
				t.write(fresh, 3)
			}
		}},
		{"drop", false, false, func(t *try) {
			t.write(table, 2)
			t.call("drop", func() error { return t.s.Drop(table, true) })
		}},
		{"rotate", false, false, func(t *try) {
			t.write(table, 2)
			t.call("rotate the root", func() error { return t.s.Rotate(table, 1) })
			t.write(table, 2)
			t.call("rotate the key", func() error { return t.s.Rotate(table, work.NewTableKey) })
			t.call("flush", func() error { return t.s.Flush(table) })
		}},
		{"renew", false, false, func(t *try) {
			t.write(table, 2)
			t.call("rotate the key", func() error { return t.s.Rotate(table, work.NewTableKey) })
			t.call("retire", func() error { return t.s.Retire(table) })
			t.call("re-encrypt", func() error { return t.s.Reencrypt(table, false) })
			t.write(table, 2)
		}},
		{"open", true, false, func(t *try) {
			if t.open() == nil {
				t.write(table, 2)
			}
		}},
		recovery,
		{"close", false, false, func(t *try) {
			t.write(table, 4)
			t.close()
		}},
	}
}
