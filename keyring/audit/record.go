package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// The names of events. They are wire constants.
const (
	// Calls to a key service, recorded by the RootKey that Root returns.
	EventWrap     = "Wrap"
	EventUnwrap   = "Unwrap"
	EventDescribe = "Describe"
	EventNote     = "NoteGeneration" // a keyring generation noted by the service

	EventScheduleDeletion = "ScheduleKeyDeletion" // of a root key, by its service
	EventCreateGrant      = "CreateGrant"         // of a root key, by its service
	EventRetireGrant      = "RetireGrant"

	// What the engine does with keys. What it asks of a key service for that is
	// recorded before it, by itself.
	EventOpenStore      = "OpenStore"
	EventOpenTable      = "OpenTable"
	EventCreateTable    = "CreateTable"
	EventRestoreTable   = "RestoreTable"
	EventDropTable      = "DropTable"
	EventForgetTable    = "ForgetTable" // one whose creation was not finished
	EventRotateTableKey = "RotateTableKey"
	EventRotateRoot     = "RotateRoot" // of a table; of the store key where no table is named, as the next three
	EventAddRoot        = "AddRoot"
	EventReplaceRoot    = "ReplaceRoot"
	EventRemoveRoot     = "RemoveRoot"
	EventRetireKey      = "RetireKey"
	EventReencrypt      = "Reencrypt"
	EventLockTable      = "LockTable" // with an error code where a lease has ended
	EventUnlockTable    = "UnlockTable"

	// What the engine's policy for lost keys does. What it drops is a DropTable that
	// names the archive.
	EventKeyLost       = "KeyLost"
	EventKeyLossNotice = "KeyLossNotice" // a step is near
	EventArchiveTable  = "ArchiveTable"
	EventKeyRestored   = "KeyRestored"   // it was lost, and is back
	EventKeepTable     = "KeepTable"     // stopped by hand
	EventResumeKeyLoss = "ResumeKeyLoss" // no longer

	// EventBegin is the first record of a chain.
	EventBegin = "BeginLog"
	// EventPrune says from where on the log is kept.
	EventPrune = "PruneLog"
)

// Outcomes of events. They are wire constants.
const (
	OutcomeSuccess = "success"
	OutcomeDenied  = "denied" // the key service, or the configuration's pins, refused
	OutcomeFailure = "failure"
)

const (
	recordVersion = "1"
	eventSource   = "cofre.keyring"

	// MaxLineLen bounds a record in a file, in bytes. The longest is the first,
	// which holds wraps.
	MaxLineLen = 1 << 20
	// maxActorLen bounds Options.Actor, in bytes.
	maxActorLen = 256
)

// A Record is one key operation, in the manner of AWS CloudTrail: its JSON has
// the names that CloudTrail gives the same things. It holds no key, no row, no
// table's name and no text of a key service's: an error message could repeat
// what it was handed, and so a record has an error code alone.
type Record struct {
	Version string     `json:"eventVersion"`
	Seq     uint64     `json:"sequence,omitempty"` // from 1; 0 where it is in no chain (yet)
	ID      keyring.ID `json:"eventID"`            // random
	Time    time.Time  `json:"eventTime"`          // UTC
	Source  string     `json:"eventSource"`
	Event   string     `json:"eventName"`
	Actor   Actor      `json:"userIdentity"`
	Store   keyring.ID `json:"storeId,omitzero"` // unknown while no keyring has been read
	Request Request    `json:"requestParameters"`
	Outcome string     `json:"outcome"`
	// ErrorCode is one of those of ErrorCode; "" after a success.
	ErrorCode string `json:"errorCode,omitempty"`
	// Provisional: it was recorded without a key, and bound at the next unlock.
	Provisional bool   `json:"provisional,omitempty"`
	Begin       *Begin `json:"additionalEventData,omitempty"` // of EventBegin
	// Pruned is of EventPrune.
	Pruned *Pruning `json:"pruned,omitempty"`
	// MAC is the record's, 96 hexadecimal digits; "" where it is in no chain.
	MAC string `json:"mac,omitempty"`
}

// An Actor is who did it: Options.Actor, and the process.
type Actor struct {
	Type    string `json:"type"` // "Named" where Options.Actor says who, else "Process"
	Name    string `json:"principalId,omitempty"`
	User    string `json:"userName,omitempty"` // of the operating system
	Program string `json:"program,omitempty"`  // base name of the executable
	PID     int    `json:"processId,omitempty"`
}

// A Request says what was asked for.
type Request struct {
	Key        string            `json:"keyId,omitempty"`               // URI of the root key
	Context    map[string]string `json:"encryptionContext,omitempty"`   // of the wrap
	Table      keyring.ID        `json:"tableId,omitzero"`              // beside the context, where there is none
	Version    uint32            `json:"keyVersion,omitempty"`          // of the table's key, afterwards
	Roots      []string          `json:"rootKeys,omitempty"`            // that wrap the table's key, afterwards
	Generation uint64            `json:"generation,omitempty"`          // of the keyring
	Digest     string            `json:"digest,omitempty"`              // of that generation's file, hexadecimal
	Days       int               `json:"pendingWindowInDays,omitempty"` // until a root key is destroyed
	Grant      string            `json:"grantId,omitempty"`             // the key service's
	Grantee    string            `json:"granteePrincipal,omitempty"`
	Operations []string          `json:"operations,omitempty"` // that the grant allows, in Context
	Archive    string            `json:"archive,omitempty"`    // of a table whose key is lost, a reference
	Due        time.Time         `json:"dueAt,omitzero"`       // when the next step for a lost key comes at the earliest
}

// A Begin is what the first record of a chain tells.
type Begin struct {
	Chain keyring.ID `json:"chainId"`
	// Wraps hold the chain's first key, each wrapped by one root key of the
	// store.
	Wraps  []Wrap `json:"keyWraps"`
	Reason string `json:"reason"` // why it began
	// Previous is a head: of ReasonRoots the last record before, of ReasonBroken
	// the record that the keyring named. "" for the first chain of a store.
	Previous string `json:"previousHead,omitempty"`
}

// Why a chain begins. They are wire constants.
const (
	ReasonFirst  = "first"
	ReasonRoots  = "rootKeysChanged" // the store has other root keys than had wrapped its first key
	ReasonBroken = "broken"          // the log was not what the keyring said
)

// A Wrap is the first key of a chain, wrapped by a root key.
type Wrap struct {
	Key  string `json:"keyId"` // URI of the root key
	Blob []byte `json:"wrappedKey"`
}

// TableID is the table that a record concerns, from its context or beside it;
// zero where there is none.
func (r *Record) TableID() keyring.ID {
	if !r.Request.Table.IsZero() {
		return r.Request.Table
	}
	id, err := keyring.ParseID(r.Request.Context["cofre:table"])
	if err != nil || r.Request.Context["cofre:purpose"] != keyring.PurposeTableKey {
		return keyring.ID{}
	}
	return id
}

// processActor describes this process.
func processActor(name string) Actor {
	a := Actor{Type: "Process", PID: os.Getpid()}
	if len(name) > maxActorLen {
		name = name[:maxActorLen]
		for !utf8.ValidString(name) && len(name) > maxActorLen-utf8.UTFMax {
			name = name[:len(name)-1]
		}
	}
	if name != "" {
		a.Type, a.Name = "Named", name
	}
	if u, err := user.Current(); err == nil {
		a.User = u.Username
	} else if uid := os.Getuid(); uid >= 0 {
		a.User = strconv.Itoa(uid)
	}
	if exe, err := os.Executable(); err == nil {
		a.Program = filepath.Base(exe)
	}
	return a
}

// codes are the error codes of classes of errors. The first that matches counts.
var codes = []struct {
	class error
	code  string
}{
	{keyring.ErrRootNotPinned, "RootNotPinned"},
	{keyring.ErrKeyDenied, "KeyDenied"},
	{keyring.ErrKeyNotFound, "KeyNotFound"},
	{keyring.ErrWrongContext, "WrongContext"},
	{keyring.ErrKeyUnreachable, "KeyUnreachable"},
	{keyring.ErrKeyThrottled, "KeyThrottled"},
	{keyring.ErrTableUnknown, "TableNotFound"},
	{keyring.ErrTableExists, "TableExists"},
	{keyring.ErrRotated, "RotatedMeanwhile"},
	{keyring.ErrRootUnknown, "RootKeyUnknown"},
	{keyring.ErrRootExists, "RootKeyExists"},
	{keyring.ErrRootChoice, "RootKeyAmbiguous"},
	{keyring.ErrLastRoot, "LastRootKey"},
	{keyring.ErrVersionCurrent, "VersionCurrent"},
	{keyring.ErrVersionUnknown, "VersionNotFound"},
	{keyring.ErrPoisoned, "Poisoned"},
	{keyring.ErrClosed, "Closed"},
	{ErrUnwritable, "AuditUnwritable"},
	{ErrBroken, "AuditBroken"},
	{corrupt.ErrVersion, "UnknownVersion"},
	{corrupt.ErrRollback, "Rollback"},
	{corrupt.ErrCorrupt, "Corruption"},
	{context.Canceled, "Canceled"},
	{context.DeadlineExceeded, "DeadlineExceeded"},
}

// ErrorCode is the code of an error in a record: "" for nil, "Failed" for what has
// no class.
func ErrorCode(err error) string {
	if err == nil {
		return ""
	}
	for _, c := range codes {
		if errors.Is(err, c.class) {
			return c.code
		}
	}
	return "Failed"
}

// outcome is the word for an error.
func outcome(err error) string {
	switch {
	case err == nil:
		return OutcomeSuccess
	case errors.Is(err, keyring.ErrKeyDenied), errors.Is(err, keyring.ErrRootNotPinned):
		return OutcomeDenied
	}
	return OutcomeFailure
}

// A line of a file is the record's JSON, whose last member is the MAC, and a
// newline:
//
//	{"eventVersion":"1", … ,"mac":"<96 hexadecimal digits>"}
//	└──── the text, which the MAC covers ────┘
const (
	macBefore = `,"mac":"`
	macBehind = `"}`
	macChars  = 2 * macLen
)

// text is what the MAC of a record covers.
func (r *Record) text() ([]byte, error) {
	c := *r
	c.MAC = ""
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(&c); err != nil {
		return nil, err
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("}\n"))
	if n := len(text) + len(macBefore) + macChars + len(macBehind) + 1; n > MaxLineLen {
		return nil, &keyring.LimitError{What: "audit record", Len: n, Max: MaxLineLen}
	}
	return text, nil
}

// line is a text with its MAC.
func line(text []byte, mac [macLen]byte) []byte {
	return slices.Concat(text, []byte(macBefore), []byte(hex.EncodeToString(mac[:])), []byte(macBehind+"\n"))
}

// A parsed line is well-formed. Nothing in it is authentic.
type parsed struct {
	rec  Record
	text []byte
	mac  [macLen]byte
}

// parseLine takes a line, without its newline, apart. It is not strict about
// members: the MAC is over all of the text, and a later version may have more.
func parseLine(b []byte) (*parsed, error) {
	at := len(b) - len(macBehind) - macChars
	if at < len(macBefore) || string(b[at-len(macBefore):at]) != macBefore || string(b[len(b)-len(macBehind):]) != macBehind {
		return nil, errors.New("not a line of the audit log: it does not end with a MAC")
	}
	p := &parsed{text: b[:at-len(macBefore)]}
	digits := b[at : at+macChars]
	if _, err := hex.Decode(p.mac[:], digits); err != nil || bytes.ContainsAny(digits, "ABCDEF") {
		return nil, errors.New("not a line of the audit log: malformed MAC")
	}
	if err := json.Unmarshal(b, &p.rec); err != nil {
		return nil, errors.New("not a line of the audit log: malformed JSON")
	}
	if p.rec.Seq == 0 {
		return nil, errors.New("not a line of the audit log: no sequence number")
	}
	if p.rec.Event == EventBegin && (p.rec.Begin == nil || p.rec.Begin.Chain.IsZero() || len(p.rec.Begin.Wraps) > keyring.MaxWraps) {
		return nil, fmt.Errorf("not a line of the audit log: %s without a chain", EventBegin)
	}
	if k := p.rec.Pruned; p.rec.Event == EventPrune &&
		(k == nil || k.File == 0 || k.File >= 1<<32 || k.Seq == 0 || k.Seq >= p.rec.Seq || k.Chain.IsZero() || len(k.Wraps) > keyring.MaxWraps) {
		return nil, fmt.Errorf("not a line of the audit log: %s without a beginning", EventPrune)
	}
	return p, nil
}
