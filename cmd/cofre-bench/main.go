// Command cofre-bench measures what encryption costs: Cofre beside plain Pebble
// with the very same options, and beside what a program would use instead.
//
//	cofre-bench quick                      a first answer, in a minute
//	cofre-bench full --html report.html    everything, in an hour or more
//	cofre-bench run --workloads readcold,scan --systems cofre,pebble --rounds 9
//	cofre-bench list                       workloads and systems
//	cofre-bench compare OLD.json NEW.json  what became slower
//	cofre-bench render REPORT.json --html report.html
//
// How it measures is in package bench; "cofre-bench help VERB" says all of a
// verb.
//
// # Output
//
// The table goes to standard output, progress and errors to standard error.
// With --json the document with every figure takes the table's place; with
// --json=FILE and --html FILE the report is also kept. An interrupted run
// reports the rounds that are whole, and says that it is partial. Nothing stays
// in the directory that a run used.
//
// # Exit codes
//
//	  0  done
//	  1  any other failure; a system that failed; for compare, a regression
//	  2  usage: flags, arguments, an impossible plan, reports that cannot be read or
//	     have nothing in common
//	130  interrupted
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/bench"
	"github.com/cofredb/cofre/bench/system"
)

const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == bench.AgentArg {
		os.Exit(agent())
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// agent is the process of one turn. It leaves an interrupt to its parent, and
// ends when the parent hangs up.
func agent() int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := bench.Serve(stdio{}, system.All()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	return exitOK
}

type stdio struct{}

func (stdio) Read(b []byte) (int, error)  { return os.Stdin.Read(b) }
func (stdio) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }

// run is the command but for the process around it. It returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends the process at once

	a := &app{stdout: stdout, stderr: stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "cofre-bench: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "cofre-bench: %v\n", err)
	if errors.As(err, &usage) || !a.began {
		fmt.Fprintln(stderr, `hint: "cofre-bench help VERB" tells a verb's flags, "cofre-bench list" workloads and systems`)
		return exitUsage
	}
	return exitFailure
}

// A usageError says that the command was called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// An app is one run of the command.
type app struct {
	stdout, stderr io.Writer
	began          bool // a verb runs: flags and arguments were right
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "cofre-bench",
		Short: "What encryption costs",
		Long: "Cofre-bench runs the same work on Cofre, on plain Pebble and on other stores,\nby turns, and prints how they compare.\n\n" +
			"Exit codes: 0 done; 1 a failure, a system that failed, something slower in compare;\n" +
			"2 usage; 130 interrupted.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.began = true
		},
	}
	root.AddCommand(a.quickCommand(), a.fullCommand(), a.runCommand(), a.listCommand(), a.compareCommand(), a.renderCommand())
	return root
}
