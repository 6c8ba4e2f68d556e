package local

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// The bounds of AWS KMS, in days.
const (
	MinDeletionDays     = 7 // ScheduleKeyDeletion, PendingWindowInDays
	MaxDeletionDays     = 30
	DefaultDeletionDays = 30

	MinRotationDays     = 90 // EnableKeyRotation, RotationPeriodInDays
	MaxRotationDays     = 2560
	DefaultRotationDays = 365
)

const day = 24 * time.Hour

// Disable makes every use of a key fail with keyring.ErrKeyDenied. Errors are
// ErrKeyState of a key that is pending deletion, and those of a change.
func (s *Service) Disable(ctx context.Context, name string) error {
	return s.setState(ctx, name, keyring.StateDisabled)
}

// Enable takes back Disable. A key that is pending deletion is ErrKeyState:
// CancelDeletion comes first.
func (s *Service) Enable(ctx context.Context, name string) error {
	return s.setState(ctx, name, keyring.StateEnabled)
}

func (s *Service) setState(ctx context.Context, name string, state keyring.State) error {
	return s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		switch {
		case err != nil:
			return false, err
		case k.state == keyring.StatePendingDeletion:
			return false, stateError(k)
		case k.state == state:
			return false, nil
		}
		k.state = state
		return true, nil
	})
}

func stateError(k *rootKey) error {
	return fmt.Errorf("%w: %q is %s", ErrKeyState, k.name, k.state)
}

// ScheduleDeletion has a key destroyed after some days, 7 to 30; 0 is 30, as
// in AWS KMS. Until then it is denied like a disabled one, and CancelDeletion
// keeps it. Then it is keyring.ErrKeyNotFound, and the next change of the file
// destroys it, with its aliases and grants: what it has wrapped opens no more,
// but for who has a copy of the file. Errors are *DaysError, ErrKeyState of a
// key that is pending deletion already, and those of a change.
func (s *Service) ScheduleDeletion(ctx context.Context, name string, days int) (date time.Time, err error) {
	if days == 0 {
		days = DefaultDeletionDays
	}
	if days < MinDeletionDays || days > MaxDeletionDays {
		return date, &DaysError{"until a key is destroyed", days, MinDeletionDays, MaxDeletionDays}
	}
	err = s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		switch {
		case err != nil:
			return false, err
		case !k.deleteAt.IsZero(): // a file of version 1 has no dates
			return false, stateError(k)
		}
		date = s.wall().Add(time.Duration(days) * day)
		k.state, k.deleteAt = keyring.StatePendingDeletion, date
		return true, nil
	})
	return date, err
}

// CancelDeletion keeps a key that is pending deletion: it is disabled then, as
// in AWS KMS. Errors are ErrKeyState of a key that is not, and those of a
// change. A key whose date has passed is keyring.ErrKeyNotFound, also where
// the clock has been put back while the Service was open.
func (s *Service) CancelDeletion(ctx context.Context, name string) error {
	return s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		switch {
		case err != nil:
			return false, err
		case k.state != keyring.StatePendingDeletion:
			return false, stateError(k)
		}
		k.state, k.deleteAt = keyring.StateDisabled, time.Time{}
		return true, nil
	})
}

// Rotate adds a version to a key, and returns its number. New wraps use it;
// what older versions have wrapped still unwraps. The dates of automatic
// rotation stay. Errors are ErrKeyState of a key that is not enabled, and
// those of a change.
func (s *Service) Rotate(ctx context.Context, name string) (number uint32, err error) {
	err = s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		switch {
		case err != nil:
			return false, err
		case k.state != keyring.StateEnabled:
			return false, stateError(k)
		case len(k.versions) >= maxVersions:
			return false, &keyring.LimitError{What: "versions of a root key", Len: len(k.versions) + 1, Max: maxVersions}
		}
		number = k.rotate(s.clock())
		return true, nil
	})
	return number, err
}

// EnableRotation has a key rotated each so many days, 90 to 2560; 0 is 365, as
// in AWS KMS. The first time is that long from now. Nothing waits for the
// date: the first change of the file after it rotates, or the first use of the
// key that seals. It rotates once, however long that took; a key that is not
// enabled then waits until it is. Errors are *DaysError, ErrKeyState of a key
// that is not enabled, and those of a change.
func (s *Service) EnableRotation(ctx context.Context, name string, days int) (next time.Time, err error) {
	if days == 0 {
		days = DefaultRotationDays
	}
	if days < MinRotationDays || days > MaxRotationDays {
		return next, &DaysError{"between rotations", days, MinRotationDays, MaxRotationDays}
	}
	err = s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		switch {
		case err != nil:
			return false, err
		case k.state != keyring.StateEnabled:
			return false, stateError(k)
		}
		next = s.wall().Add(time.Duration(days) * day)
		k.period, k.rotateAt = uint32(days), next
		return true, nil
	})
	return next, err
}

// DisableRotation ends automatic rotation. The versions stay.
func (s *Service) DisableRotation(ctx context.Context, name string) error {
	return s.manage(ctx, func(f *keyFile) (bool, error) {
		k, err := s.living(f, name)
		if err != nil || k.period == 0 {
			return false, err
		}
		k.period, k.rotateAt = 0, time.Time{}
		return true, nil
	})
}

func (k *rootKey) rotate(now time.Time) (number uint32) {
	number = k.newest().number + 1
	k.versions = append(k.versions, version{number: number, createdAt: now, key: keyring.RandomSecret()})
	return number
}

// doomed tells whether the time until a key's deletion has passed.
func (k *rootKey) doomed(now time.Time) bool {
	return k.state == keyring.StatePendingDeletion && !k.deleteAt.IsZero() && !now.Before(k.deleteAt)
}

// due tells whether a rotation is to be done. A key that has all versions that
// it may have goes on with the newest.
func (k *rootKey) due(now time.Time) bool {
	return k.period != 0 && k.state == keyring.StateEnabled && !now.Before(k.rotateAt) && len(k.versions) < maxVersions
}

// upkeep does what time has brought, and tells whether that was anything. The
// caller holds the lock of the file: now is the time that it read under it.
// A clock that was ahead for a moment, and is right again, destroys nothing.
func (f *keyFile) upkeep(now time.Time) (changed bool) {
	for _, k := range slices.Clone(f.keys) {
		switch {
		case k.doomed(now):
			f.destroy(k, now)
			changed = true
		case k.due(now):
			k.rotate(now)
			k.rotateAt = now.Add(time.Duration(k.period) * day)
			changed = true
		}
	}
	return changed
}

// destroy removes a key with what refers to it, and remembers its id and name.
func (f *keyFile) destroy(k *rootKey, now time.Time) {
	k.wipe()
	f.keys = slices.DeleteFunc(f.keys, func(o *rootKey) bool { return o == k })
	f.aliases = slices.DeleteFunc(f.aliases, func(a alias) bool { return a.key == k.id })
	f.grants = slices.DeleteFunc(f.grants, func(g grant) bool { return g.key == k.id })
	f.destroyed = append(f.destroyed, destroyed{k.id, k.name, now})
	if extra := len(f.destroyed) - maxDestroyed; extra > 0 {
		f.destroyed = slices.Delete(f.destroyed, 0, extra)
	}
}
