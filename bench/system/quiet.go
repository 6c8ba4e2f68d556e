package system

import (
	"context"
	"time"
)

// untilQuiet returns when busy has said no several times in a row: a store may
// take a moment to begin what a flush or another compaction has set off.
func untilQuiet(ctx context.Context, busy func() (bool, error)) error {
	const looks = 5
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < looks; quiet++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		b, err := busy()
		if err != nil {
			return err
		}
		if b {
			quiet = -1
		}
	}
	return nil
}
