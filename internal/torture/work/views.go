package work

import "strings"

var viewVerb = Verb{
	Name: "view", Weight: 12, Args: 2,
	Make: func(g *Gen) []string {
		if len(g.model.viewNames()) > 6 {
			return nil
		}
		return []string{g.table(), g.name("v")}
	},
	Run: func(s Subject, a []string) string { return answer(s.View(a[0], a[1])) },
}

var closeViewVerb = Verb{
	Name: "closeview", Weight: 12, Args: 1,
	Make: func(g *Gen) []string {
		views := g.model.viewNames()
		if len(views) == 0 {
			return nil
		}
		return []string{views[g.rng.IntN(len(views))]}
	},
	Run: func(s Subject, a []string) string { return answer(s.CloseView(a[0])) },
}

var snapshotVerb = Verb{
	Name: "snapshot", Weight: 5, Args: 2,
	Make: func(g *Gen) []string {
		t := g.table()
		if have, _ := g.model.Snapshots(t); len(have) > 4 {
			return nil
		} else if len(have) > 0 && g.rng.IntN(10) == 0 {
			return []string{t, have[0]}
		}
		return []string{t, g.name("s")}
	},
	Run: func(s Subject, a []string) string { return answer(s.Snapshot(a[0], a[1])) },
}

var snapshotsVerb = Verb{
	Name: "snapshots", Weight: 3, Args: 1,
	Make: func(g *Gen) []string { return []string{g.table()} },
	Run: func(s Subject, a []string) string {
		names, err := s.Snapshots(a[0])
		if err != nil {
			return answer(err)
		}
		return strings.Join(names, " ")
	},
}

// snapshot picks a table and a snapshot of it, or none.
func (g *Gen) snapshot() (table, name string) {
	t := g.table()
	have, _ := g.model.Snapshots(t)
	if len(have) == 0 {
		return "", ""
	}
	return t, have[g.rng.IntN(len(have))]
}

var openSnapshotVerb = Verb{
	Name: "opensnapshot", Weight: 5, Args: 3,
	Make: func(g *Gen) []string {
		t, name := g.snapshot()
		if t == "" || len(g.model.viewNames()) > 6 {
			return nil
		}
		return []string{t, name, g.name("v")}
	},
	Run: func(s Subject, a []string) string { return answer(s.OpenSnapshot(a[0], a[1], a[2])) },
}

var dropSnapshotVerb = Verb{
	Name: "dropsnapshot", Weight: 4, Args: 2,
	Make: func(g *Gen) []string {
		t, name := g.snapshot()
		if t == "" {
			return nil
		}
		return []string{t, name}
	},
	Run: func(s Subject, a []string) string { return answer(s.DropSnapshot(a[0], a[1])) },
}
