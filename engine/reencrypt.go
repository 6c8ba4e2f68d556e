package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/keyring/audit"
)

// ReencryptOptions configure Reencrypt. The zero value works as fast as it can.
type ReencryptOptions struct {
	// BytesPerSecond bounds how much data is sealed anew; 0 does not.
	BytesPerSecond int64
	// Progress, if not nil, hears of the work, now and then, in the goroutine of
	// Reencrypt.
	Progress func(ReencryptProgress)
}

// ReencryptProgress says how far a re-encryption has come.
type ReencryptProgress struct {
	Files, FilesDone int   // sorted files and blobs
	Bytes, BytesDone int64 // of them, on disk
	Elapsed          time.Duration
	Left             time.Duration // at the rate so far; 0 where it is not known yet
	// Waiting is set while all that is left is to open the table anew, and that
	// waits for scans and views to end.
	Waiting bool
}

// Rate is the bytes sealed anew in a second, on average.
func (p ReencryptProgress) Rate() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.BytesDone) / p.Elapsed.Seconds()
}

// A ReencryptReport says what a re-encryption has done.
type ReencryptReport struct {
	Begun      time.Time     `json:"begun"`   // no live file has a data key from before
	Resumed    bool          `json:"resumed"` // by an earlier call, or an earlier process
	Files      int           `json:"files"`   // by this call
	Bytes      int64         `json:"bytes"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	KeyVersion uint32        `json:"key_version"` // that all live files are sealed under
	// Free are the older versions of the table's key that no live file was sealed
	// under: who holds one of them reads nothing that is live.
	Free []uint32 `json:"free"`
}

// Reencrypt seals every live file of the table under a new data key: the way to
// take what exists from who may know a data key, a version of the table's key, or a
// root key that the table had. Rotate first, so that new data keys are under a
// version that is not known to him. Snapshots and backups keep their files.
//
// The table is in use meanwhile. A file takes the place of the other with the same
// bytes, and Pebble does not notice; the log goes with a flush, and at the end the
// table opens anew, which takes milliseconds, for its MANIFEST. That step waits for
// scans and views that are open, for it would end them.
//
// It goes on where an earlier call was interrupted, by its context, an error or a
// crash: what has been done counts. Files that are made meanwhile are under new
// keys by themselves. One call at a time works on a table.
//
// Errors: ErrInUse where another call works on it, *CorruptionError where a file
// does not open (no file is dropped), ErrKeyInaccessible, ErrReadOnly, ErrDiskFull,
// ErrClosed, ErrTableNotFound, ctx's.
func (t *Table) Reencrypt(ctx context.Context, opts ReencryptOptions) (*ReencryptReport, error) {
	rep, err := t.reencrypt(ctx, opts)
	return rep, t.recorded(audit.EventReencrypt, err)
}

func (t *Table) reencrypt(ctx context.Context, opts ReencryptOptions) (*ReencryptReport, error) {
	if opts.BytesPerSecond < 0 {
		return nil, fmt.Errorf("engine: data cannot be sealed at %d bytes a second", opts.BytesPerSecond)
	}
	if !t.reencrypting.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("%w: %s is being re-encrypted already", ErrInUse, t.name)
	}
	defer t.reencrypting.Store(false)
	j := &reencryption{t: t, opts: opts, started: time.Now()}
	if err := j.begin(ctx); err != nil {
		return nil, err
	}
	if err := t.Flush(); err != nil {
		return nil, err
	}
	for {
		old, err := j.old(ctx)
		if err != nil {
			return nil, err
		}
		if len(old) == 0 {
			return j.finish(ctx)
		}
		if err := j.pass(ctx, old); err != nil {
			return nil, err
		}
	}
}

// A reencryption is one call of Reencrypt. Whatever it has to remember lies in the
// table: the time when it began in the metadata, and the age of each file in its
// header.
type reencryption struct {
	t       *Table
	opts    ReencryptOptions
	started time.Time
	free    time.Time // when the pace allows the next piece
	told    time.Time // when Progress last heard
	rep     ReencryptReport
	p       ReencryptProgress
}

// begin records when the re-encryption has begun, unless one is under way: files
// older than that have their turn. Should clocks have been wrong, it is a time
// behind that of every file.
func (j *reencryption) begin(ctx context.Context) error {
	t := j.t
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	i, keys, m, err := t.ownKeys()
	if err != nil {
		return err
	}
	defer keys.Wipe()
	begun := time.Now().UTC()
	if begun.Before(m.createdAt) {
		begun = m.createdAt
	}
	err = i.fs.Keys(t.dir, func(u sealfs.KeyUse) error {
		if u.CreatedAt.Before(begun) {
			return ctx.Err()
		}
		// A header says so, which nobody has checked yet.
		if u.Kind.Random() {
			err := i.fs.Sealed(t.dir, u.Name)
			if errors.Is(err, sealfs.ErrGone) {
				return ctx.Err()
			}
			if err != nil {
				return err
			}
		}
		begun = u.CreatedAt.Add(1)
		return ctx.Err()
	})
	i.leave()
	if err != nil {
		return err
	}
	if !m.reencrypting.IsZero() {
		j.rep.Begun, j.rep.Resumed = m.reencrypting, true
		return nil
	}
	j.rep.Begun = begun
	return t.editMetadata(ctx, keys, func(m *metadata) error {
		m.reencrypting = begun
		return nil
	}, func(*metadata) {
		if i := t.inst.Load(); i != nil {
			i.fs.NotBefore(begun)
		}
	})
}

// old lists the live files that are older than the re-encryption.
func (j *reencryption) old(ctx context.Context) (old []sealfs.KeyUse, err error) {
	i, err := j.t.useForWriting()
	if err != nil {
		return nil, err
	}
	defer i.leave()
	seen := make(map[string]bool)
	err = i.fs.Keys(j.t.dir, func(u sealfs.KeyUse) error {
		if u.CreatedAt.Before(j.rep.Begun) && !seen[u.Name] {
			seen[u.Name] = true
			old = append(old, u)
		}
		return ctx.Err()
	})
	return old, err
}

// pass seals anew what it can of the files given, and has the table begin others
// in place of the rest.
func (j *reencryption) pass(ctx context.Context, old []sealfs.KeyUse) error {
	random := slices.DeleteFunc(slices.Clone(old), func(u sealfs.KeyUse) bool { return !u.Kind.Random() })
	j.p.Files, j.p.Bytes = j.p.FilesDone+len(random), j.p.BytesDone
	for _, u := range random {
		j.p.Bytes += u.Bytes
	}
	var errs []error
	for _, u := range random {
		done := j.p.BytesDone
		err := j.reseal(ctx, u.Name)
		if err != nil && !errors.Is(err, sealfs.ErrGone) {
			err = fmt.Errorf("seal %s again: %w; call Reencrypt again to go on", u.Name, err)
			if !errors.Is(err, ErrCorruption) {
				return err
			}
			errs = append(errs, err) // one that does not open keeps no other back
		}
		if err == nil {
			j.rep.Files++
			j.rep.Bytes += u.Bytes
		}
		j.p.FilesDone++
		j.p.BytesDone = done + u.Bytes
		j.tell(false)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return j.openAnew(ctx)
}

// reseal seals one file anew, in whichever instance is open.
func (j *reencryption) reseal(ctx context.Context, name string) error {
	for {
		i, err := j.t.useForWriting()
		if err != nil {
			return err
		}
		// A close does not wait for our pace.
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(i.life, cancel)
		err = i.fs.Reseal(j.t.dir, name, func(n int) error {
			j.p.BytesDone += int64(n)
			j.tell(false)
			return j.pace(ctx, n)
		})
		closing := i.life.Err() != nil
		var broken *sealfs.Broken
		if errors.As(err, &broken) {
			i.hole.Trip(err)
			err = i.err()
		}
		stop()
		cancel()
		i.leave()
		if err == nil || !closing || !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// pace waits until the limit allows the next n bytes. Time that was not used is not
// made up for.
func (j *reencryption) pace(ctx context.Context, n int) error {
	if j.opts.BytesPerSecond == 0 {
		return ctx.Err()
	}
	now := time.Now()
	if j.free.Before(now) {
		j.free = now
	}
	left := j.free.Sub(now)
	j.free = j.free.Add(time.Duration(float64(n) / float64(j.opts.BytesPerSecond) * float64(time.Second)))
	if !wait(ctx, left) {
		return ctx.Err()
	}
	return nil
}

// openAnew closes the table and opens it, when no scan and no view would end with
// it: log, MANIFEST and OPTIONS are new then, and nobody has a former file open.
func (j *reencryption) openAnew(ctx context.Context) error {
	for n := 0; ; n++ {
		done, err := j.t.openAnew(ctx)
		if done || err != nil {
			return err
		}
		j.p.Waiting = true
		j.tell(true)
		if !wait(ctx, min(time.Millisecond<<min(n, 8), 200*time.Millisecond)) {
			return fmt.Errorf("all data is sealed anew, and scans or views that are open keep the table from beginning another MANIFEST; "+
				"call Reencrypt again when they have ended: %w", ctx.Err())
		}
	}
}

// openAnew is false where a scan or a view is open, or a compaction is waited for.
func (t *Table) openAnew(ctx context.Context) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.inst.Load(); i != nil && i.hole.Err() == nil {
		if !i.unwatched() || len(t.snaps) > 0 {
			return false, nil
		}
		i.renewed.Store(true)
		if err := t.closeLocked(ctx); err != nil {
			return false, err
		}
	}
	return true, t.openLocked(ctx)
}

// finish records that nothing is left, and tells what that means.
func (j *reencryption) finish(ctx context.Context) (*ReencryptReport, error) {
	t := j.t
	if err := t.beginRotation(ctx); err != nil {
		return nil, err
	}
	defer t.endRotation()
	i, keys, _, err := t.ownKeys()
	if err != nil {
		return nil, err
	}
	defer keys.Wipe()
	used := make(map[uint32]bool)
	err = i.fs.Keys(t.dir, func(u sealfs.KeyUse) error {
		used[u.Version] = true
		return ctx.Err()
	})
	i.fs.NotBefore(time.Time{})
	i.leave()
	if err != nil {
		return nil, err
	}
	if err := t.editMetadata(ctx, keys, func(m *metadata) error {
		m.reencrypting = time.Time{}
		return nil
	}, nil); err != nil {
		return nil, err
	}
	e, err := t.store.ring.Entry(t.id)
	if err != nil {
		return nil, t.keyError(err)
	}
	for _, v := range e.Versions {
		if v.Number != keys.Version() && !used[v.Number] && v.State != "retired" {
			j.rep.Free = append(j.rep.Free, v.Number)
		}
	}
	j.rep.KeyVersion, j.rep.Elapsed = keys.Version(), time.Since(j.started)
	j.p.Waiting = false
	j.tell(true)
	return &j.rep, nil
}

// tell reports progress, a few times a second.
func (j *reencryption) tell(now bool) {
	if !now && time.Since(j.told) < 100*time.Millisecond {
		return
	}
	j.told = time.Now()
	j.p.Elapsed, j.p.Left = time.Since(j.started), 0
	if rate := j.p.Rate(); rate > 0 {
		j.p.Left = time.Duration(float64(max(0, j.p.Bytes-j.p.BytesDone)) / rate * float64(time.Second))
	}
	p := j.p
	j.t.progress.Store(&p)
	if j.opts.Progress != nil {
		j.opts.Progress(p)
	}
}

// Reencrypting tells when a re-encryption that is under way, or was interrupted,
// has begun; zero if there is none. It asks the key service for the table's key.
func (t *Table) Reencrypting(ctx context.Context) (time.Time, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return m.reencrypting, nil
}
