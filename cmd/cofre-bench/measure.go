package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	c := &cobra.Command{Use: use, Short: short, Long: describe(short, p), Args: func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%q is no argument of %s; a file is named as in --json=FILE", args[0], use)
		}
		return nil
	}}
	f := c.Flags()
	systems := f.StringSlice("systems", nil, "systems, by name, in the order of the report")
	workloads := f.StringSlice("workloads", nil, "workloads, by name, in the order of the run")
	value := f.String("value", p.Value.String(), "size of values: bytes, such as 100 or 64KiB, or \"mixed\", most of them small and most bytes in large ones")
	f.IntVar(&p.Rows, "n", p.Rows, fmt.Sprintf("rows of a loaded table, %d or more", bench.MinRows))
	f.IntVar(&p.Rounds, "rounds", p.Rounds, "rounds of each workload")
	f.StringVar(&p.Dir, "dir", "", "an empty or new directory for the systems' files (a new one in the temporary directory)")
	cache := f.Int64("cache", p.Cache>>20, fmt.Sprintf("cache of each system, in MiB, %d or more", bench.MinCache>>20))
	f.Uint64Var(&p.Seed, "seed", p.Seed, "keys, values and the order of operations follow from it")
	f.DurationVar(&p.MaxTurn, "max-turn", p.MaxTurn, "time after which a slow system's turn is stopped; after two such turns of a workload it has no more of it")
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
		for _, name := range []string{"json", "html", "dir"} {
			if g := f.Lookup(name); g.Changed && g.Value.String() == "" {
				return &usageError{fmt.Errorf("--%s names nothing", name)}
			}
		}
		var files outputs
		if *jsonTo != "-" {
			err = files.add(*jsonTo, document)
		}
		if err == nil {
			err = files.add(*htmlTo, report.WriteHTML)
		}
		if err != nil {
			return errors.Join(err, files.close())
		}
		return errors.Join(a.runPlan(cmd.Context(), p, text, *jsonTo == "-", files, *quiet), files.close())
	}
	return c
}

// describe tells what a plan measures unless flags change it.
func describe(short string, p bench.Plan) string {
	var systems, workloads []string
	for _, k := range p.Systems {
		systems = append(systems, k.Name)
	}
	sizes := 0
	for _, m := range p.Workloads {
		if m.Value == p.Value {
			workloads = append(workloads, m.Name)
		} else {
			sizes++
		}
	}
	text := fmt.Sprintf("%s.\n\nSystems: %s.\nWorkloads: %s", short, strings.Join(systems, ", "), strings.Join(workloads, ", "))
	if sizes > 0 {
		text += fmt.Sprintf(";\n%d more at other sizes of values", sizes)
	}
	return text + ".\n\"cofre-bench list\" says what each of them does."
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

func (a *app) runPlan(ctx context.Context, p bench.Plan, text func(io.Writer, *report.Report) error, asJSON bool, files outputs, quiet bool) error {
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
