package records

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

var wide = Limits{Key: 1 << 10, Value: 1 << 16}

// drain reads r to its end: what it gave, and what it could not take.
func drain(t *testing.T, r Reader) (entries, bad []string) {
	t.Helper()
	var e Entry
	for {
		err := r.Next(&e)
		var b *BadEntry
		switch {
		case err == io.EOF:
			return entries, bad
		case errors.As(err, &b):
			bad = append(bad, err.Error())
		default:
			require.NoError(t, err)
			entries = append(entries, string(e.Key)+"="+string(e.Value))
		}
		require.Less(t, len(entries)+len(bad), 10_000, "the reader does not end")
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		entries  []string
		bad      []string
	}{
		{name: "plain", in: "id,name\n1,Ana\n2,Rui\n",
			entries: []string{`1={"id":"1","name":"Ana"}`, `2={"id":"2","name":"Rui"}`}},
		{name: "byte order mark, CRLF, no last newline", in: "\xef\xbb\xbfid,name\r\n1,Ana",
			entries: []string{`1={"id":"1","name":"Ana"}`}},
		{name: "quotes and a newline in a field", in: "id,name\n1,\"a\n\"\"b\"\"\"\n",
			entries: []string{`1={"id":"1","name":"a\n\"b\""}`}},
		{name: "blank lines", in: "id\n\n1\n\n", entries: []string{`1={"id":"1"}`}},
		{name: "header alone", in: "id,name\n"},
		{name: "ragged", in: "id,name\n1,Ana\n2\n3,a,b\n4,Eva\n",
			entries: []string{`1={"id":"1","name":"Ana"}`, `4={"id":"4","name":"Eva"}`},
			bad:     []string{"line 3: number of fields is 1, the header's is 2", "line 4: number of fields is 3, the header's is 2"}},
		{name: "ragged behind a field of two lines", in: "id,name\n1,\"a\nb\"\n2\n",
			entries: []string{`1={"id":"1","name":"a\nb"}`},
			bad:     []string{"line 4: number of fields is 1, the header's is 2"}},
		{name: "bare quote", in: "id,name\n1,a\"b\n2,c\n",
			entries: []string{`2={"id":"2","name":"c"}`},
			bad:     []string{`line 2: column 4: bare " in non-quoted-field`}},
		{name: "quote never closed", in: "id,name\n1,\"a\n2,b\n",
			bad: []string{`line 3: column 5: extraneous or missing " in quoted-field; the record begins in line 2`}},
		{name: "not UTF-8", in: "id,name\n1,\xff\n", bad: []string{"line 2: field 2 is not UTF-8"}},
		{name: "no key", in: "id,name\n,Ana\n", bad: []string{"line 2: the key is empty"}},
		{name: "long key", in: "id\n" + strings.Repeat("k", 1025) + "\n",
			bad: []string{"line 2: a key of 1025 bytes; the limit is 1024"}},
		{name: "long value", in: "id,v\n1," + strings.Repeat("v", 1<<16) + "\n",
			bad: []string{"line 2: a value of 65553 bytes; the limit is 65536"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := NewCSV(iotest.OneByteReader(strings.NewReader(tc.in)), "id", wide)
			require.NoError(t, err)
			entries, bad := drain(t, r)
			require.Equal(t, tc.entries, entries)
			require.Equal(t, tc.bad, bad)
		})
	}
}

func TestCSVHeader(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                  "no header: the input is empty",
		"a,b\n1,2\n":        `line 1: no column "id" among the 2 of the header`,
		"id,x,x\n":          "line 1: column 3 of the header repeats a name",
		"id,\xff\n":         "line 1: column 2 of the header is not UTF-8",
		"secret,\"a\"b\"\n": "line 1: column 10:",
	} {
		_, err := NewCSV(strings.NewReader(in), "id", wide)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret", "a file without a header shows its first row")
	}
}

// TestCSVOpenQuote: a quote that is never closed ends the input within the
// bound of a record; it does not take the rest of an endless input.
func TestCSVOpenQuote(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("id\n1\n\""), zeros{})
	r, err := NewCSV(endless, "id", Limits{Key: 10, Value: 100})
	require.NoError(t, err)
	var e Entry
	require.NoError(t, r.Next(&e))
	err = r.Next(&e)
	require.ErrorContains(t, err, "after line 2: a record longer than a value may be")
	var bad *BadEntry
	require.False(t, errors.As(err, &bad), "nothing can be read behind it")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestJSONLines(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, in string
		entries, bad   []string
	}{
		{name: "plain", in: "{\"id\":\"a\"}\n{\"id\": 7.50}\r\n\n  \n{\"id\":\"\\u00e9\"}",
			entries: []string{`a={"id":"a"}`, `7.50={"id": 7.50}`, `é={"id":"\u00e9"}`}},
		{name: "path", path: "user.id", in: `{"user":{"id":"a"},"id":"b"}`,
			entries: []string{`a={"user":{"id":"a"},"id":"b"}`}},
		{name: "path through no object", path: "user.id", in: `{"user":[1]}`, bad: []string{`line 1: "user" is not an object`}},
		{name: "no such field", path: "user.id", in: "{\"user\":{}}\n{}",
			bad: []string{`line 1: no field "user.id"`, `line 2: no field "user"`}},
		{name: "names are exact", in: `{"ID":"a"}`, bad: []string{`line 1: no field "id"`}},
		{name: "bad lines between good ones", in: "{\"id\":\"a\"}\nsecret\n[1]\nnull\n{\"id\":\"b\"} x\n{\"id\":\"c\"}\n",
			entries: []string{`a={"id":"a"}`, `c={"id":"c"}`},
			bad: []string{"line 2: not JSON, at byte 1 of the line", "line 3: not a JSON object",
				"line 4: not a JSON object", "line 5: not JSON, at byte 12 of the line"}},
		{name: "key of another type", in: "{\"id\":null}\n{\"id\":{}}\n{\"id\":true}\n{\"id\":\"\"}",
			bad: []string{"line 1: the key is neither a string nor a number", "line 2: the key is neither a string nor a number",
				"line 3: the key is neither a string nor a number", "line 4: the key is empty"}},
		{name: "not UTF-8", in: "{\"id\":\"\xff\"}", bad: []string{"line 1: not UTF-8"}},
		{name: "half a surrogate pair", in: `{"id":"\ud800"}` + "\n" + `{"id":"\uFFFD"}`,
			entries: []string{`�={"id":"\uFFFD"}`}, bad: []string{"line 1: the key holds half a surrogate pair"}},
		{name: "long line", in: `{"id":"a","v":"` + strings.Repeat("v", 1<<17) + "\"}\n{\"id\":\"b\"}",
			entries: []string{`b={"id":"b"}`}, bad: []string{"line 1: longer than 65538 bytes"}},
		{name: "long line at the end", in: strings.Repeat("v", 1<<17), bad: []string{"line 1: longer than 65538 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.path == "" {
				tc.path = "id"
			}
			r, err := NewJSONLines(strings.NewReader(tc.in), tc.path, wide)
			require.NoError(t, err)
			entries, bad := drain(t, r)
			require.Equal(t, tc.entries, entries)
			require.Equal(t, tc.bad, bad)
		})
	}
	for _, path := range []string{"", ".", "a..b", "a."} {
		_, err := NewJSONLines(strings.NewReader(""), path, wide)
		require.ErrorContains(t, err, "empty field name", "%q", path)
	}
}

var odd = []Entry{
	{[]byte("a"), []byte("plain\n\"text\" \\ é \u2028")},
	{[]byte("\xff\x00"), nil},
	{[]byte("\x00"), []byte("\x1b[2J\u009b31m\x7f")},
	{[]byte("b"), make([]byte, 1000)},
	{[]byte("c"), []byte(strings.Repeat("\u0085", 1000))},
	{[]byte("d"), []byte("\xef\xbf\xbd")},
}

func TestExportRoundTrip(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		var out bytes.Buffer
		w, err := NewWriter(&out, compress)
		require.NoError(t, err)
		for _, e := range odd {
			require.NoError(t, w.Write(e))
		}
		require.NoError(t, w.Close())
		require.Equal(t, compress, bytes.HasPrefix(out.Bytes(), zstdMagic))
		r, err := NewExport(bytes.NewReader(out.Bytes()), wide)
		require.NoError(t, err)
		var e Entry
		for _, want := range odd {
			require.NoError(t, r.Next(&e))
			require.Equal(t, string(want.Key), string(e.Key))
			require.Equal(t, string(want.Value), string(e.Value))
		}
		require.Equal(t, io.EOF, r.Next(&e))

		// A cut export does not end as a complete one does.
		if compress {
			r, err = NewExport(bytes.NewReader(out.Bytes()[:out.Len()-5]), wide)
			for err == nil {
				err = r.Next(&e)
			}
			require.NotEqual(t, io.EOF, err)
			require.ErrorContains(t, err, "compressed input")
		}
	}
}

func TestExportForm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		e    Entry
		want string
	}{
		{odd[0], `{"key":"a","value":"plain\n\"text\" \\ é ` + "\u2028" + `"}`},
		{odd[1], `{"key_b64":"/wA=","value":""}`},
		{odd[2], `{"key":"\u0000","value":"\u001b[2J\u009b31m\u007f"}`},
		{Entry{[]byte("k"), make([]byte, 60)}, `{"key":"k","value_b64":"` + strings.Repeat("AAAA", 20) + `"}`},
	} {
		require.Equal(t, tc.want, string(AppendEntry(nil, tc.e)))
	}
}

func TestExportBad(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"key":"a"}`:                             "fields is 1",
		`{"key":"a","value":"b","x":1}`:           "fields is 3",
		`{"key":"a","Value":"b"}`:                 `neither "value" nor "value_b64"`,
		`{"key":1,"value":"b"}`:                   `"key" is not a string`,
		`{"key":"a","value":null,"":1}`:           "fields is 3",
		`{"key":"a","value":"\udfff"}`:            "half a surrogate",
		`{"key_b64":"YQ=","value":""}`:            `"key_b64" is not base64`,
		`{"key_b64":"YR==","value":""}`:           `"key_b64" is not base64`,
		`{"key":"","value":""}`:                   "the key is empty",
		`{"key":"a","value_b64":["a"]}`:           `"value_b64" is not a string`,
		strings.Repeat("x", 3*wide.Value+1<<14+1): "longer than",
	} {
		r, err := NewExport(strings.NewReader(in+"\n"), wide)
		require.NoError(t, err)
		entries, bad := drain(t, r)
		require.Empty(t, entries)
		require.Len(t, bad, 1)
		require.Contains(t, bad[0], "line 1: ")
		require.Contains(t, bad[0], want)
	}
}

func TestCompressedCSV(t *testing.T) {
	t.Parallel()
	var z bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	require.NoError(t, err)
	io.WriteString(zw, "\xef\xbb\xbfid\n1\n")
	require.NoError(t, zw.Close())
	r, err := NewCSV(&z, "id", wide)
	require.NoError(t, err)
	entries, bad := drain(t, r)
	require.Equal(t, []string{`1={"id":"1"}`}, entries)
	require.Empty(t, bad)
}

func TestReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	in := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s), iotest.ErrReader(broken)) }
	c, err := NewCSV(in("id\n1\n2"), "id", wide)
	require.NoError(t, err)
	j, err := NewJSONLines(in("{\"id\":\"1\"}\n{\"id"), "id", wide)
	require.NoError(t, err)
	for _, r := range []Reader{c, j} {
		var e Entry
		require.NoError(t, r.Next(&e))
		require.ErrorIs(t, r.Next(&e), broken)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	write("b/y", "why")
	write("b/a/z", "")
	write("a.go", "package a")
	write("large", strings.Repeat("x", wide.Value+1))
	write("store/secret", "not this")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty"), 0o755))
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("outside"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(filepath.Dir(outside), filepath.Join(dir, "linkdir")))
	link := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Symlink(dir, link))

	tree, err := OpenTree(link, wide)
	require.NoError(t, err)
	require.NoError(t, tree.Exclude(filepath.Join(dir, "store")))
	require.NoError(t, tree.Exclude(filepath.Join(dir, "none", "such")))
	require.NoError(t, tree.Exclude("large"))
	defer tree.Close()
	sum, err := tree.Total(context.Background())
	require.NoError(t, err)
	require.Equal(t, 3, sum.Files)
	require.EqualValues(t, len("why")+len("package a"), sum.Bytes)
	require.Len(t, sum.TooLarge, 1)
	require.Equal(t, "large: a value of 65537 bytes; the limit is 65536", sum.TooLarge[0].Error())

	entries, bad := drain(t, tree)
	require.Equal(t, []string{"a.go=package a", "b/a/z=", "b/y=why"}, entries)
	require.Equal(t, []string{sum.TooLarge[0].Error()}, bad)
	require.Equal(t, Skipped{Symlinks: 2, Excluded: 1}, tree.Skipped())
	require.Equal(t, sum.Bytes, tree.Read())

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = tree.Total(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = OpenTree(outside, wide)
	require.Error(t, err)
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"net/http/server.go": "net/http/server.go",
		"with space é":       "with space é",
		"":                   `""`,
		`"a"`:                `"\"a\""`,
		`a"b\`:               `a"b\`,
		"a\nb":               `"a\nb"`,
		"\x1b[2J":            `"\x1b[2J"`,
		"\xff":               `"\xff"`,
		"a\u202eb":           `"a\u202eb"`,
	} {
		require.Equal(t, want, Quote([]byte(in)))
		back, err := Unquote(want)
		require.NoError(t, err)
		require.Equal(t, in, string(back))
	}
	require.Equal(t, "abc", Abridge([]byte("abc"), 3))
	require.Equal(t, "ab… (3 bytes)", Abridge([]byte("abc"), 2))
	require.Equal(t, "a… (3 bytes)", Abridge([]byte("aé"), 2))
	require.Equal(t, `"\x80\x80"… (5 bytes)`, Abridge([]byte("\x80\x80\x80\x80\x80"), 2))
}
