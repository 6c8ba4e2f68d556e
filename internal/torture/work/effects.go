package work

import "github.com/cofredb/cofre/internal/torture/oracle"

// A teller keeps what an op writes, and does nothing.
type teller struct {
	*Model
	w    []oracle.Effect
	sync bool
}

func (t *teller) Write(_ string, w []oracle.Effect, sync bool) error {
	t.w, t.sync = w, sync
	return nil
}

// Effects are what an op writes; nil if it is no write.
func Effects(op Op) []oracle.Effect {
	t := &teller{Model: NewModel()}
	op.Run(t)
	return t.w
}

// Synced tells whether an op is a write that is durable when it returns.
func Synced(op Op) bool {
	t := &teller{Model: NewModel()}
	op.Run(t)
	return t.w != nil && t.sync
}
