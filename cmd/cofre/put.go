package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/cmd/cofre/internal/records"
	"github.com/cofredb/cofre/engine"
)

func (a *app) putCommand() *cobra.Command {
	var keys keyArg
	var file string
	c := &cobra.Command{
		Use:   "put TABLE KEY {VALUE | - | --file FILE}",
		Short: "Store a value under a key",
		Long: `Stores a value under a key, durably. "-" takes the value from standard input,
--file from a file: a value on the command line shows in the shell's history
and in the list of processes.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keys.bytes(args[1])
			if err != nil {
				return err
			}
			value, err := a.putValue(args[2:], file, cmd.Flags().Changed("file"))
			if err != nil {
				return err
			}
			return a.withTable(cmd.Context(), engine.MustExist, args[0], func(t *engine.Table) error {
				if err := t.Put(key, value, nil); err != nil {
					return err
				}
				if !a.json {
					return nil
				}
				line := records.AppendField([]byte(`{"table":"`+t.Name()+`",`), "key", key)
				_, err := fmt.Fprintf(a.stdout, "%s,\"bytes\":%d}\n", line, len(value))
				return err
			})
		},
	}
	keys.flag(c.Flags())
	c.Flags().StringVar(&file, "file", "", "take the value from this file")
	return c
}

// putValue takes the value from where the arguments say it is.
func (a *app) putValue(args []string, file string, fromFile bool) ([]byte, error) {
	switch {
	case fromFile == (len(args) > 0):
		return nil, &usageError{errors.New("give one of VALUE, - and --file")}
	case fromFile:
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return readValue(f, info.Size())
	case args[0] == "-":
		return readValue(a.stdin, 0)
	}
	return []byte(args[0]), nil
}

// readValue reads r to its end, but no more than a value may have. The size
// is what r is said to hold, or 0.
func readValue(r io.Reader, size int64) ([]byte, error) {
	tooLarge := fmt.Errorf("%w: more than %d bytes", engine.ErrValueTooLarge, engine.MaxValueLen)
	if size > engine.MaxValueLen {
		return nil, tooLarge
	}
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead) // the end is seen without growing
	if _, err := b.ReadFrom(io.LimitReader(r, engine.MaxValueLen+1)); err != nil {
		return nil, err
	}
	if b.Len() > engine.MaxValueLen {
		return nil, tooLarge
	}
	return b.Bytes(), nil
}
