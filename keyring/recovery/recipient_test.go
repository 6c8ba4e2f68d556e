package recovery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestParseRecipients reads several, and refuses what is none, or not what it says.
func TestParseRecipients(t *testing.T) {
	t.Parallel()
	a, b := newTestIdentity(t), newTestIdentity(t)
	text := func(id *Identity) []byte {
		b, err := id.Recipient().MarshalText()
		require.NoError(t, err)
		return b
	}
	both := slices.Concat([]byte("\n \n"), text(a), []byte("\n\r\n"), text(b), []byte("\t\n"))
	rs, err := ParseRecipients(both)
	require.NoError(t, err)
	require.Len(t, rs, 2)
	require.Equal(t, b.URI(), rs[1].URI())
	rs, err = ParseRecipients(nil)
	require.NoError(t, err)
	require.Empty(t, rs)
	_, err = ParseRecipient(both)
	require.ErrorIs(t, err, ErrRecipient)
	_, err = ParseRecipient(nil)
	require.ErrorIs(t, err, ErrRecipient)
	one := string(text(a))
	for name, bad := range map[string]string{
		"prose before":      "a key\n" + one,
		"prose behind":      one + "x",
		"cut":               one[:len(one)/2],
		"cut before one":    one[:len(one)/2] + "\n" + string(text(b)),
		"another type":      strings.ReplaceAll(one, pemType, "PUBLIC KEY"),
		"no fingerprint":    strings.Replace(one, pemFingerprint+": "+a.Fingerprint().String()+"\n\n", "", 1),
		"other fingerprint": strings.Replace(one, a.Fingerprint().String(), b.Fingerprint().String(), 1),
		"other key": strings.Replace(string(text(b)), b.Fingerprint().String(),
			a.Fingerprint().String(), 1), // planted under the name of a
		"base64":   strings.Replace(one, "\n\n", "\n\n!", 1),
		"too many": strings.Repeat(one, MaxRecipients+1),
		"too long": strings.Repeat(" ", maxTextLen) + one,
	} {
		_, err := ParseRecipients([]byte(bad))
		require.ErrorIs(t, err, ErrRecipient, name)
	}
	for _, n := range []int{0, 1, 1248, 1250} {
		_, err := NewRecipient(make([]byte, n))
		require.ErrorIs(t, err, ErrRecipient)
	}
	_, err = NewRecipient(bytes.Repeat([]byte{0xff}, 1249))
	require.ErrorIs(t, err, ErrRecipient, "not a point, and coefficients out of range")
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	f := newTestIdentity(t).Fingerprint()
	s := f.String()
	require.Len(t, s, 47)
	for _, form := range []string{
		s, strings.ToLower(s), strings.ReplaceAll(s, "-", ""), strings.ReplaceAll(s, "-", "  "),
		strings.ReplaceAll(strings.ReplaceAll(s, "0", "o"), "1", "l"), strings.ReplaceAll(s, "1", "I"),
	} {
		got, err := ParseFingerprint(form)
		require.NoError(t, err, form)
		require.Equal(t, f, got)
	}
	for _, bad := range []string{"", s[1:], s + "0", strings.Replace(s, s[:1], "U", 1), s[:46] + "!", s[:46] + "é"} {
		_, err := ParseFingerprint(bad)
		require.ErrorIs(t, err, ErrFingerprint, bad)
	}
	require.True(t, IsRecovery(Scheme+s))
	require.False(t, IsRecovery("cofre-local:default"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.Equal(t, Scheme+s, fmt.Sprintf(verb, &Recipient{fingerprint: f}))
	}
}
