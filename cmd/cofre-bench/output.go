package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/bench/report"
)

// A form is a way to write a report.
type form func(io.Writer, *report.Report) error

func document(w io.Writer, r *report.Report) error { return r.Write(w) }

// An output is where a form of a report goes. It is found before the run: an hour
// later is no time to learn that there is no such directory. A file takes its name
// when it is whole, and keeps the permissions of the one that it replaces; what is
// no file, such as a pipe, is written to.
type output struct {
	path string // as it was named
	to   string // where that leads
	form form
	f    *os.File // temporary; nil for what is no file
	mode fs.FileMode
	done bool
}

// outputs are all of a run.
type outputs []*output

// add opens an output, unless path is empty. No two may be the same file, and none
// the file that the report was read from.
func (all *outputs) add(path string, form form, from ...string) error {
	if path == "" {
		return nil
	}
	o := &output{path: path, form: form, mode: 0o644}
	if err := o.find(); err != nil {
		return &usageError{err}
	}
	for _, other := range *all {
		if other.to == o.to {
			return &usageError{fmt.Errorf("%s and %s are one file: name two", other.path, path)}
		}
	}
	for _, in := range from {
		if to, err := resolve(in); err == nil && to == o.to {
			return &usageError{fmt.Errorf("%s is the report that is read: name another file", path)}
		}
	}
	if err := o.open(); err != nil {
		return &usageError{fmt.Errorf("the report cannot be written to %s: %w", path, err)}
	}
	*all = append(*all, o)
	return nil
}

// resolve is where a path of a file leads, which may not be there yet.
func resolve(path string) (string, error) {
	to, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(path); lerr == nil {
			return "", fmt.Errorf("%s is a link to what is not there", path)
		}
		if to, err = filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			to = filepath.Join(to, filepath.Base(path))
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(to)
}

func (o *output) find() (err error) {
	if o.to, err = resolve(o.path); err != nil {
		return fmt.Errorf("the report cannot be written to %s: %w", o.path, reason(err))
	}
	fi, err := os.Stat(o.to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%s is a directory; name a file", o.path)
	}
	o.mode = fi.Mode()
	return nil
}

func (o *output) open() (err error) {
	if o.mode.IsRegular() {
		o.f, err = os.CreateTemp(filepath.Dir(o.to), "."+filepath.Base(o.to)+"-*")
	}
	return reason(err)
}

// reason takes away the path of an error of the file system: it is one of ours.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// write writes all forms.
func (all outputs) write(r *report.Report) error {
	var errs []error
	for _, o := range all {
		if err := o.write(r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.path, err))
		}
	}
	return errors.Join(errs...)
}

func (o *output) write(r *report.Report) (err error) {
	if o.f == nil {
		f, err := os.OpenFile(o.to, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(f)
		return errors.Join(o.form(w, r), w.Flush(), f.Close())
	}
	w := bufio.NewWriter(o.f)
	if err := errors.Join(o.form(w, r), w.Flush(), o.f.Chmod(o.mode.Perm()), o.f.Close()); err != nil {
		return err
	}
	o.done = true
	return os.Rename(o.f.Name(), o.to)
}

// close removes what was not written.
func (all outputs) close() error {
	var errs []error
	for _, o := range all {
		if o.f != nil && !o.done {
			_ = o.f.Close() // it is not wanted
			errs = append(errs, os.Remove(o.f.Name()))
		}
	}
	return errors.Join(errs...)
}
