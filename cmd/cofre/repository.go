package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage/locate"
)

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
	fs.DurationVar(&f.wait, "wait", time.Minute, "wait so long for another that writes to the repository")
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
	if create && a.store != "" && insideStore(f.location, a.store) {
		return &usageError{fmt.Errorf("the repository %s lies in the store: who loses the one loses the other", f.location)}
	}
	return a.withRepositoryAt(ctx, f.location, f.wait, create, fn)
}

func (a *app) withRepositoryAt(ctx context.Context, location string, wait time.Duration, create bool, fn func(r *backup.Repository) error) (err error) {
	st, err := locate.Open(ctx, location, locate.Options{Create: create})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r, err := backup.Open(ctx, st, backup.Options{Create: create, LockWait: wait, Logger: slog.New(notes{a})})
	if err != nil {
		return err
	}
	if r.Created() && !a.quiet {
		a.note("made the repository %s in %s", r.ID(), r.Location())
	}
	return fn(r)
}

// insideStore tells whether a location is the store's directory, or lies in it.
func insideStore(location, store string) bool {
	if strings.Contains(location, "://") {
		return false
	}
	at, err := filepath.Abs(location)
	dir, derr := filepath.Abs(store)
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
