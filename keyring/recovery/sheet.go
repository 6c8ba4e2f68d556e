package recovery

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	sheetVersion = 1
	keyLines     = 4
	partLen      = secret.Size / keyLines // bytes of the key in a line
	checkLen     = 2                      // bytes of its checksum
	keyGroupLen  = 4                      // symbols

	labelSheet = "cofre/v1/recovery-sheet"

	// maxSheetLen bounds what ParseSheet reads, in bytes, and maxListed the tables
	// that a sheet lists.
	maxSheetLen = 64 << 10
	maxListed   = 60
)

// ErrSheet is the class of every SheetError.
var ErrSheet = errors.New("recovery sheet does not read")

// A SheetError says what is wrong with a sheet, and in which line. It holds nothing
// of the private key.
type SheetError struct {
	Line   int    // of the text, from 1; 0 where none applies
	Field  string // such as "key 2 of 4"
	Reason string
}

func (e *SheetError) Error() string {
	s := ErrSheet.Error()
	if e.Line > 0 {
		s += fmt.Sprintf(": line %d", e.Line)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + ": " + e.Reason
}

// Unwrap gives ErrSheet.
func (e *SheetError) Unwrap() error { return ErrSheet }

// About is what a sheet says besides its key, for people. ParseSheet does not read
// it.
type About struct {
	Store  keyring.ID
	Tables []string
	Made   time.Time // zero: now
}

// Sheet is the text to print: the private key, its fingerprint, what it opens and how
// to use it. It is as secret as the key; the caller clears it. Its lines are at most
// 78 characters long.
func (i *Identity) Sheet(about About) ([]byte, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.seed.Wiped() {
		return nil, keyring.ErrClosed
	}
	if about.Made.IsZero() {
		about.Made = time.Now()
	}
	// Large enough to begin with: what grows leaves a copy behind.
	b := bytes.NewBuffer(make([]byte, 0, 32<<10))
	fmt.Fprintf(b, `COFRE RECOVERY SHEET, version %d

Who has this sheet, and a copy of the store, reads the tables below without
any key service. Print it, keep it where neither the store nor its keys are,
and delete the file that it was printed from. A copy of it is as good as it.

made          %s
store         %s
`, sheetVersion, about.Made.UTC().Format(time.DateOnly), about.Store)
	for n, name := range about.Tables {
		if n == maxListed {
			fmt.Fprintf(b, "tables        %d more\n", len(about.Tables)-n)
			break
		}
		fmt.Fprintf(b, "table         %s\n", printable(name))
	}
	fmt.Fprintf(b, "\nfingerprint:  %s\n\n", i.recipient.fingerprint)
	for n := range keyLines {
		line := keyLine(n+1, i.seed.Expose()[n*partLen:][:partLen])
		fmt.Fprintf(b, "key %d of %d:   ", n+1, keyLines)
		b.Write(line)
		b.WriteByte('\n')
		clear(line)
	}
	b.WriteString(`
To open the store with it, type the five lines that have a colon into a file;
capitals, spaces and hyphens do not matter. There is no I, L, O or U in them.
A typo is found, and its line named. Then, with a new root key:

    cofre kms create NAME
    cofre keys recovery open --store DIR --sheet FILE --to NAME

The fingerprint is that of the recovery key which "cofre keys roots" shows for
the store and for each table. A sheet with another one does not open them.
`)
	return b.Bytes(), nil
}

// printable keeps a name on its line.
func printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// keyLine is the n-th part of the key with its checksum, in four groups of four.
func keyLine(n int, part []byte) []byte {
	b := make([]byte, 0, partLen+checkLen)
	b = append(append(b, part...), checksum(n, part)...)
	defer clear(b)
	return encode(b, keyGroupLen)
}

// checksum is that of the n-th part: the first two bytes of SHA-256 over the label
// with its length, n and the part. It finds all but one typo of 65,536, and lines that
// were exchanged; the fingerprint finds the rest.
func checksum(n int, part []byte) []byte {
	var w codec.Writer
	w.Str(labelSheet)
	w.U8(uint8(n))
	w.Raw(part)
	sum := sha256.Sum256(w.B)
	clear(w.B)
	return sum[:checkLen]
}

var (
	titleField       = regexp.MustCompile(`(?i)^cofre recovery sheet, version (\d{1,9})$`)
	fingerprintField = regexp.MustCompile(`(?i)^fingerprint *:`)
	keyField         = regexp.MustCompile(`(?i)^key *([1-9]) *(?:of *4 *)?:`)
)

// ParseSheet reads a sheet, whole or only the five lines that have a colon. The
// caller clears the text, and closes the Identity. The error is a *SheetError, or
// ErrNotApproved.
func ParseSheet(text []byte) (*Identity, error) {
	if len(text) > maxSheetLen {
		return nil, &SheetError{Reason: fmt.Sprintf("more than %d bytes", maxSheetLen)}
	}
	p := &sheetParser{seed: make([]byte, secret.Size)}
	defer clear(p.seed)
	for line := range bytes.Lines(text) {
		p.line++
		if err := p.read(bytes.TrimSpace(line)); err != nil {
			return nil, err
		}
	}
	for n := range keyLines {
		if !p.keys[n] {
			return nil, &SheetError{Field: fmt.Sprintf("key %d of %d", n+1, keyLines), Reason: "it is missing"}
		}
	}
	if p.printed == nil {
		return nil, &SheetError{Field: "fingerprint", Reason: "it is missing"}
	}
	seed, err := secret.New(p.seed)
	if err != nil {
		return nil, err
	}
	id, err := newIdentity(seed)
	if err != nil {
		return nil, err
	}
	if id.Fingerprint() != *p.printed {
		id.Close()
		return nil, &SheetError{Line: p.printedAt, Field: "fingerprint",
			Reason: "it is not that of the key: a typo in it, or this is not the sheet that was printed"}
	}
	return id, nil
}

// A sheetParser holds what has been read of a sheet.
type sheetParser struct {
	line      int
	seed      []byte
	keys      [keyLines]bool // parts of seed that are there
	printed   *Fingerprint
	printedAt int
}

// read reads a line; what is no field is for people.
func (p *sheetParser) read(line []byte) error {
	if m := titleField.FindSubmatch(line); m != nil && string(m[1]) != strconv.Itoa(sheetVersion) {
		return &SheetError{p.line, "version", "a newer Cofre has made this sheet"}
	}
	if m := fingerprintField.Find(line); m != nil {
		if p.printed != nil {
			return &SheetError{p.line, "fingerprint", "it is there twice"}
		}
		f, err := ParseFingerprint(string(line[len(m):]))
		if err != nil {
			return &SheetError{p.line, "fingerprint", err.Error()}
		}
		p.printed, p.printedAt = &f, p.line
		return nil
	}
	m := keyField.FindSubmatch(line)
	if m == nil {
		return nil
	}
	n := int(m[1][0] - '0')
	field := fmt.Sprintf("key %d of %d", n, keyLines)
	switch {
	case n > keyLines:
		return &SheetError{p.line, "key " + strconv.Itoa(n), "there are four"}
	case p.keys[n-1]:
		return &SheetError{p.line, field, "it is there twice"}
	}
	b, err := decode(line[len(m[0]):], partLen+checkLen)
	defer clear(b)
	if err != nil {
		return &SheetError{p.line, field, "a typo: " + err.Error()}
	}
	part := b[:partLen]
	if subtle.ConstantTimeCompare(b[partLen:], checksum(n, part)) != 1 {
		return &SheetError{p.line, field, "a typo: its checksum does not match"}
	}
	copy(p.seed[(n-1)*partLen:], part)
	p.keys[n-1] = true
	return nil
}

// IsRecovery tells whether a URI is that of a recovery key.
func IsRecovery(uri string) bool { return strings.HasPrefix(uri, Scheme) }
