package engine

import "github.com/cockroachdb/pebble/v2"

// replay takes in the logs that a crash has left, and closes again. Pebble
// flushes what it replays long before its Open can no longer fail; the
// compactions and the search for statistics that a flush begins would outlive
// an Open that fails then, and panic in goroutines of their own on caches that
// are closed, which ends the process. So they are off meanwhile. The Open that
// follows has nothing to replay, and begins them last.
func (i *instance) replay(o *pebble.Options) error {
	o.DisableAutomaticCompactions, o.DisableTableStats = true, true
	if err := i.openPebble(o); err != nil {
		return err
	}
	err := i.db.Close()
	i.db = nil
	return i.result(err)
}
