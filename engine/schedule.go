package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cofredb/cofre/engine/internal/sealfs"
)

// A Schedule says how old the keys of a table may become. The zero value is any
// age. The engine keeps it while the store is open for writing: it rotates the
// table's key, and re-encrypts, before the age is reached, and says in the log and
// in KeyStatus when it could not. (SP 800-57, part 1, 5.3, has such limits:
// cryptoperiods.)
type Schedule struct {
	KeyAge  time.Duration `json:"key_age_ns"`  // of the newest version of the table's key
	DataAge time.Duration `json:"data_age_ns"` // of the data keys of live files
}

// minAge keeps a table from doing nothing but rotate.
const minAge = time.Hour

// scheduledRate bounds a re-encryption that nobody asked for, in bytes a second.
const scheduledRate = 32 << 20

func (s Schedule) check() error {
	for _, d := range []time.Duration{s.KeyAge, s.DataAge} {
		if d != 0 && d < minAge {
			return fmt.Errorf("engine: a maximum age of %s for keys is below %s", d, minAge)
		}
	}
	return nil
}

// before is the age at which work begins, so that it is done in time.
func before(age time.Duration) time.Duration { return age - age/10 }

// Schedule returns the table's schedule. It asks the key service for the table's key.
func (t *Table) Schedule(ctx context.Context) (Schedule, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return Schedule{}, err
	}
	return m.schedule, nil
}

// SetSchedule sets the table's schedule. It is durable when it returns. Errors: an
// age below an hour, and those of Lock.
func (t *Table) SetSchedule(ctx context.Context, s Schedule) error {
	if err := s.check(); err != nil {
		return err
	}
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	keys, _, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	return t.editMetadata(ctx, keys, func(m *metadata) error {
		m.schedule = s
		return nil
	}, func(*metadata) {
		t.schedule.Store(&s)
		t.overdue.Store(nil)
	})
}

// keepSchedules looks at the tables' schedules until ctx ends.
func (s *Store) keepSchedules(ctx context.Context) {
	tick := s.opts.tune.scheduleTick
	if tick == 0 {
		tick = time.Minute
	}
	for wait(ctx, tick) {
		s.mu.Lock()
		tables := slices.Collect(maps.Values(s.tables))
		s.mu.Unlock()
		for _, t := range tables {
			t.keepSchedule(ctx)
		}
	}
}

// unreadPause is how long a key service is left alone that has refused the key of a table
// which nobody uses, and whose schedule is not known for that.
const unreadPause = 30 * time.Minute

// keepSchedule does what the table's schedule asks for now, beside those of other
// tables. A table that is locked has to wait for its key.
func (t *Table) keepSchedule(ctx context.Context) {
	if !t.scheduling.CompareAndSwap(false, true) {
		return // the last time is not over
	}
	t.store.janitor.Go(func() {
		defer t.scheduling.Store(false)
		if t.schedule.Load() == nil && !t.unread.IsZero() && t.store.opts.now().Sub(t.unread) < unreadPause {
			return // its key service has refused a while ago
		}
		t.tryScheduled(ctx)
	})
}

func (t *Table) tryScheduled(ctx context.Context) {
	err := t.doScheduled(ctx)
	switch {
	case ctx.Err() != nil, errors.Is(err, ErrClosed), errors.Is(err, ErrTableNotFound), errors.Is(err, ErrInUse):
		return
	case err == nil:
		t.overdue.Store(nil)
		return
	}
	why := err.Error()
	if had := t.overdue.Swap(&why); had == nil || *had != why {
		t.store.log.Warn("what the table's schedule asks for could not be done", "table", t.id, "error", err)
	}
}

func (t *Table) doScheduled(ctx context.Context) error {
	plan := t.schedule.Load()
	if plan == nil {
		m, err := t.metadata(ctx) // once, for a table that nobody has opened
		if err != nil {
			t.unread = t.store.opts.now()
			return err
		}
		plan = &m.schedule
		t.schedule.CompareAndSwap(nil, plan)
	}
	now := t.store.opts.now()
	if plan.KeyAge > 0 {
		e, err := t.store.ring.Entry(t.id)
		if err != nil {
			return t.keyError(err)
		}
		if at := e.Versions[len(e.Versions)-1].CreatedAt; now.Sub(at) >= before(plan.KeyAge) {
			if err := t.RotateKey(ctx); err != nil {
				return fmt.Errorf("rotate the table's key, which is of %s: %w", at.Format(time.RFC3339), err)
			}
		}
	}
	if plan.DataAge == 0 || now.Sub(t.looked) < plan.DataAge/20 {
		return nil // to look opens the table, which may be idle
	}
	oldest, err := t.oldestData(ctx)
	if err != nil {
		return err
	}
	if !oldest.IsZero() && now.Sub(oldest) >= before(plan.DataAge) {
		if err := t.reencryptScheduled(ctx); err != nil {
			return fmt.Errorf("re-encrypt data, of which the oldest was sealed at %s: %w", oldest.Format(time.RFC3339), err)
		}
	}
	t.looked = now
	return nil
}

// scheduledWait is how long a re-encryption waits for scans and views to end, before
// it says so and tries again later.
const scheduledWait = 10 * time.Minute

func (t *Table) reencryptScheduled(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := scheduledWait
	if t.store.opts.tune.scheduleTick != 0 {
		limit = 20 * t.store.opts.tune.scheduleTick
	}
	var waiting time.Time
	_, err := t.Reencrypt(ctx, ReencryptOptions{BytesPerSecond: scheduledRate, Progress: func(p ReencryptProgress) {
		switch {
		case !p.Waiting:
			waiting = time.Time{}
		case waiting.IsZero():
			waiting = time.Now()
		case time.Since(waiting) > limit:
			cancel()
		}
	}})
	return err
}

// oldestData is when the oldest live file was sealed.
func (t *Table) oldestData(ctx context.Context) (oldest time.Time, err error) {
	i, err := t.use()
	if err != nil {
		return oldest, err
	}
	defer i.leave()
	err = i.fs.Keys(t.dir, func(u sealfs.KeyUse) error {
		if oldest.IsZero() || u.CreatedAt.Before(oldest) {
			oldest = u.CreatedAt
		}
		return ctx.Err()
	})
	return oldest, err
}
