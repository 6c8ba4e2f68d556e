package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

func (a *app) exportCommand() *cobra.Command {
	var from source
	var path string
	var compress bool
	c := &cobra.Command{
		Use:   "export TABLE",
		Short: "Write the entries of a table as JSON Lines",
		Long: `Writes the entries of a table in order of key as JSON Lines, which
"cofre import --format export" reads: {"key":…,"value":…}, and "key_b64" or
"value_b64" where bytes are no text. An export is plaintext.

With --output the file appears when it is complete, readable by its owner
alone, in place of an older one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			toFile := path != "" && path != "-"
			if compress && !toFile && isTerminal(a.stdout) {
				return &usageError{errors.New("--zstd does not go to a terminal: use --output FILE")}
			}
			var done exported
			from.compress = compress
			err := from.read(ctx, a, args[0], func(r reader) error {
				if !toFile {
					return done.write(ctx, r, a.stdout, compress)
				}
				return replaceFile(path, func(w io.Writer) error { return done.write(ctx, r, w, compress) })
			})
			if err != nil {
				return err
			}
			done.Table, done.Path = args[0], path
			switch {
			case a.json && toFile:
				return a.writeJSON(a.stdout, done)
			case !a.quiet && !a.json:
				a.note("exported %s, %s", plural(done.Entries, "entry"), size(done.Bytes))
			}
			return nil
		},
	}
	from.flag(c.Flags())
	c.Flags().StringVarP(&path, "output", "o", "", "write to this file")
	c.Flags().BoolVar(&compress, "zstd", false, "compress with zstd")
	return c
}

// exported is what export says at its end.
type exported struct {
	Table   string `json:"table"`
	Path    string `json:"path"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"` // of keys and values
}

func (x *exported) write(ctx context.Context, r reader, w io.Writer, compress bool) error {
	out, err := records.NewWriter(w, compress)
	if err != nil {
		return err
	}
	for e, err := range r.Scan(engine.ScanOptions{}) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = out.Write(records.Entry{Key: e.Key, Value: e.Value})
		}
		if err != nil {
			return err
		}
		x.Entries++
		x.Bytes += int64(len(e.Key) + len(e.Value))
	}
	return out.Close()
}

// replaceFile has fn write a new file beside path, which then takes its place:
// whole and durable, or not at all.
func replaceFile(path string, fn func(io.Writer) error) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return &usageError{fmt.Errorf("%s is not a regular file: redirect standard output to it instead", path)}
	case err != nil && !os.IsNotExist(err):
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".cofre-export-*") // mode 0600
	if err != nil {
		return err
	}
	err = fn(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		// The name comes last: if we crash before it, path is what it was.
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}
