package main

import (
	"bufio"
	"errors"
	"iter"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

// scanned is what a scan gives.
type scanned = iter.Seq2[engine.Entry, error]

// shownBytes is how much of a value scan shows to people.
const shownBytes = 80

func (a *app) scanCommand() *cobra.Command {
	var keys keyArg
	var from source
	var opts engine.ScanOptions
	var prefix, first, end string
	c := &cobra.Command{
		Use:   "scan TABLE",
		Short: "List the entries of a table in order of key",
		Long: `Lists entries in order of key: the key, a tab, the value. What is not printable
text is shown as a Go string literal, and a long value is cut and followed by
its length; with --json every line is complete and exact.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Limit < 0 {
				return &usageError{errors.New("--limit is negative")}
			}
			for _, b := range []struct {
				flag, arg string
				to        *[]byte
			}{{"prefix", prefix, &opts.Prefix}, {"from", first, &opts.From}, {"to", end, &opts.To}} {
				if !cmd.Flags().Changed(b.flag) {
					continue
				}
				var err error
				if *b.to, err = keys.bytes(b.arg); err != nil {
					return err
				}
			}
			ctx := cmd.Context()
			return from.read(ctx, a, args[0], func(r reader) error {
				w := bufio.NewWriterSize(a.stdout, 64<<10)
				var line []byte
				for e, err := range r.Scan(opts) {
					if err == nil {
						err = ctx.Err()
					}
					if err != nil {
						w.Flush() // what came before it is right
						return err
					}
					line = append(a.scanLine(line[:0], e, opts.KeysOnly), '\n')
					if _, err := w.Write(line); err != nil {
						return err
					}
				}
				return w.Flush()
			})
		},
	}
	keys.flag(c.Flags())
	from.flag(c.Flags())
	f := c.Flags()
	f.StringVar(&prefix, "prefix", "", "only keys that begin with this")
	f.StringVar(&first, "from", "", "begin with this key")
	f.StringVar(&end, "to", "", "end before this key")
	f.BoolVar(&opts.Reverse, "reverse", false, "from the last key to the first")
	f.IntVar(&opts.Limit, "limit", 0, "at most so many entries (0: all)")
	f.BoolVar(&opts.KeysOnly, "keys-only", false, "only the keys")
	return c
}

// scanLine appends the line of one entry.
func (a *app) scanLine(line []byte, e engine.Entry, keysOnly bool) []byte {
	switch {
	case a.json && keysOnly:
		return records.AppendKey(line, e.Key)
	case a.json:
		return records.AppendEntry(line, records.Entry{Key: e.Key, Value: e.Value})
	}
	line = append(line, records.Quote(e.Key)...)
	if keysOnly {
		return line
	}
	return append(append(line, '\t'), records.Abridge(e.Value, shownBytes)...)
}
