package kill

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cofredb/cofre/internal/torture/work"
)

// Child is the child process, if this is one.
func Child() (code int, ok bool) {
	dir := os.Getenv(dirVar)
	if dir == "" {
		return 0, false
	}
	if err := serve(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return refused, true
	}
	return 0, true
}

// serve opens the store and does random ops on it until there are enough.
func serve(dir string) error {
	seed, err := strconv.ParseUint(os.Getenv(seedVar), 10, 64)
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(os.Getenv(opsVar))
	if err != nil {
		return err
	}
	o, err := options(dir)
	if err != nil {
		return err
	}
	say := json.NewEncoder(os.Stdout)
	e := &work.Engine{Dir: filepath.Join(dir, "store"), Options: o}
	if err := e.Open(); err != nil {
		return err
	}
	if err := say.Encode(event{Op: "open"}); err != nil {
		return err
	}
	model := work.NewModel()
	for _, l := range e.List() {
		_ = model.Create(l.Name)
		names, err := e.Snapshots(l.Name)
		if err != nil {
			return err
		}
		for _, n := range names {
			_ = model.Snapshot(l.Name, n)
		}
	}
	g := work.NewGen(rand.New(rand.NewPCG(seed, 1)), model, work.Mix{
		Tables: []string{table, "kill.other"}, NoSync: 70, Large: 300 << 10,
		Without: []string{"reopen", "crash", "get", "scan", "view", "closeview", "opensnapshot", "tables", "snapshots"},
	})
	for done := 0; done < limit; {
		op := g.Next()
		if answer := op.Run(model); answer != "ok" {
			continue // no such table, say: nothing is done
		}
		done++
		if err := say.Encode(event{Op: op.String()}); err != nil {
			return err
		}
		ev := event{Done: true, Durable: work.Synced(op)}
		if err := e.Do(op); err != nil {
			ev = event{Done: true, Err: err.Error()}
		}
		if op.Verb == "create" && ev.Err == "" {
			for _, l := range e.List() {
				if l.Name == op.Args[0] {
					ev.Table = l.ID
				}
			}
		}
		if err := say.Encode(ev); err != nil {
			return err
		}
		if ev.Err != "" {
			return nil
		}
	}
	return e.Close()
}
