package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// none stands where nothing was measured.
const none = "–"

// three prints a number with three significant digits, and with no more digits
// than the whole part has if that is longer.
func three(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.00995:
		return strconv.FormatFloat(v, 'f', 4, 64)
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// scaled prints a number in the largest of units that leaves a whole part.
// Each unit is step times the former one.
func scaled(v, step float64, units ...string) string {
	i := 0
	for i < len(units)-1 && math.Abs(v) >= step-step/2000 {
		v /= step
		i++
	}
	return three(v) + units[i]
}

// rate prints operations a second.
func rate(v float64) string { return scaled(v, 1000, "", "k", "M", "G") }

// nanos prints a time that is given in nanoseconds.
func nanos(v float64) string {
	if v < 999.5 {
		return strconv.FormatFloat(v, 'f', 0, 64) + "ns"
	}
	return scaled(v/1000, 1000, "µs", "ms", "s")
}

// size prints bytes.
func size(v float64) string {
	return scaled(v, 1024, " B", " KiB", " MiB", " GiB", " TiB")
}

// ratio prints a ratio. Below ten it has three decimals, because bounds such as
// 0.97 are compared with what is not rounded.
func ratio(v float64) string {
	switch {
	case v < 9.9995:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// spread prints the range of a ratio.
func spread(s Stat) string {
	if s.N == 0 {
		return none
	}
	return three2(s.Low) + "–" + three2(s.High)
}

// three2 is three with two decimals for small numbers.
func three2(v float64) string {
	if math.Abs(v) < 9.995 {
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return three(v)
}

// Print returns a figure of the metric with its unit, for a reader.
func (m Metric) Print(s Stat) string {
	if s.N == 0 {
		return none
	}
	return m.print(s.Median)
}

func (m Metric) print(v float64) string {
	switch m {
	case Throughput:
		return rate(v)
	case CPU:
		return nanos(v * 1e9)
	case Written:
		return three2(v)
	case Space, Memory, AllocBytes:
		return size(v)
	case Allocs:
		return three(v)
	}
	return nanos(v)
}

func printRatio(s Stat) string {
	if s.N == 0 {
		return none
	}
	return ratio(s.Median)
}

// seconds prints the length of a run.
func seconds(v float64) string {
	if !(v >= 0 && v < 1e9) {
		return none
	}
	switch s := int64(v + 0.5); {
	case v < 9.5 && v != math.Trunc(v):
		return three(v) + " s"
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 7200:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", s/60, s%60), " 0 s")
	default:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", s/3600, s%3600/60), " 0 min")
	}
}

// thousands prints a whole number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// percent prints a change, with its sign.
func percent(v float64) string { return fmt.Sprintf("%+.1f %%", v*100) }

// plain removes what would move the cursor or change colours on a terminal, or
// break a line of a table.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return '?'
		}
		return c
	}, s)
}

func left(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

// plural prints a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// wrap breaks words into lines of at most width characters, where words allow.
func wrap(s string, width int, indent string) string {
	var b strings.Builder
	line := 0
	for i, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case line+1+n > width:
			b.WriteString("\n" + indent)
			line = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += n
	}
	return b.String()
}
