package main

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

func (a *app) getCommand() *cobra.Command {
	var keys keyArg
	var from source
	c := &cobra.Command{
		Use:   "get TABLE KEY",
		Short: "Write the value of a key to standard output",
		Long: `Writes the value of a key to standard output, byte for byte. A value that
would drive a terminal is not written to one.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keys.bytes(args[1])
			if err != nil {
				return err
			}
			return from.read(cmd.Context(), a, args[0], func(r reader) error {
				value, err := r.Get(key)
				if err != nil {
					return err
				}
				switch {
				case a.json:
					value = append(records.AppendEntry(nil, records.Entry{Key: key, Value: value}), '\n')
				case isTerminal(a.stdout) && !showable(value):
					return &failure{exitFailure, errors.New("the value holds control characters and is not written to a terminal"),
						"redirect the output to a file, or use --json"}
				}
				_, err = a.stdout.Write(value)
				return err
			})
		},
	}
	keys.flag(c.Flags())
	from.flag(c.Flags())
	return c
}

// showable tells whether a terminal shows b and obeys none of it.
func showable(b []byte) bool {
	for _, r := range string(b) {
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || 0x7f <= r && r < 0xa0 {
			return false
		}
	}
	return utf8.Valid(b)
}

// A reader is a table, or a snapshot of one.
type reader interface {
	Get(key []byte) ([]byte, error)
	Scan(opts engine.ScanOptions) scanned
}

// A source says which state of a table to read: the newest, or a snapshot.
type source struct {
	snapshot string
	compress bool // what is read is to be compressed, which a table may forbid
}

func (s *source) flag(f *pflag.FlagSet) {
	f.StringVar(&s.snapshot, "snapshot", "", "read this snapshot of the table")
}

// read opens the store for reading and hands the table or snapshot to fn.
func (s *source) read(ctx context.Context, a *app, table string, fn func(reader) error) error {
	return a.withTable(ctx, engine.ReadOnly, table, func(t *engine.Table) (err error) {
		if s.compress {
			if opts, err := t.Options(ctx); err != nil {
				return err
			} else if opts.NoCompression {
				return &usageError{fmt.Errorf("table %s was made with --no-compression, which holds for exports too: leave --zstd out", table)}
			}
		}
		if s.snapshot == "" {
			return fn(t)
		}
		v, err := t.OpenSnapshot(ctx, s.snapshot)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.Close()) }()
		return fn(v)
	})
}
