package records

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// A Writer writes the format of an export. Close it to have all of it
// written.
type Writer struct {
	buf  *bufio.Writer
	zw   *zstd.Encoder // nil: not compressed
	line []byte
}

// NewWriter writes to w, compressed with zstd where asked.
func NewWriter(w io.Writer, compress bool) (*Writer, error) {
	x := &Writer{buf: bufio.NewWriterSize(w, 256<<10)}
	if compress {
		var err error
		if x.zw, err = zstd.NewWriter(x.buf, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Write appends one entry.
func (x *Writer) Write(e Entry) error {
	x.line = append(AppendEntry(x.line[:0], e), '\n')
	var err error
	if x.zw != nil {
		_, err = x.zw.Write(x.line)
	} else {
		_, err = x.buf.Write(x.line)
	}
	return err
}

// Close writes what is buffered. It leaves the underlying writer open.
func (x *Writer) Close() error {
	if x.zw != nil {
		if err := x.zw.Close(); err != nil {
			return err
		}
	}
	return x.buf.Flush()
}

// AppendEntry appends an entry's line, without its end.
func AppendEntry(dst []byte, e Entry) []byte {
	dst = AppendField(append(dst, '{'), "key", e.Key)
	dst = AppendField(append(dst, ','), "value", e.Value)
	return append(dst, '}')
}

// AppendKey appends the line of a key without its value.
func AppendKey(dst, key []byte) []byte {
	return append(AppendField(append(dst, '{'), "key", key), '}')
}

// AppendField appends a JSON member: "name":"text" or "name_b64":"base64".
func AppendField(dst []byte, name string, b []byte) []byte {
	dst = append(append(dst, '"'), name...)
	if isText(b) {
		return AppendString(append(dst, `":`...), b)
	}
	dst = append(dst, `_b64":"`...)
	return append(base64.StdEncoding.AppendEncode(dst, b), '"')
}

// isText tells whether b is UTF-8 whose JSON form is short: at most twice as
// long, and the length of a few escapes.
func isText(b []byte) bool {
	const slack = 32
	over := 0
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			over += 4
		}
	}
	return over <= slack+len(b)/8 && utf8.Valid(b)
}

const hexDigits = "0123456789abcdef"

// AppendString appends a JSON string of b, which is valid UTF-8. Control
// characters, those of the C1 range too, are escaped, so that a terminal shows
// what is there and obeys none of it.
func AppendString(dst, b []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(b); {
		c := b[i]
		size := 1
		switch {
		case c == '"' || c == '\\':
			dst = append(append(dst, b[start:i]...), '\\', c)
		case c == '\n':
			dst = append(append(dst, b[start:i]...), '\\', 'n')
		case c == '\r':
			dst = append(append(dst, b[start:i]...), '\\', 'r')
		case c == '\t':
			dst = append(append(dst, b[start:i]...), '\\', 't')
		case c < 0x20 || c == 0x7f:
			dst = append(append(dst, b[start:i]...), '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c == 0xc2 && i+1 < len(b) && b[i+1] < 0xa0: // U+0080 to U+009F
			dst = append(append(dst, b[start:i]...), '\\', 'u', '0', '0', hexDigits[b[i+1]>>4], hexDigits[b[i+1]&15])
			size = 2
		default:
			i++
			continue
		}
		i += size
		start = i
	}
	return append(append(dst, b[start:]...), '"')
}

// Export reads what a [Writer] wrote.
type Export struct {
	lines lineReader
	lim   Limits
}

// NewExport reads r.
func NewExport(r io.Reader, lim Limits) (*Export, error) {
	br, err := stream(r)
	if err != nil {
		return nil, err
	}
	// A text takes at most twice its length and a little; see isText.
	return &Export{lines: lineReader{r: br, max: 3*lim.Value + 6*lim.Key + 4096}, lim: lim}, nil
}

// Next implements [Reader].
func (x *Export) Next(e *Entry) error {
	text, err := x.lines.next()
	if err != nil {
		return err
	}
	line := x.lines.line
	fields, err := object(text, line)
	if err != nil {
		return err
	}
	if len(fields) != 2 {
		return badLine(line, "number of fields is %d; an entry has a key and a value", len(fields))
	}
	key, err := field(fields, "key", line)
	if err != nil {
		return err
	}
	value, err := field(fields, "value", line)
	if err != nil {
		return err
	}
	if err := x.lim.check(fmt.Sprintf("line %d", line), len(key), len(value)); err != nil {
		return err
	}
	e.Key, e.Value = append(e.Key[:0], key...), append(e.Value[:0], value...)
	return nil
}

// field decodes a member in the one form or the other.
func field(fields map[string]json.RawMessage, name string, line int64) ([]byte, error) {
	if raw, ok := fields[name]; ok {
		text, err := jsonText(raw)
		if err != nil {
			return nil, badLine(line, "%q %v", name, err)
		}
		return text, nil
	}
	raw, ok := fields[name+"_b64"]
	if !ok {
		return nil, badLine(line, "neither %q nor %q", name, name+"_b64")
	}
	text, err := jsonText(raw)
	if err != nil {
		return nil, badLine(line, "%q %v", name+"_b64", err)
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return nil, badLine(line, "%q is not base64", name+"_b64")
	}
	return b, nil
}
