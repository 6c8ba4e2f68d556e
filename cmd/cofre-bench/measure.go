package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cofredb/cofre/bench"
	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/bench/workload"
)

func (a *app) quickCommand() *cobra.Command {
	return a.measure("quick", "A first answer, in a minute: Cofre and plain Pebble", bench.Quick(), report.WritePrice)
}

func (a *app) fullCommand() *cobra.Command {
	return a.measure("full", "All systems and workloads; takes an hour or more", bench.Full(), report.WriteText)
}

func (a *app) runCommand() *cobra.Command {
	p := bench.Full()
	if err := p.SetSystems([]string{"cofre", "pebble"}); err != nil {
		panic(err)
	}
	return a.measure("run", "The systems and workloads that are named; all of Cofre and plain Pebble by default", p, report.WriteText)
}

// measure makes a verb that runs a plan, which flags may change.
func (a *app) measure(use, short string, p bench.Plan, text func(io.Writer, *report.Report) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%q is no argument of %s; a file is named as in --json=FILE", args[0], use)
		}
		return nil
	}}
	f := c.Flags()
	systems := f.StringSlice("systems", nil, "systems, by name, in the order of the report")
	workloads := f.StringSlice("workloads", nil, "workloads, by name, in the order of the run")
	value := f.String("value", p.Value.String(), "size of values: bytes, such as 100 or 64KiB, or \"mixed\"")
	f.IntVar(&p.Rows, "n", p.Rows, "rows of a loaded table")
	f.IntVar(&p.Rounds, "rounds", p.Rounds, "rounds of each workload")
	f.StringVar(&p.Dir, "dir", "", "an empty or new directory for the systems' files (a new one in the temporary directory)")
	cache := f.Int64("cache", p.Cache>>20, "cache of each system, in MiB")
	f.Uint64Var(&p.Seed, "seed", p.Seed, "keys, values and the order of operations follow from it")
	f.DurationVar(&p.MaxTurn, "max-turn", p.MaxTurn, "time after which a slow system's turn is stopped")
	f.String("baseline", p.Baseline, "the system that ratios refer to")
	jsonTo := f.String("json", "", "print the document with every figure; with =FILE write it there, beside the table")
	f.Lookup("json").NoOptDefVal = "-"
	htmlTo := f.String("html", "", "write a page with charts to this file")
	quiet := f.BoolP("quiet", "q", false, "no progress")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		size, err := workload.ParseSize(*value)
		if err != nil {
			return &usageError{err}
		}
		p.SetValue(size)
		if *cache > bench.MaxCache>>20 {
			return &usageError{fmt.Errorf("a cache of %d MiB is too large", *cache)}
		}
		p.Cache = *cache << 20
		if *systems != nil {
			err = p.SetSystems(*systems)
		}
		if *workloads != nil && err == nil {
			err = p.SetWorkloads(*workloads)
		}
		if f.Changed("baseline") {
			p.Baseline, _ = f.GetString("baseline")
		}
		if err == nil {
			err = p.Check()
		}
		if err != nil {
			return &usageError{err}
		}
		p.Command = append([]string{use}, changed(f)...)
		files, err := openOutputs(*jsonTo, *htmlTo)
		if err != nil {
			return err
		}
		return errors.Join(a.runPlan(cmd.Context(), p, text, *jsonTo == "-", files, *quiet), files.close())
	}
	return c
}

// changed are the flags that shape a run, as they were given.
func changed(f *pflag.FlagSet) (args []string) {
	f.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "json", "html", "dir", "quiet":
		default:
			args = append(args, "--"+f.Name, trimList(f.Value.String()))
		}
	})
	return args
}

// trimList takes the brackets of a list away.
func trimList(s string) string {
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}

func (a *app) runPlan(ctx context.Context, p bench.Plan, text func(io.Writer, *report.Report) error, asJSON bool, files *outputs, quiet bool) error {
	show := newProgress(a.stderr, quiet)
	r, err := bench.Run(ctx, p, show.tell)
	show.done()
	if r == nil {
		if errors.Is(err, bench.ErrUnfit) {
			return &usageError{err}
		}
		return err
	}
	err = errors.Join(err, files.write(r))
	if asJSON {
		err = errors.Join(err, r.Write(a.stdout))
	} else {
		w := bufio.NewWriter(a.stdout)
		err = errors.Join(err, text(w, r), w.Flush())
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	for _, res := range r.Results {
		if res.Failed != "" {
			err = errors.Join(err, fmt.Errorf("%s failed in %s: %s", res.System, res.Workload, res.Failed))
		}
	}
	return err
}

// outputs are files for a report, made before the run: an hour later is no time
// to learn that there is no such directory. They take their names when they are
// whole.
type outputs struct{ json, html *output }

type output struct {
	f    *os.File
	path string
	done bool
}

func openOutputs(jsonTo, htmlTo string) (o *outputs, err error) {
	o = &outputs{}
	if jsonTo != "-" {
		o.json, err = openOutput(jsonTo)
	}
	if err == nil {
		o.html, err = openOutput(htmlTo)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func openOutput(path string) (*output, error) {
	if path == "" {
		return nil, nil
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil, &usageError{fmt.Errorf("%s is a directory; name a file", path)}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, &usageError{fmt.Errorf("the report cannot be written to %s: %w", path, err)}
	}
	return &output{f: f, path: path}, nil
}

// write writes one form of a report, if it is wanted.
func (o *output) write(r *report.Report, to func(io.Writer, *report.Report) error) error {
	if o == nil {
		return nil
	}
	w := bufio.NewWriter(o.f)
	if err := errors.Join(to(w, r), w.Flush(), o.f.Chmod(0o644), o.f.Close()); err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	o.done = true
	return os.Rename(o.f.Name(), o.path)
}

// close removes what was not written.
func (o *output) close() error {
	if o == nil || o.done {
		return nil
	}
	_ = o.f.Close() // it is not wanted
	return os.Remove(o.f.Name())
}

func (o *outputs) write(r *report.Report) error {
	document := func(w io.Writer, r *report.Report) error { return r.Write(w) }
	return errors.Join(o.json.write(r, document), o.html.write(r, report.WriteHTML))
}

func (o *outputs) close() error { return errors.Join(o.json.close(), o.html.close()) }
