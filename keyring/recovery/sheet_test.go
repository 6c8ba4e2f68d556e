package recovery

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// testSeed is a seed for golden files: 00 01 … 1f.
func testSeed(t testing.TB) *Identity {
	t.Helper()
	b := make([]byte, secret.Size)
	for i := range b {
		b[i] = byte(i)
	}
	seed, err := secret.New(b)
	require.NoError(t, err)
	id, err := newIdentity(seed)
	require.NoError(t, err)
	t.Cleanup(func() { id.Close() })
	return id
}

func testAbout() About {
	return About{Store: keyring.ID{1, 2, 3}, Tables: []string{"app.kv", "src.go"}, Made: time.Date(2026, 7, 1, 23, 0, 0, 0, time.UTC)}
}

// TestGolden compares a sheet and a public key with those of the first version, and
// opens a wrap that was made then.
func TestGolden(t *testing.T) {
	t.Parallel()
	id := testSeed(t)
	sheet, err := id.Sheet(testAbout())
	require.NoError(t, err)
	public, err := id.Recipient().MarshalText()
	require.NoError(t, err)
	ec := keyring.Context{Store: keyring.ID{1, 2, 3}, Table: keyring.ID{4, 5, 6}, Purpose: keyring.PurposeTableKey, Version: 7}
	key, err := keyring.NewSecret(bytes.Repeat([]byte{0xc0}, 32))
	require.NoError(t, err)
	approved := trial(id.recipient) == nil
	for name, got := range map[string][]byte{"sheet.txt": sheet, "recipient.pub": public, "wrap.bin": nil} {
		path := filepath.Join("testdata", name)
		if *rewrite {
			if got == nil {
				got, err = id.Wrap(t.Context(), key, ec)
				require.NoError(t, err)
			}
			require.NoError(t, os.WriteFile(path, got, 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		if got != nil {
			require.Equal(t, string(want), string(got))
			continue
		}
		opened, err := id.Unwrap(t.Context(), want, ec)
		if !approved {
			require.ErrorIs(t, err, ErrNotApproved)
			require.ErrorIs(t, err, keyring.ErrKeyDenied)
			_, err = id.Wrap(t.Context(), key, ec)
			require.ErrorIs(t, err, ErrNotApproved)
			continue
		}
		require.NoError(t, err)
		require.True(t, opened.Equal(key))
	}
	for line := range strings.Lines(string(sheet)) {
		require.LessOrEqual(t, len(line), 78+1, line)
	}
}

// fields are the five lines that ParseSheet needs.
func fields(t testing.TB, sheet []byte) []string {
	t.Helper()
	var fs []string
	for line := range strings.Lines(string(sheet)) {
		if keyField.MatchString(line) || fingerprintField.MatchString(line) {
			fs = append(fs, strings.TrimSpace(line))
		}
	}
	require.Len(t, fs, 1+keyLines)
	return fs
}

// TestSheetForms reads a sheet as people type it.
func TestSheetForms(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t)
	sheet, err := id.Sheet(testAbout())
	require.NoError(t, err)
	short := strings.Join(fields(t, sheet), "\n")
	reversed := fields(t, sheet)
	for i := range 2 {
		reversed[i], reversed[4-i] = reversed[4-i], reversed[i]
	}
	for name, form := range map[string]string{
		"whole":             string(sheet),
		"CRLF":              strings.ReplaceAll(string(sheet), "\n", "\r\n"),
		"indented":          "   " + strings.ReplaceAll(string(sheet), "\n", " \n\t "),
		"the lines alone":   short,
		"in another order":  strings.Join(reversed, "\n"),
		"small letters":     strings.ToLower(short),
		"no hyphens":        strings.ReplaceAll(short, "-", ""),
		"spaces":            strings.ReplaceAll(short, "-", " "),
		"without of 4":      strings.ReplaceAll(short, " of 4", ""),
		"digits as letters": afterColons(short, "0", "O"),
		"one as l":          afterColons(short, "1", "l"),
	} {
		got, err := ParseSheet([]byte(form))
		require.NoError(t, err, name)
		require.Equal(t, id.URI(), got.URI(), name)
		require.True(t, got.seed.Equal(id.seed), name)
		require.NoError(t, got.Close())
	}
}

// afterColons replaces in what is behind the colon of each line.
func afterColons(text, old, with string) string {
	var out []string
	for line := range strings.Lines(text) {
		label, value, _ := strings.Cut(line, ":")
		out = append(out, label+":"+strings.ReplaceAll(value, old, with))
	}
	return strings.Join(out, "")
}

// TestSheetTypos changes each letter of the key, exchanges neighbours and lines, and
// leaves out and doubles: the error names the line, and shows nothing of it.
func TestSheetTypos(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t)
	sheet, err := id.Sheet(testAbout())
	require.NoError(t, err)
	lines := fields(t, sheet)
	refused := func(what string, lines []string, line int, field string) {
		t.Helper()
		got, err := ParseSheet([]byte(strings.Join(lines, "\n")))
		require.Nil(t, got, what)
		var se *SheetError
		require.True(t, errors.As(err, &se), "%s: %v", what, err)
		require.ErrorIs(t, err, ErrSheet)
		require.Equal(t, line, se.Line, "%s: %v", what, err)
		require.Equal(t, field, se.Field, what)
		for _, l := range lines {
			if label, value, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(label, "key") {
				for part := range strings.SplitSeq(strings.TrimSpace(value), "-") {
					if len(part) == 4 {
						require.NotContains(t, strings.ToUpper(err.Error()), part, what)
					}
				}
			}
		}
	}
	with := func(n int, text string) []string {
		c := append([]string(nil), lines...)
		c[n] = text
		return c
	}
	wrong := 0
	for n := 1; n <= keyLines; n++ {
		field := fmt.Sprintf("key %d of 4", n)
		start := strings.Index(lines[n], ":") + 1
		for at := start; at < len(lines[n]); at++ {
			c := lines[n][at]
			if c == ' ' || c == '-' {
				continue
			}
			b := []byte(lines[n])
			b[at] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c)+1+at)%32]
			if b[at] == c {
				continue
			}
			wrong++
			refused("a letter", with(n, string(b)), n+1, field)
			if at+1 < len(b) && lines[n][at+1] != '-' && lines[n][at+1] != c {
				b = []byte(lines[n])
				b[at], b[at+1] = b[at+1], b[at]
				refused("neighbours", with(n, string(b)), n+1, field)
			}
		}
		refused("a letter left out", with(n, lines[n][:len(lines[n])-1]), n+1, field)
		refused("a letter too many", with(n, lines[n]+"0"), n+1, field)
		refused("a sign", with(n, lines[n][:len(lines[n])-1]+"!"), n+1, field)
		refused("empty", with(n, lines[n][:start]), n+1, field)
		refused("a line left out", with(n, ""), 0, field)
		refused("a line doubled", append(append([]string(nil), lines...), lines[n]), 6, field)
	}
	require.Greater(t, wrong, 50)
	_, one, _ := strings.Cut(lines[1], ":")
	_, two, _ := strings.Cut(lines[2], ":")
	refused("lines exchanged", append([]string{lines[0], "key 1:" + two, "key 2:" + one}, lines[3:]...), 2, "key 1 of 4")
	refused("a fifth", append(append([]string(nil), lines...), "key 5: 0000"), 6, "key 5")
	refused("no fingerprint", lines[1:], 0, "fingerprint")
	refused("two fingerprints", append(append([]string(nil), lines...), lines[0]), 6, "fingerprint")
	refused("half a fingerprint", with(0, lines[0][:30]), 1, "fingerprint")
	refused("a later version", append([]string{"COFRE RECOVERY SHEET, version 2"}, lines...), 1, "version")
	refused("nothing", []string{"prose"}, 0, "key 1 of 4")
	refused("too long", append(lines, strings.Repeat(" ", maxSheetLen)), 0, "")

	// A sheet of which fingerprint and key do not belong together.
	other := newTestIdentity(t)
	refused("another's fingerprint", with(0, "fingerprint: "+other.Fingerprint().String()), 1, "fingerprint")
	theirs, err := other.Sheet(testAbout())
	require.NoError(t, err)
	refused("another's key", append([]string{lines[0]}, fields(t, theirs)[1:]...), 1, "fingerprint")
}

// TestSheetNames: names of tables do not pass for fields, and do not fill the page.
func TestSheetNames(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t)
	about := testAbout()
	about.Tables = []string{"key 1: 0000", "fingerprint: x", "a\nkey 2: 0000\nb"}
	for range 100 {
		about.Tables = append(about.Tables, "app.more")
	}
	text, err := id.Sheet(about)
	require.NoError(t, err)
	require.Contains(t, string(text), "43 more\n")
	got, err := ParseSheet(text)
	require.NoError(t, err)
	require.Equal(t, id.URI(), got.URI())
	about = About{}
	text, err = id.Sheet(about)
	require.NoError(t, err)
	require.Contains(t, string(text), time.Now().UTC().Format("2006-"))
}

// FuzzParseSheet: whatever it is, it is an error of a class or a key of its
// fingerprint.
func FuzzParseSheet(f *testing.F) {
	id := testSeed(f)
	sheet, err := id.Sheet(testAbout())
	require.NoError(f, err)
	f.Add(sheet)
	f.Add([]byte("key 1: \nfingerprint: "))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseSheet(text)
		if err != nil {
			require.ErrorIs(t, err, ErrSheet)
			return
		}
		again, err := got.Sheet(About{})
		require.NoError(t, err)
		same, err := ParseSheet(again)
		require.NoError(t, err)
		require.Equal(t, got.URI(), same.URI())
	})
}

// FuzzParseRecipients: whatever it is, it is an error of a class or keys that are what
// they say.
func FuzzParseRecipients(f *testing.F) {
	text, err := testSeed(f).Recipient().MarshalText()
	require.NoError(f, err)
	f.Add(text)
	f.Add(append(append([]byte(nil), text...), text...))
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := ParseRecipients(text)
		if err != nil {
			require.ErrorIs(t, err, ErrRecipient)
			return
		}
		for _, r := range rs {
			b, err := r.MarshalText()
			require.NoError(t, err)
			again, err := ParseRecipient(b)
			require.NoError(t, err)
			require.Equal(t, r.URI(), again.URI())
		}
	})
}

// FuzzUnwrap: whatever it is, it does not open, and the error has a class.
func FuzzUnwrap(f *testing.F) {
	id := testSeed(f)
	ec := keyring.Context{Store: keyring.ID{1}, Purpose: keyring.PurposeStoreKey, Version: 1}
	blob, err := id.Wrap(f.Context(), keyring.RandomSecret(), ec)
	if errors.Is(err, ErrNotApproved) {
		f.Skip("this FIPS 140-3 module has no approved HPKE")
	}
	require.NoError(f, err)
	f.Add(blob[:wrapLen-1])
	f.Add(append([]byte{wrapFormat}, make([]byte, wrapLen-1)...))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		_, err := id.Unwrap(t.Context(), wrapped, ec)
		require.Error(t, err)
		require.True(t, keyringtest.Classified(err), "%v", err)
	})
}
