package records

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// CSV reads comma-separated values with a header.
type CSV struct {
	r      *csv.Reader
	budget *budget
	fields [][]byte // `"name":` of each column
	key    int      // the key's column
	line   int      // where the last record began
	lim    Limits
}

// NewCSV reads r, up to its header.
func NewCSV(r io.Reader, keyColumn string, lim Limits) (*CSV, error) {
	br, err := stream(r)
	if err != nil {
		return nil, err
	}
	c := &CSV{budget: &budget{r: br}, lim: lim}
	c.r = csv.NewReader(c.budget)
	c.r.FieldsPerRecord = -1 // judged here, with the numbers in the error
	c.r.ReuseRecord = true
	c.budget.left = c.recordMax()
	header, err := c.r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("no header: the input is empty")
	case err != nil:
		return nil, c.fault(err)
	}
	seen := map[string]bool{}
	for i, name := range header {
		if !utf8.ValidString(name) {
			return nil, badLine(1, "column %d of the header is not UTF-8", i+1)
		}
		if seen[name] {
			return nil, badLine(1, "column %d of the header repeats a name", i+1)
		}
		seen[name] = true
		c.fields = append(c.fields, append(AppendString(nil, []byte(name)), ':'))
	}
	if c.key = slices.Index(header, keyColumn); c.key < 0 {
		return nil, badLine(1, "no column %q among the %d of the header", keyColumn, len(header))
	}
	return c, nil
}

// Next implements [Reader].
func (c *CSV) Next(e *Entry) error {
	c.budget.left = c.recordMax()
	row, err := c.r.Read()
	if err != nil {
		return c.fault(err)
	}
	line, _ := c.r.FieldPos(0)
	c.line = line
	if len(row) != len(c.fields) {
		return badLine(int64(line), "number of fields is %d, the header's is %d", len(row), len(c.fields))
	}
	value := append(e.Value[:0], '{')
	for i, field := range row {
		if !utf8.ValidString(field) {
			return badLine(int64(line), "field %d is not UTF-8", i+1)
		}
		if i > 0 {
			value = append(value, ',')
		}
		value = append(value, c.fields[i]...)
		value = AppendString(value, []byte(field))
	}
	e.Value = append(value, '}')
	e.Key = append(e.Key[:0], row[c.key]...)
	return c.lim.check(fmt.Sprintf("line %d", line), len(e.Key), len(e.Value))
}

// fault names the line of a parser's error. The parser goes on behind it.
func (c *CSV) fault(err error) error {
	var p *csv.ParseError
	switch {
	case err == io.EOF:
		return err
	case !errors.As(err, &p):
		return fmt.Errorf("after line %d: %w", c.line, err)
	case p.StartLine != p.Line:
		return &BadEntry{Where: fmt.Sprintf("line %d", p.Line),
			Reason: fmt.Sprintf("column %d: %v; the record begins in line %d", p.Column, p.Err, p.StartLine)}
	}
	return badLine(int64(p.Line), "column %d: %v", p.Column, p.Err)
}

// recordMax bounds what one record may take from the input: a quote that is
// never closed would take all of it. The parser's buffer reads ahead.
func (c *CSV) recordMax() int { return c.lim.Key + c.lim.Value + 64<<10 }

// A budget is a reader that gives no more than left bytes.
type budget struct {
	r    io.Reader
	left int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("a record longer than a value may be; is a quote not closed?")
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
