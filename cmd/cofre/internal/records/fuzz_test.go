package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var narrow = Limits{Key: 32, Value: 512}

// readAll holds a reader to what every reader promises: it ends, it keeps to
// the limits, and its values are JSON where its format says so.
func readAll(t *testing.T, r Reader, inputLen int, jsonValues bool) {
	var e Entry
	for steps := 0; ; steps++ {
		require.LessOrEqual(t, steps, inputLen+1, "more entries than bytes")
		err := r.Next(&e)
		var bad *BadEntry
		switch {
		case errors.As(err, &bad):
			require.NotEmpty(t, bad.Where)
			continue
		case err != nil:
			return
		}
		require.NotEmpty(t, e.Key)
		require.LessOrEqual(t, len(e.Key), narrow.Key)
		require.LessOrEqual(t, len(e.Value), narrow.Value)
		if jsonValues {
			require.True(t, json.Valid(e.Value))
		}
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{
		"id,name\n1,Ana\n", "\xef\xbb\xbfid\r\n1\r\n", "id,v\n1,\"a\"\"\nb\"\n2\n3,\"", "id,id\n", "id\n\xff\n",
		"\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00id\n1\n",
	} {
		f.Add([]byte(s))
	}
	addVectors(f, "csv")
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := NewCSV(bytes.NewReader(in), "id", narrow)
		if err == nil && !bytes.HasPrefix(in, zstdMagic) {
			readAll(t, r, len(in), true)
		}
	})
}

func FuzzJSONLines(f *testing.F) {
	for _, s := range []string{
		"{\"id\":\"a\"}\n{\"id\":1}\n", "{\"a\":{\"id\":\"x\"}}", "{\"id\":\"\\ud800\"}\nnull\n[]\n{", "\n\n{\"id\":-0.0}\r\n",
	} {
		f.Add([]byte(s))
	}
	addVectors(f, "jsonl")
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, path := range []string{"id", "a.id"} {
			r, err := NewJSONLines(bytes.NewReader(in), path, narrow)
			if err == nil && !bytes.HasPrefix(in, zstdMagic) {
				readAll(t, r, len(in), true)
			}
		}
	})
}

func FuzzExport(f *testing.F) {
	for _, e := range odd {
		f.Add(append(AppendEntry(nil, e), '\n'))
	}
	f.Add([]byte("{\"key_b64\":\"/w==\",\"value_b64\":\"AAEC\"}\n{}\n"))
	addVectors(f, "export")
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := NewExport(bytes.NewReader(in), narrow)
		if err != nil || bytes.HasPrefix(in, zstdMagic) {
			return
		}
		readAll(t, r, len(in), false)
	})
}

// FuzzExportRoundTrip: every key and value comes back as it was, in a line
// of bounded length that is JSON and UTF-8 and holds no control character.
func FuzzExportRoundTrip(f *testing.F) {
	for _, e := range odd {
		f.Add(e.Key, e.Value)
	}
	for _, v := range loadVectors(f, "export") {
		for _, r := range v.Out.Results {
			f.Add([]byte(r.Key), []byte(r.Value))
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 {
			return
		}
		line := AppendEntry(nil, Entry{key, value})
		require.True(t, json.Valid(line))
		require.True(t, utf8.Valid(line))
		require.Equal(t, -1, bytes.IndexFunc(line, func(r rune) bool { return r < 0x20 || 0x7f <= r && r < 0xa0 }))
		r, err := NewExport(bytes.NewReader(line), Limits{Key: len(key), Value: len(value)})
		require.NoError(t, err)
		var e Entry
		require.NoError(t, r.Next(&e))
		require.Equal(t, string(key), string(e.Key))
		require.Equal(t, string(value), string(e.Value))
		require.Equal(t, io.EOF, r.Next(&e))

		back, err := Unquote(Quote(key))
		require.NoError(t, err)
		require.Equal(t, string(key), string(back))
	})
}
