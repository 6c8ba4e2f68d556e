package main

import (
	"slices"

	"github.com/cofredb/cofre/internal/vectors"
)

func lists(s *set) {
	g := s.group("keyring-list", "docs/keyring-format.md#the-list")
	empty := vectors.List{Journal: zeros16, Tables: []vectors.Table{}, Tombstones: []vectors.Tombstone{}}
	valid := func(name, rule string, change func(*vectors.List)) {
		l := empty
		change(&l)
		g.valid(name, rule, vectors.ListIn{List: encodeList(l)}, l)
	}
	long := string(slices.Repeat([]byte("n"), 255))
	gone := vectors.Tombstone{ID: id("dropped"), Name: vectors.Text("app.gone"), DroppedAt: createdAt, Versions: []uint32{1, 2}, Roots: []string{"cofre-local:a", "cofre-local:b"}}
	valid("empty", "A list of nothing: no journal, no table, no tombstone.", func(l *vectors.List) {})
	valid("journal", "A list names the journal that goes on from it.", func(l *vectors.List) { l.Journal = id("journal") })
	valid("creating", "State 1 is creating.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "a", 1, "")} })
	valid("live", "State 2 is live, and says how the table was left.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "a", 2, "\x01")} })
	valid("several", "Tables ascend by id, whatever their names.", func(l *vectors.List) {
		l.Tables = []vectors.Table{listed(1, "z", 2, ""), listed(2, "m", 2, ""), listed(3, "a", 2, "")}
	})
	valid("name-longest", "A name has up to 255 bytes.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, long, 2, "")} })
	valid("name-bytes", "A name is bytes.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "\xff\x00", 2, "")} })
	valid("tombstone", "A tombstone keeps the versions and root keys of a dropped table.", func(l *vectors.List) { l.Tombstones = []vectors.Tombstone{gone} })
	valid("tombstones", "Tombstones stand in the order of dropping, also two of one name.", func(l *vectors.List) {
		other := gone
		other.ID, other.DroppedAt, other.Versions, other.Roots = tableID(0), 0, []uint32{}, []string{}
		l.Tombstones = []vectors.Tombstone{gone, other}
	})
	valid("name-again", "A table may have the name of a dropped one.", func(l *vectors.List) {
		l.Tables, l.Tombstones = []vectors.Table{listed(1, "app.gone", 2, "")}, []vectors.Tombstone{gone}
	})

	two := empty
	two.Tables, two.Tombstones = []vectors.Table{listed(1, "one", 2, "left"), listed(2, "two", 1, "")}, []vectors.Tombstone{gone}
	b := encodeList(two)
	bad := func(name, rule string, b []byte) { g.invalid(name, rule, "ErrFormat", -1, vectors.ListIn{List: b}) }
	with := func(name, rule string, change func(*vectors.List)) {
		l := two
		l.Tables, l.Tombstones = slices.Clone(two.Tables), slices.Clone(two.Tombstones)
		change(&l)
		bad(name, rule, encodeList(l))
	}
	bad("nothing", "A list has at least an id and two counts.", nil)
	bad("cut-journal", "The journal's id is whole.", b[:15])
	bad("cut-count", "The count of tables is whole.", b[:19])
	bad("cut", "A list that is cut does not parse.", b[:len(b)-1])
	bad("cut-between", "A list has a count of tombstones.", b[:len(b)-len(encodeList(two))+len(encodeList(vectors.List{Journal: zeros16, Tables: two.Tables}))-4])
	bad("appended", "No byte is left over.", cat(b, uint8(0)))
	bad("count-huge", "A count is no more than fits into what is left.", put(b, 16, uint32(1<<20)))
	bad("count-above", "There are at most 2^20 tables.", put(b, 16, uint32(1<<20+1)))
	with("order", "Tables ascend by id.", func(l *vectors.List) { l.Tables[0], l.Tables[1] = l.Tables[1], l.Tables[0] })
	with("twice", "No table comes twice.", func(l *vectors.List) { l.Tables[1].ID = l.Tables[0].ID })
	with("id-zero", "A table's id is not zeros.", func(l *vectors.List) { l.Tables[0].ID = zeros16 })
	with("name-empty", "A name has at least one byte.", func(l *vectors.List) { l.Tables[0].Name = nil })
	with("name-long", "A name has at most 255 bytes.", func(l *vectors.List) { l.Tables[0].Name = vectors.Text(long + "n") })
	with("name-taken", "No two tables have one name.", func(l *vectors.List) { l.Tables[1].Name = l.Tables[0].Name })
	with("state-0", "There is no state 0.", func(l *vectors.List) { l.Tables[0].State = 0 })
	with("state-3", "There is no state 3.", func(l *vectors.List) { l.Tables[0].State = 3 })
	with("tombstone-name-long", "The name of a tombstone has at most 255 bytes.", func(l *vectors.List) { l.Tombstones[0].Name = vectors.Text(long + "n") })
	with("tombstone-roots", "A tombstone has at most 16 root keys.", func(l *vectors.List) {
		l.Tombstones[0].Roots = slices.Repeat([]string{"x:y"}, 17)
	})
	with("tombstone-root-long", "A URI has at most 1024 bytes.", func(l *vectors.List) {
		l.Tombstones[0].Roots = []string{"x:" + string(slices.Repeat([]byte("y"), 1023))}
	})
	left := len(encodeList(vectors.List{Journal: zeros16, Tables: two.Tables[:1]})) - 4 - len("left") - 4
	bad("left-length", "How a table was left has at most 2^20 bytes.", put(b, left, uint32(1<<20+1)))
	bad("left-beyond", "How a table was left is within the list.", put(b, left, uint32(1<<20)))
}
