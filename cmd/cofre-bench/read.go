package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/bench/system"
	"github.com/cofredb/cofre/bench/workload"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Workloads and systems, with what each does", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := bufio.NewWriter(a.stdout)
			fmt.Fprintln(w, "WORKLOADS")
			for _, l := range workload.All() {
				fmt.Fprintf(w, "  %-17s %s\n", l.Name, l.Does)
			}
			fmt.Fprintln(w, "\nSYSTEMS")
			for _, k := range system.All() {
				fmt.Fprintf(w, "  %-17s %s: %s\n", k.Name, k.Title, protection(k))
				fmt.Fprintf(w, "  %-17s   %s\n", "", k.Options)
			}
			return w.Flush()
		},
	}
}

// protection says what a system does for what it stores.
func protection(k system.Kind) string {
	switch {
	case k.Authenticated:
		return "encrypted; a changed byte is an error"
	case k.Encrypted:
		return "encrypted; a changed byte is not noticed, or by chance"
	}
	return "not encrypted"
}

func (a *app) compareCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "compare OLD.json NEW.json", Short: "What became slower or faster between two reports", Args: cobra.ExactArgs(2),
		Long: "Compare holds the ratios to the baseline of two runs against each other, so that\n" +
			"another load on the machine does not look like a regression. It exits with 1 if\n" +
			"something became slower by more than the threshold, and by more than either run's\n" +
			"rounds differ among themselves, and with 2 if the runs have nothing in common. What\n" +
			"only one of them has is listed as new or gone, and is no failure.",
	}
	threshold := c.Flags().Float64("threshold", 100*report.Threshold, "change that counts, in percent")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if !(*threshold > 0 && *threshold < 100) { // NaN is not either
			return &usageError{fmt.Errorf("a threshold of %v percent is not between 0 and 100", *threshold)}
		}
		old, err := readReport(args[0])
		if err != nil {
			return err
		}
		new, err := readReport(args[1])
		if err != nil {
			return err
		}
		cmp := report.CompareBeyond(old, new, *threshold/100)
		w := bufio.NewWriter(a.stdout)
		if err := errors.Join(cmp.WriteText(w), w.Flush()); err != nil {
			return err
		}
		if cmp.Compared() == 0 {
			return &usageError{errors.New("no workload of a system is in both reports, at the same size of values: nothing was compared")}
		}
		if n := len(cmp.Regressions()); n > 0 {
			return fmt.Errorf("%d slower than before", n)
		}
		return nil
	}
	return c
}

func (a *app) renderCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "render REPORT.json", Short: "Write a report's table, page or chart anew", Args: cobra.ExactArgs(1),
	}
	f := c.Flags()
	html := f.String("html", "", "write a page with charts to this file")
	svg := f.String("svg", "", "write the main chart to this file")
	markdown := f.Bool("markdown", false, "print the main table as Markdown")
	c.RunE = func(_ *cobra.Command, args []string) error {
		r, err := readReport(args[0])
		if err != nil {
			return err
		}
		var files outputs
		err = files.add(*html, report.WriteHTML, args...)
		if err == nil {
			err = files.add(*svg, report.WriteSVG, args...)
		}
		if err == nil {
			err = files.write(r)
		}
		if err = errors.Join(err, files.close()); err != nil {
			return err
		}
		w := bufio.NewWriter(a.stdout)
		switch {
		case *markdown:
			err = report.WriteMarkdown(w, r)
		case *html == "" && *svg == "":
			err = report.WriteText(w, r)
		}
		return errors.Join(err, w.Flush())
	}
	return c
}

func readReport(path string) (*report.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &usageError{err}
	}
	defer f.Close()
	r, err := report.Read(bufio.NewReader(f))
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s: %w", path, err)}
	}
	return r, nil
}
