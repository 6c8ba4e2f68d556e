package backup

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// The names of objects. See the package comment.
const (
	repositoryName  = "repository"
	backupsPrefix   = "backups/"
	indexPrefix     = "index/"
	dataPrefix      = "data/"
	lockboxPrefix   = "lockboxes/"
	archivePrefix   = "archive/"
	pinsPrefix      = "pins/"
	condemnedPrefix = "condemned/"
	lockName        = "locks/writer"
)

// nameTime is how a time stands in names: it sorts, and has no colon.
const nameTime = "20060102T150405Z"

var backupName = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)

// newName makes the name of a backup of a time.
func newName(t time.Time) string {
	var b [4]byte
	rand.Read(b[:])
	return t.UTC().Format(nameTime) + "-" + hex.EncodeToString(b[:])
}

func indexName(backup string, table keyring.ID) string {
	return indexPrefix + backup + "/" + table.String()
}

// A fileKey tells the ciphertext of files apart: what is sealed once, and what it is.
type fileKey struct {
	ID     keyring.ID
	Digest digest
}

func (k fileKey) object() string { return k.prefix() + k.Digest.String() }

// prefix is what the names of all objects of the file begin with.
func (k fileKey) prefix() string {
	id := k.ID.String()
	return dataPrefix + id[:2] + "/" + id + "-"
}

// parseObject reads the name of a data object.
func parseObject(name string) (k fileKey, ok bool) {
	rest, found := strings.CutPrefix(name, dataPrefix)
	if !found {
		return k, false
	}
	folder, base, _ := strings.Cut(rest, "/")
	id, sum, _ := strings.Cut(base, "-")
	var err error
	if k.ID, err = keyring.ParseID(id); err != nil {
		return k, false
	}
	b, err := hex.DecodeString(sum)
	if err != nil || copy(k.Digest[:], b) != len(k.Digest) || len(b) != len(k.Digest) {
		return k, false
	}
	return k, folder == id[:2] && k.object() == name
}

// A digest is a SHA-256.
type digest [32]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes hexadecimal digits.
func (d digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads them.
func (d *digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("a digest of %d digits", len(b))
	}
	_, err := hex.Decode(d[:], b)
	return err
}
