package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

var limits = records.Limits{Key: engine.MaxKeyLen, Value: engine.MaxValueLen}

// An input is what import reads, with what progress needs to know of it.
type input struct {
	records.Reader
	tree  *records.Tree // nil for a stream
	total int64         // bytes; -1 where unknown
	files int           // of a tree
	read  func() int64  // bytes so far; safe for concurrent use
	close func() error
}

// openInput opens PATH. Of a stream it reads the header; a tree it walks once,
// for the totals and for files that are too large.
func (a *app) openInput(ctx context.Context, f importFlags, path string) (*input, error) {
	if path == "-" {
		if f.format == "auto" || f.format == "tree" {
			return nil, &usageError{errors.New("standard input takes --format csv, jsonl or export")}
		}
		return openStream(ctx, f, a.stdin, -1, func() error { return nil })
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if f.format == "auto" {
		if f.format, err = formatOf(path, info.IsDir()); err != nil {
			return nil, err
		}
	}
	if info.IsDir() != (f.format == "tree") {
		return nil, &usageError{fmt.Errorf("%s is not a %s input", path, f.format)}
	}
	if info.IsDir() {
		return a.openTree(ctx, f, path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	total := int64(-1)
	if info.Mode().IsRegular() {
		total = info.Size()
	}
	return openStream(ctx, f, file, total, file.Close)
}

// formatOf tells the format from a path's name.
func formatOf(path string, dir bool) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(strings.TrimSuffix(path, ".zst"))); {
	case dir:
		return "tree", nil
	case ext == ".csv":
		return "csv", nil
	case ext == ".jsonl" || ext == ".ndjson":
		return "jsonl", nil
	}
	return "", &usageError{fmt.Errorf("%s: its name does not tell its format; use --format csv, jsonl or export", path)}
}

func (a *app) openTree(ctx context.Context, f importFlags, path string) (*input, error) {
	tree, err := records.OpenTree(path, limits)
	if err != nil {
		return nil, err
	}
	in := &input{Reader: tree, tree: tree, read: tree.Read, close: tree.Close}
	for _, own := range a.ownPaths(f) {
		if err := tree.Exclude(own); err != nil {
			return nil, errors.Join(err, tree.Close())
		}
	}
	sum, err := tree.Total(ctx)
	if err == nil && len(sum.TooLarge) > 0 && f.onError == "stop" {
		err = &failure{exitFailure, sum.TooLarge[0], "--on-error skip leaves such files out"}
	}
	if err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	in.total, in.files = sum.Bytes, sum.Files
	return in, nil
}

func openStream(ctx context.Context, f importFlags, r io.Reader, total int64, closer func() error) (*input, error) {
	c := &counter{r: r}
	if total < 0 {
		c.r = interruptible(ctx, r)
	}
	in := &input{total: total, read: c.n.Load, close: closer}
	var err error
	switch {
	case f.format == "csv" && f.keyColumn == "":
		err = &usageError{errors.New("csv takes --key-column NAME")}
	case f.format == "jsonl" && f.keyPath == "":
		err = &usageError{errors.New("jsonl takes --key-path NAME.NAME; for what \"cofre export\" wrote, use --format export")}
	case f.format == "csv":
		in.Reader, err = records.NewCSV(c, f.keyColumn, limits)
	case f.format == "jsonl":
		in.Reader, err = records.NewJSONLines(c, f.keyPath, limits)
	case f.format == "export":
		in.Reader, err = records.NewExport(c, limits)
	default:
		err = &usageError{errors.New("--format is auto, tree, csv, jsonl or export")}
	}
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	return in, nil
}

func (in *input) skipped() records.Skipped {
	if in.tree == nil {
		return records.Skipped{}
	}
	return in.tree.Skipped()
}

// A counter counts what is read through it.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// interruptible reads r in a goroutine, so that a Read ends with ctx although
// one on a terminal or a pipe would wait on. The goroutine ends with r, or
// with the process if r never does.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	return pr
}
