package recovery

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

const (
	fingerprintLen = 25 // bytes: 40 symbols
	groupLen       = 5  // symbols
)

// ErrFingerprint: a text that is no fingerprint.
var ErrFingerprint = errors.New("malformed fingerprint of a recovery key: 40 letters and digits")

// A Fingerprint names a recovery key: the first 200 bits of the SHA-256 of its
// public key. It is no secret.
type Fingerprint [fingerprintLen]byte

func fingerprintOf(public []byte) Fingerprint {
	sum := sha256.Sum256(public)
	return Fingerprint(sum[:fingerprintLen])
}

// ParseFingerprint reads what String writes; capitals, spaces and hyphens do not
// matter. The error is ErrFingerprint.
func ParseFingerprint(s string) (Fingerprint, error) {
	b, err := decode([]byte(s), fingerprintLen)
	if err != nil {
		return Fingerprint{}, ErrFingerprint
	}
	return Fingerprint(b), nil
}

// String is the fingerprint in eight groups of five, with hyphens between.
func (f Fingerprint) String() string { return string(encode(f[:], groupLen)) }

// MarshalText gives String.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// crockford has the digits and letters that people do not mistake for each other.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

var errSymbol = errors.New("a letter that is not used")

// encode writes b, whose length is a multiple of five, in groups.
func encode(b []byte, group int) []byte {
	text := crockford.AppendEncode(nil, b)
	defer clear(text)
	out := make([]byte, 0, len(text)+len(text)/group)
	for i, c := range text {
		if i > 0 && i%group == 0 {
			out = append(out, '-')
		}
		out = append(out, c)
	}
	return out
}

// decode reads n bytes that encode has written and a person has typed. Errors hold
// nothing of the text.
func decode(text []byte, n int) ([]byte, error) {
	want := crockford.EncodedLen(n)
	symbols := make([]byte, 0, want)
	defer func() { clear(symbols[:cap(symbols)]) }()
	count := 0
	for _, c := range text {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch c {
		case ' ', '\t', '\r', '-':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		if !strings.ContainsRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", rune(c)) {
			return nil, errSymbol
		}
		if count++; count <= want { // no more, or the secret would be copied
			symbols = append(symbols, c)
		}
	}
	if count != want {
		return nil, fmt.Errorf("%d letters and digits, not %d", count, want)
	}
	return crockford.AppendDecode(make([]byte, 0, n), symbols)
}
