package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage/lease"
	"github.com/cofredb/cofre/backup/storage/locate"
	"github.com/cofredb/cofre/internal/corrupt"
)

// defaultWait outlasts a lock whose holder has died where nobody sees it: on another
// host, or before this one was started again.
const defaultWait = lease.DefaultTTL + 30*time.Second

// A repoFlags is what says where a repository is, and how fast it is used.
type repoFlags struct {
	location    string
	wait        time.Duration
	mib         int64
	concurrency int
}

func (f *repoFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.location, "repo", os.Getenv("COFRE_REPO"), "the repository: a directory, or s3://bucket/prefix?endpoint=…&region=… (COFRE_REPO)")
	fs.Lookup("repo").DefValue = ""
	fs.DurationVar(&f.wait, "wait", defaultWait, "wait so long for another that writes to the repository")
}

// speed registers what bounds a copy.
func (f *repoFlags) speed(fs *pflag.FlagSet) {
	fs.Int64Var(&f.mib, "mib-per-second", 0, "move at most so much (0: as fast as it goes)")
	fs.IntVar(&f.concurrency, "concurrency", 0, "files moved at once (0: 4, or 16 into a directory)")
}

func (f *repoFlags) check() error {
	switch {
	case f.location == "":
		return &usageError{errors.New("no repository named: use --repo or COFRE_REPO")}
	case f.mib < 0:
		return &usageError{errors.New("--mib-per-second is negative")}
	case f.concurrency < 0:
		return &usageError{errors.New("--concurrency is negative")}
	}
	return nil
}

// withRepository opens the repository, hands it to fn and closes it.
func (a *app) withRepository(ctx context.Context, f *repoFlags, create bool, fn func(r *backup.Repository) error) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if create {
		if err := a.checkApart(f.location); err != nil {
			return err
		}
	}
	return a.withRepositoryAt(ctx, f.location, f.wait, create, fn)
}

// checkApart refuses a repository that lies in the store, and a store that lies in the
// repository.
func (a *app) checkApart(location string) error {
	switch {
	case a.store == "" || strings.Contains(location, "://"):
		return nil
	case inside(location, a.store):
		return &usageError{fmt.Errorf("the repository %s lies in the store: who loses the one loses the other", location)}
	case inside(a.store, location):
		return &usageError{fmt.Errorf("the store %s lies in the repository %s: who loses the one loses the other", a.store, location)}
	}
	return nil
}

func (a *app) withRepositoryAt(ctx context.Context, location string, wait time.Duration, create bool, fn func(r *backup.Repository) error) (err error) {
	st, err := locate.Open(ctx, location, locate.Options{Create: create})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r, err := backup.Open(ctx, st, backup.Options{Create: create, LockWait: wait, Logger: slog.New(notes{a})})
	if err != nil {
		return ofRepository(err)
	}
	if r.Created() && !a.quiet {
		a.note("made the repository %s in %s", r.ID(), r.Location())
	}
	return ofRepository(fn(r))
}

// ofRepository gives an error that an object of a repository is damaged a hint of its own.
func ofRepository(err error) error {
	var own *failure
	var fault *corrupt.Error
	if errors.As(err, &own) || !errors.As(err, &fault) {
		return err
	}
	hint := ""
	switch first, _, below := strings.Cut(fault.Path, "/"); {
	case first == "repository" && !below:
		hint = `put the object "repository" back, from a copy of the repository: without it nothing is read here`
	case first == "backups" && below:
		hint = fmt.Sprintf("other backups are restored by their names; take the object %s out of the repository, and it goes on without this one", fault.Path)
	case slices.Contains([]string{"index", "data", "lockboxes", "archive", "pins", "condemned"}, first) && below:
		hint = `"cofre backup verify --read-data 1" lists every fault; another backup may be whole, or a copy of the repository`
	default:
		return err // it is of the store
	}
	return &failure{exitCorruption, err, hint}
}

// inside tells whether a path is the directory of another, or lies in it.
func inside(path, of string) bool {
	at, err := filepath.Abs(path)
	dir, derr := filepath.Abs(of)
	if err != nil || derr != nil {
		return false
	}
	rel, err := filepath.Rel(dir, at)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// moving draws the progress of a copy.
func (a *app) moving(name string) (report func(backup.Progress), done func()) {
	var bar *progress
	report = func(p backup.Progress) {
		if bar == nil {
			bar = a.progress(name, &input{files: p.Files, total: p.Bytes})
		}
		bar.total(p.Files, p.Bytes)
		bar.set(int64(p.Done), p.Moved)
	}
	return report, func() {
		if bar != nil {
			bar.done()
		}
	}
}

// notes hands what a library logs to the user.
type notes struct{ a *app }

func (n notes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (n notes) WithAttrs([]slog.Attr) slog.Handler           { return n }
func (n notes) WithGroup(string) slog.Handler                { return n }
func (n notes) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(at slog.Attr) bool {
		text += fmt.Sprintf("; %s: %s", at.Key, at.Value)
		return true
	})
	n.a.note("warning: %s", text)
	return nil
}
