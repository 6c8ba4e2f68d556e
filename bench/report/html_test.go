package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	inline = regexp.MustCompile(`(?s)<(style|script)([^>]*)>(.*?)</(?:style|script)>`)
	policy = regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`)
	banner = regexp.MustCompile(`(?s)/\*!.*?\*/`)
)

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, WriteHTML(&b, r))
	return b.String()
}

// markup is the page without its styles and scripts, as a parser reads it: it
// fails on tags that do not match.
func markup(t *testing.T, page string) (tags []xml.StartElement, rows map[string]bool) {
	t.Helper()
	page = strings.ReplaceAll(page, "\x1b", "") // fine in HTML, not in XML
	d := xml.NewDecoder(strings.NewReader(inline.ReplaceAllString(strings.TrimPrefix(page, "<!DOCTYPE html>"), "")))
	d.Strict, d.Entity, d.AutoClose = false, xml.HTMLEntity, xml.HTMLAutoClose
	rows = make(map[string]bool)
	var cells []string
	depth, text := 0, ""
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		switch x := token.(type) {
		case xml.StartElement:
			tags = append(tags, x.Copy())
			depth++
			switch x.Name.Local {
			case "tr":
				cells = nil
			case "td", "th":
				text = ""
			}
		case xml.EndElement:
			depth--
			switch x.Name.Local {
			case "tr":
				rows[strings.Join(cells, "|")] = true
			case "td", "th":
				cells = append(cells, strings.TrimSpace(text))
			}
		case xml.CharData:
			text += string(x)
		}
	}
	require.Zero(t, depth)
	return tags, rows
}

// TestPageLoadsNothing: no element has an address, no style and no script asks
// for one, and the policy names exactly the styles and scripts of the page.
func TestPageLoadsNothing(t *testing.T) {
	t.Parallel()
	page := pageOf(t, synthetic(1, 2, 0.02))
	tags, _ := markup(t, page)
	for _, tag := range tags {
		require.NotContains(t, []string{"link", "img", "iframe", "object", "embed", "base", "form", "source", "video", "audio", "a"}, tag.Name.Local)
		for _, a := range tag.Attr {
			name := strings.ToLower(a.Name.Local)
			require.NotContains(t, []string{"src", "srcset", "href", "action", "formaction", "poster", "data", "background", "style", "ping"}, name, tag)
			require.False(t, strings.HasPrefix(name, "on"), tag)
		}
	}
	outside := inline.ReplaceAllString(page, "")
	require.False(t, strings.Contains(outside, "http:") || strings.Contains(outside, "https:") || strings.Contains(outside, "//"))

	rules := html.UnescapeString(policy.FindStringSubmatch(page)[1])
	require.True(t, strings.HasPrefix(rules, "default-src 'none';"), rules)
	require.NotContains(t, rules, "unsafe")
	scripts := 0
	for _, m := range inline.FindAllStringSubmatch(page, -1) {
		text := m[3]
		if strings.Contains(m[2], "json") {
			require.False(t, strings.Contains(text, "<"))
			continue
		}
		sum := sha256.Sum256([]byte(text))
		require.Contains(t, rules, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'", "a browser would refuse this one")
		code := banner.ReplaceAllString(text, "")
		for _, word := range []string{"http:", "https:", "url(", "@import", "XMLHttpRequest", "fetch(", "WebSocket", "EventSource", "sendBeacon", "import(", "importScripts", "sourceMappingURL", "new Function", "eval(", "innerHTML", "document.write"} {
			require.False(t, strings.Contains(code, word), "%s in a %s", word, m[1])
		}
		if m[1] == "script" {
			scripts += len(text)
		}
	}
	require.Less(t, scripts, 300<<10)
	require.Equal(t, 4, strings.Count(rules, "'sha256-")+1, "one style and two scripts")
}

// TestPageHasEveryFigure compares the tables, which need no script, with the report.
func TestPageHasEveryFigure(t *testing.T) {
	t.Parallel()
	for _, r := range []*Report{synthetic(2, 3, 0.02), small()} {
		page := pageOf(t, r)
		_, rows := markup(t, page)
		for i := range r.Results {
			x := &r.Results[i]
			row := []string{r.Title(x.System)}
			if x.Stopped() {
				row[0] += " *"
			}
			s := r.Compare(x.Workload, x.Value, x.System, Throughput)
			row = append(row, printRatio(s), spread(s))
			for _, c := range pageColumns {
				row = append(row, c.M.Print(x.Stat(c.M)))
			}
			require.True(t, rows[strings.Join(row, "|")], "%s %s: %v", x.Workload, x.Value, row)
			for _, round := range x.Rounds {
				row := []string{r.Title(x.System), fmt.Sprint(round.Number), thousands(int(round.Ops)), three(round.Seconds) + "s", three(round.Front) + "s", thousands(int(round.Checked))}
				if round.Stopped {
					row[0] += " *"
				}
				for _, c := range pageColumns {
					one := Result{Rounds: []Round{round}}
					row = append(row, c.M.Print(one.Stat(c.M)))
				}
				require.True(t, rows[strings.Join(row, "|")], "%s %s: %v", x.Workload, x.Value, row)
			}
		}
		text := html.UnescapeString(page)
		for _, s := range r.Systems {
			require.True(t, strings.Contains(text, s.Options) && strings.Contains(text, s.Version))
		}
		for _, f := range r.facts() {
			require.True(t, strings.Contains(text, f.Text), f)
		}
	}
}

// TestPageData: the charts get what the statistics say.
func TestPageData(t *testing.T) {
	t.Parallel()
	r := synthetic(2, 3, 0.02)
	page := pageOf(t, r)
	var d pageData
	for _, m := range inline.FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[2], "json") {
			require.NoError(t, json.Unmarshal([]byte(m[3]), &d))
		}
	}
	groups := r.Groups()
	require.Len(t, d.Workloads, len(groups))
	require.Equal(t, "cofre", d.Systems[d.Subject].Name)
	require.Equal(t, "pebble", d.Systems[d.Baseline].Name)
	for i, g := range groups {
		for j, s := range r.Systems {
			want, got := r.CompareTo(g.Workload, g.Value, "cofre", s.Name, Throughput), d.Metrics[0].Ratios[i][j]
			require.Equal(t, want.N > 0, got != nil)
			if got != nil {
				require.InEpsilon(t, want.Median, got[0], 1e-4)
				require.InEpsilon(t, want.Low, got[1], 1e-4)
				require.InEpsilon(t, want.High, got[2], 1e-4)
			}
		}
	}
	require.Equal(t, "missed", d.Metrics[0].Marks[6], "readcold")
	require.Equal(t, "free", d.Metrics[0].Marks[8], "readmissing")
	require.InDelta(t, 0.87, d.Metrics[0].Bounds[6], 1e-9)
	events := 0
	for _, w := range d.Timelines {
		for _, l := range w.Lines {
			events += len(l.Events)
		}
	}
	require.Positive(t, events)
	require.NotEmpty(t, d.Latency)
}

// TestTimelinesKeepOperations: joining intervals loses none.
func TestTimelinesKeepOperations(t *testing.T) {
	t.Parallel()
	var x Round
	x.Ops, x.Seconds = 1000, 10
	want := 0.0
	for i := range 1003 {
		x.Timeline = append(x.Timeline, Point{At: float64(i+1) / 100, Ops: int64(i % 7), P99: int64(i)})
		want += float64(i % 7)
	}
	lines := timelines(Group{Results: []*Result{nil, {Rounds: []Round{x}}}})
	require.Len(t, lines, 1)
	require.LessOrEqual(t, len(lines[0].Points), 400)
	sum, before := 0.0, 0.0
	for _, p := range lines[0].Points {
		sum += p[1] * (p[0] - before)
		before = p[0]
	}
	require.InEpsilon(t, want, sum, 1e-3)
	require.InDelta(t, 10.03, before, 1e-9)
}

// TestHostileNames: a report is a file that anyone may have written.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		`"><script>alert(1)</script>`, `</script><script>alert(1)//`, `</title></style><img src=x onerror=alert(1)>`,
		"{{.}}", "`${alert(1)}`", "\u2028\x1b[31m\u202e", `\u003cscript>`, "<!--<script>", "a|b", "javascript:alert(1)",
	} {
		r := small()
		clean := pageOf(t, r)
		for i := range r.Systems {
			r.Systems[i].Title, r.Systems[i].Options, r.Systems[i].Version = name, name, name
		}
		for i := range r.Results {
			r.Results[i].Workload, r.Results[i].Value, r.Results[i].Class = name+r.Results[i].Workload, name, name
			for j := range r.Results[i].Rounds {
				r.Results[i].Rounds[j].Timeline = []Point{{At: 1, Ops: 1}, {At: 2, Ops: 2}}
				r.Results[i].Rounds[j].Events = []Event{{Name: name}}
			}
		}
		r.Partial, r.Command, r.Settings.Durable, r.Settings.Value = name, []string{name}, name, name
		r.Machine.CPU, r.Machine.OS, r.Machine.FileSystem, r.Machine.Go, r.Machine.Revision = name, name, name, name, name
		page := pageOf(t, r)
		for _, tag := range []string{"<script", "</script", "<style", "</style", "<img", "<title", "<!--"} {
			require.Equal(t, strings.Count(clean, tag), strings.Count(page, tag), "%s in %q", tag, name)
		}
		markup(t, page)

		var b bytes.Buffer
		require.NoError(t, WriteSVG(&b, r))
		d := xml.NewDecoder(&b)
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err, name)
			if e, ok := token.(xml.StartElement); ok {
				require.Contains(t, []string{"svg", "title", "desc", "style", "rect", "text", "line", "path", "g"}, e.Name.Local)
			}
		}
		for _, write := range []func(io.Writer, *Report) error{WriteText, WritePrice, WriteMarkdown, func(w io.Writer, r *Report) error { return Compare(r, r).WriteText(w) }} {
			b.Reset()
			require.NoError(t, write(&b, r))
			require.False(t, strings.ContainsAny(b.String(), "\x1b\u202e"), "%q", b.String())
		}
		b.Reset()
		require.NoError(t, WriteMarkdown(&b, r))
		require.NotContains(t, b.String(), "<")
	}
}

// TestLibrary: the embedded file is the one that its list names, with licences.
func TestLibrary(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("assets/README.md")
	require.NoError(t, err)
	code, err := os.ReadFile("assets/chart.umd.min.js")
	require.NoError(t, err)
	sum := sha256.Sum256(code)
	require.Contains(t, string(list), hex.EncodeToString(sum[:]))
	version := regexp.MustCompile(`Chart\.js v([0-9.]+)`).FindSubmatch(code)
	require.Contains(t, string(list), "| "+string(version[1])+" |")
	color := regexp.MustCompile(`@kurkle/color v([0-9.]+)`).FindSubmatch(code)
	require.Contains(t, string(list), "| "+string(color[1])+" |")
	script, err := libraryScript()
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(script, "Permission is hereby granted"))
}

// TestScriptFindsItsElements: every element that the page's script asks for is there.
func TestScriptFindsItsElements(t *testing.T) {
	t.Parallel()
	tags, _ := markup(t, pageOf(t, synthetic(1, 1, 0.02)))
	ids := map[string]bool{"data": true} // this one is a script
	for _, tag := range tags {
		for _, a := range tag.Attr {
			if a.Name.Local == "id" {
				require.False(t, ids[a.Value], "%s twice", a.Value)
				ids[a.Value] = true
			}
		}
	}
	script, err := asset("page.js")
	require.NoError(t, err)
	asked := regexp.MustCompile(`(?:at|draw|section)\("([a-z0-9-]+)"`).FindAllStringSubmatch(script, -1)
	require.Greater(t, len(asked), 20)
	for _, m := range asked {
		require.True(t, ids[m[1]], m[1])
	}
}
