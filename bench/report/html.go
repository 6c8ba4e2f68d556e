package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// Bars and curves are drawn by Chart.js, which lies in assets with its licence.
//
//go:embed page.html page.css page.js assets/chart.umd.min.js assets/*.md
var files embed.FS

// WriteHTML writes the report as one page that needs nothing else: style,
// scripts, the chart library and the figures lie in it, and its policy forbids
// the browser to load anything. Without scripts it shows its tables.
func WriteHTML(w io.Writer, r *Report) error {
	style, err := asset("page.css")
	if err != nil {
		return err
	}
	script, err := asset("page.js")
	if err != nil {
		return err
	}
	library, err := libraryScript()
	if err != nil {
		return err
	}
	source, err := asset("page.html")
	if err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"columns": func() []string { return columnTitles() },
		"hasData": func(d pageData) bool { return d.Subject >= 0 && len(d.Workloads) > 0 },
	}).Parse(source)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		*page
		Policy          string
		Style           template.CSS
		ChartJS, Script template.JS
	}{
		newPage(r),
		fmt.Sprintf("default-src 'none'; base-uri 'none'; form-action 'none'; style-src %s; script-src %s %s",
			digest(style), digest(library), digest(script)),
		template.CSS(style), template.JS(library), template.JS(script),
	})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// libraryScript is the chart library with its licences in front, and without the
// last line, which names a file for debuggers that the page does not have.
func libraryScript() (string, error) {
	code, err := asset("assets/chart.umd.min.js")
	if err != nil {
		return "", err
	}
	code, _, _ = strings.Cut(code, "\n//# sourceMappingURL=")
	var b strings.Builder
	for _, name := range []string{"chart.js", "kurkle-color"} {
		text, err := asset("assets/LICENSE-" + name + ".md")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "/*! %s\n%s*/\n", name, text)
	}
	b.WriteString(code)
	return b.String(), nil
}

func asset(name string) (string, error) {
	text, err := files.ReadFile(name)
	return string(text), err
}

// digest names an inline style or script in the page's policy.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func columnTitles() []string {
	titles := make([]string, len(pageColumns))
	for i, c := range pageColumns {
		titles[i] = c.Title
	}
	return titles
}
