package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"math"
	"strings"
	"text/template"
	"unicode/utf8"
)

//go:embed chart.svg.tmpl
var chartSource string

var chartTemplate = template.Must(template.New("chart").Funcs(template.FuncMap{"xml": xmlText}).Parse(chartSource))

// chartRow is a bar. Lengths are pixels.
type chartRow struct {
	Label, Value, Class, Title string
	Y, Text                    float64 // top of the bar, base line of the text
	X, W                       float64 // the bar
	Low, High                  float64 // its spread
	Target                     float64 // 0: none
}

type chartTick struct {
	X    float64
	Text string
}

type chart struct {
	Width, Height, Top, Bottom, Left, Right, One, LabelX, ValueX float64
	Title, Sub, Summary                                          string
	Rows                                                         []chartRow
	Ticks                                                        []chartTick
}

// WriteSVG writes the main chart as an image: a bar for each workload from 1,
// which is the baseline's throughput, to the subject's. It follows the reader's
// choice of light or dark and loads nothing.
func WriteSVG(w io.Writer, r *Report) error {
	const rowHeight, bar, top = 22, 12, 92
	c := chart{Width: 820, Top: top, Left: 170, Right: 740, LabelX: 158, ValueX: 752}
	type figure struct {
		g Group
		s Ratio
	}
	var figures []figure
	low, high := 0.9, 1.1
	for _, g := range r.Groups() {
		if s := g.of(r, r.Subject()).Ratio(g.of(r, r.Baseline), Throughput); s.N > 0 {
			figures = append(figures, figure{g, s})
			low, high = min(low, s.Low), min(max(high, s.High), 2.5)
		}
	}
	low, high, step := axis(low, high)
	x := func(v float64) float64 {
		v = c.Left + (min(max(v, low), high)-low)/(high-low)*(c.Right-c.Left)
		return math.Round(v*10) / 10
	}
	c.One = x(1)
	for v := low; v <= high+step/2; v += step {
		c.Ticks = append(c.Ticks, chartTick{x(v), fmt.Sprintf("%.*f", decimals(step), v)})
	}
	for i, f := range figures {
		y := float64(top + i*rowHeight)
		value := fmt.Sprintf("%.2f", f.s.Median)
		t, judged := r.Target(f.g.Workload, r.Subject(), Throughput)
		if judged && !t.Met(f.s) && value == fmt.Sprintf("%.2f", t.Bound()) {
			value = ratio(f.s.Median) // it must not look as if it met the target
		}
		row := chartRow{
			Label: f.g.Label(r.Settings.Value), Value: value, Class: "free",
			Y: y + (rowHeight-bar)/2, Text: y + rowHeight/2 + 4,
			X: min(c.One, x(f.s.Median)), W: max(1, math.Round(math.Abs(x(f.s.Median)-c.One)*10)/10),
			Low: x(f.s.Low), High: x(f.s.High),
		}
		row.Title = fmt.Sprintf("%s: %s, rounds from %.2f to %.2f", row.Label, ratio(f.s.Median), f.s.Low, f.s.High)
		if judged {
			row.Target, row.Class = x(t.Bound()), "met"
			if !t.Met(f.s) {
				row.Class = "missed"
			}
			row.Title += fmt.Sprintf(", target %.2f %s", t.Bound(), row.Class)
		}
		if utf8.RuneCountInString(row.Label) > 22 {
			row.Label = string([]rune(row.Label)[:21]) + "…"
		}
		c.Rows = append(c.Rows, row)
	}
	c.Bottom = float64(top + len(figures)*rowHeight)
	c.Height = c.Bottom + 52
	c.Title = fmt.Sprintf("Throughput of %s divided by that of %s", r.Title(r.Subject()), r.Title(r.Baseline))
	c.Sub = "Further right is faster. Median and spread of " + plural(r.Settings.Rounds, "interleaved round")
	if r.Machine.CPU != "" {
		c.Sub += ", " + r.Machine.CPU
	}
	h := r.Headline()
	c.Summary = strings.TrimSpace(h.Claim + " " + h.Detail)
	var b bytes.Buffer
	if err := chartTemplate.Execute(&b, c); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// axis widens a range to whole steps of a round number, so that there are five
// to ten.
func axis(low, high float64) (from, to, step float64) {
	step = math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	for _, f := range []float64{2, 2.5, 2} {
		if (high-low)/step > 10 {
			step *= f
		}
	}
	return math.Floor(low/step+1e-9) * step, math.Ceil(high/step-1e-9) * step, step
}

func decimals(step float64) int {
	for n := range 4 {
		if s := step * math.Pow(10, float64(n)); math.Abs(s-math.Round(s)) < 1e-9 {
			return max(1, n)
		}
	}
	return 4
}

// xmlText escapes text for an element or an attribute.
func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(plain(s))
}
