package audit

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

// The labels of derived keys. They are wire constants.
const (
	labelMAC  = "cofre/v1/audit-mac"  // authenticates one record
	labelNext = "cofre/v1/audit-next" // the key of the record after
)

const macLen = keyring.AuditMACLen

// A Head names a record: all up to it are as they were when the head was noted,
// or Verify finds that they are not. It is no secret. Whoever keeps it keeps it
// where those cannot write who might change the log.
type Head struct {
	Seq uint64
	MAC [macLen]byte
}

// String gives sequence number, colon, MAC: what ParseHead reads.
func (h Head) String() string { return fmt.Sprintf("%d:%x", h.Seq, h.MAC) }

// MarshalText gives the same.
func (h Head) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHead reads the text form of a head.
func ParseHead(s string) (Head, error) {
	var h Head
	seq, mac, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || n == 0 || len(mac) != macChars {
		return Head{}, fmt.Errorf("audit: %q is no head: it is SEQUENCE:MAC, the MAC of %d hexadecimal digits", clip(s), macChars)
	}
	if _, err := hex.Decode(h.MAC[:], []byte(mac)); err != nil {
		return Head{}, fmt.Errorf("audit: %q is no head: its MAC is not hexadecimal", clip(s))
	}
	h.Seq = n
	return h, nil
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

// A chain authenticates records one after the other:
//
//	MAC i   = HMAC-SHA-384(derive(K i, "cofre/v1/audit-mac"), MAC i-1 ‖ text i)
//	K i+1   = derive(K i, "cofre/v1/audit-next")
//
// K i is erased when record i has its MAC (Schneier and Kelsey, "Secure Audit
// Logs to Support Computer Forensics", 1999; Bellare and Yee, "Forward Integrity
// for Secure Audit Logs", 1997; systemd's Forward Secure Sealing is of the
// family). So what a process holds authenticates what comes, not what was.
type chain struct {
	id  keyring.ID
	seq uint64          // of the last record
	mac [macLen]byte    // of it; zeros before the first of a chain
	key *keyring.Secret // of the next record
}

// tag is the MAC of the record after the last.
func (c *chain) tag(text []byte) (mac [macLen]byte, err error) { return tag(c.key, c.mac, text) }

func tag(key *keyring.Secret, before [macLen]byte, text []byte) (mac [macLen]byte, err error) {
	k, err := derive.Bytes(key, labelMAC, nil, macLen)
	if err != nil {
		return mac, err
	}
	defer clear(k)
	h := hmac.New(sha512.New384, k)
	h.Write(before[:])
	h.Write(text)
	h.Sum(mac[:0])
	return mac, nil
}

// advance takes a record with its MAC for the last, and erases the key that made it.
func (c *chain) advance(mac [macLen]byte) error {
	next, err := ratchet(c.key)
	if err != nil {
		return err
	}
	c.key.Wipe()
	c.seq, c.mac, c.key = c.seq+1, mac, next
	return nil
}

func ratchet(key *keyring.Secret) (*keyring.Secret, error) {
	b, err := derive.Bytes(key, labelNext, nil, secret.Size)
	if err != nil {
		return nil, err
	}
	return secret.Take(b)
}
