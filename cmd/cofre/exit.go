package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/lease"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/recovery"
)

// The exit codes. They are documented in the package comment and in "cofre
// help exit-codes", and do not change.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitLocked      = 4
	exitKey         = 5
	exitCorruption  = 6
	exitPartial     = 7
	exitInterrupted = 130
)

// A usageError says that the command was called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usageHint is what to do about a usageError of no verb.
const usageHint = `"cofre help" lists the verbs, "cofre help VERB" its flags`

// hintOfUsage names the verb that was called wrongly: "cofre keys retire".
func hintOfUsage(verb string) string {
	_, words, ok := strings.Cut(verb, " ")
	if !ok {
		return usageHint
	}
	return fmt.Sprintf(`"cofre help %s" says what it takes`, words)
}

// A failure is an error with an exit code and a hint of its own.
type failure struct {
	code int
	err  error
	hint string
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// outcomes says what each class of error means to the caller. The first that
// matches decides: what is more specific comes first.
var outcomes = []struct {
	class error
	code  int
	hint  string
}{
	{local.ErrSealed, exitKey, "name what it is sealed by: --keys-passphrase-file, --keys-key-file or --keys-credential, or run it on a terminal to be asked for a passphrase"},
	{local.ErrNotSealed, exitKey, `if nobody has exchanged the file: "cofre kms seal" seals it; or name no --keys-passphrase-file, --keys-key-file and --keys-credential, and not their variables`},
	{local.ErrSealingKey, exitKey, "a key file holds 32 random bytes or more, and only its owner may read it (chmod 600)"},
	{local.ErrPermissions, exitKey, `if others may have read it, "cofre kms create" makes a new key, and "cofre keys rotate-root --to" puts it in the place of the former one`},
	{keyring.ErrKeyNotFound, exitNotFound, "the store does not open without its root key: name the key service's file with --keys (its newest copy: an older one lacks newer versions of a key), the key with --key, or use --passphrase-file"},
	{engine.ErrNotFound, exitNotFound, ""},
	{backup.ErrNoRepository, exitNotFound, `"cofre backup create" makes one, in an empty directory or prefix`},
	{backup.ErrNotFound, exitNotFound, `"cofre backup list" shows the backups, "cofre backup show" the tables of one`},
	{backup.ErrOutOfRange, exitNotFound, "choose a moment within reach, or with --table those tables that are archived; \"cofre backup archive\" widens it"},
	{backup.ErrNotEmpty, exitFailure, "a repository has a directory or a prefix of its own"},
	{backup.ErrOtherStore, exitFailure, "--other-store lets it have this store's backups too; restore takes --of-store"},
	{backup.ErrUnsealed, exitFailure, "--table restores the others; --unsealed this one too: every seal is opened, and whether it is the newest nobody can tell"},
	{backup.ErrPinned, exitFailure, `"cofre backup unpin" it first`},
	{lease.ErrLocked, exitLocked, "wait for it, or stop it; --wait says how long this one waits"},
	{lease.ErrLost, exitFailure, "another took it for dead and writes now: run the command again"},
	{storage.ErrNotFound, exitNotFound, "is the directory or bucket there?"},
	{storage.ErrDenied, exitFailure, "are credentials and permissions right? docs/repository.md says what is needed"},
	{storage.ErrUnreachable, exitFailure, "try again: what was sent is not sent twice"},
	{storage.ErrFull, exitFailure, `free some space there; "cofre backup prune --grace 0" does, of backups that no rule keeps`},
	{storage.ErrLocation, exitUsage, "--repo takes a directory, or s3://bucket/prefix?endpoint=…&region=…"},
	{engine.ErrNotArchiving, exitFailure, `"cofre backup archive --on TABLE" has it keep its logs`},
	{engine.ErrKeyNotLost, exitFailure, `"cofre keys status" shows which tables' keys a program has found lost`},
	{engine.ErrTableNotFound, exitNotFound, `"cofre table list" shows the tables`},
	{engine.ErrSnapshotNotFound, exitNotFound, `"cofre snapshot list TABLE" shows the snapshots`},
	{engine.ErrStoreNotFound, exitNotFound, `"cofre init" or "cofre import" makes a store; --store names it`},
	{engine.ErrStoreLocked, exitLocked, "wait for the other process, or stop it; a store has one user at a time"},
	{keyring.ErrRootNotPinned, exitKey, "the store or the table has another root key: name all that it has with --key default,other, and their file with --keys, or use --passphrase-file"},
	{keyring.ErrKeyOffline, exitKey, `name its root key with --key, or open it with its sheet: "cofre keys recovery open"`},
	{keyring.ErrRootExists, exitFailure, `"cofre keys roots" shows the root keys of each table`},
	{keyring.ErrRootUnknown, exitNotFound, `"cofre keys roots" shows the root keys of each table`},
	{keyring.ErrRootChoice, exitUsage, "--from says which one is replaced"},
	{keyring.ErrLastRoot, exitFailure, `"cofre keys add-root" gives it another first; a recovery key alone does not do`},
	{keyring.ErrVersionCurrent, exitFailure, `"cofre keys rotate-table" makes a newer one`},
	{engine.ErrVersionNeeded, exitFailure, `of backups it is needed by those made before "cofre keys reencrypt": make one after that, have "cofre backup prune" remove them, and the next "cofre backup create" frees it; "cofre backup forget" does where the repository is gone for good`},
	{engine.ErrRootShared, exitFailure, `nothing was dropped: give what else has it another root key ("cofre keys rotate-root --to"), take a recovery key away from the table ("cofre keys remove-root"), or drop it without --destroy-root-key-after`},
	{engine.ErrRootStays, exitFailure, "nothing was dropped: drop it without --destroy-root-key-after, and destroy the key where it is"},
	{recovery.ErrSheet, exitKey, "correct the line that the error names; capitals, spaces and hyphens do not matter"},
	{recovery.ErrFingerprint, exitUsage, "it is printed on the recovery sheet"},
	{keyring.ErrKeyDenied, exitKey, "the key service refuses: is the passphrase right, the key enabled, its file readable by its owner alone, --principal one with a grant?"},
	{keyring.ErrKeyUnreachable, exitKey, "try again when the key service can be reached"},
	{keyring.ErrKeyThrottled, exitKey, "try again later"},
	{keyring.ErrWrongContext, exitKey, "this root key does not open this store: is it the right key? If it is, the keyring was changed: restore it from a copy"},
	{engine.ErrKeyInaccessible, exitKey, "is it the right key, and its file readable by its owner alone?"},
	{audit.ErrBroken, exitCorruption, `"cofre audit verify" shows what is missing. Restore the store's directory audit from a copy, or "cofre audit restart" goes on with a log that says so`},
	{audit.ErrUnwritable, exitFailure, "nothing that makes or changes a key is done without a record: free some space, or look after the disk"},
	{engine.ErrVersion, exitFailure, "a newer cofre may have made this; if none did, the file was changed"},
	{corrupt.ErrRollback, exitCorruption, "an older state was put where a newer one was: restore the store whole, from one copy"},
	{engine.ErrCorruption, exitCorruption, `"cofre verify" lists every fault; restore the damaged files from a copy`},
	{keyring.ErrVersionUnknown, exitNotFound, `"cofre keys status" shows the versions of each table's key`},
	{engine.ErrInvalidName, exitUsage, "such as src.go or app.users"},
	{local.ErrName, exitUsage, "--key takes a name such as default"},
	{engine.ErrKeyTooLarge, exitUsage, ""},
	{engine.ErrValueTooLarge, exitUsage, ""},
	{engine.ErrTableExists, exitFailure, ""},
	{engine.ErrSnapshotExists, exitFailure, `choose another name, or "cofre snapshot drop" it first`},
	{engine.ErrInUse, exitFailure, ""},
	{engine.ErrSnapshotsExist, exitFailure, "--with-snapshots drops them too"},
	{engine.ErrDiskFull, exitFailure, "free some space; what was acknowledged is safe"},
	{syscall.ENOSPC, exitFailure, "free some space; what was acknowledged is safe"},
	{syscall.EDQUOT, exitFailure, "your quota is used up: free some space, or ask for more; what was acknowledged is safe"},
	{engine.ErrPoisoned, exitFailure, "what was acknowledged is safe: look after the disk, then run the command again"},
	{engine.ErrStalled, exitFailure, "the disk does not keep up: try again later"},
	{fs.ErrPermission, exitFailure, "whose file is it, and what are its permissions?"},
	{syscall.EROFS, exitFailure, "the file system is read-only"},
}

// judge gives the exit code of an error and what to do about it.
func judge(ctx context.Context, err error) (code int, hint string) {
	var own *failure
	var usage *usageError
	switch {
	case err == nil:
		return exitOK, ""
	case errors.As(err, &own):
		return own.code, own.hint
	case errors.As(err, &usage):
		return exitUsage, usageHint
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted, ""
	}
	for _, o := range outcomes {
		if errors.Is(err, o.class) {
			return o.code, cmp.Or(ofState(err), o.hint)
		}
	}
	return exitFailure, ""
}

// ofState is the hint for a key or a table that somebody has put out of use, and for a
// file of keys that the system keeps from this user; else "".
func ofState(err error) string {
	var state *local.StateError
	if errors.As(err, &state) {
		if state.State == keyring.StatePendingDeletion {
			return fmt.Sprintf(`"cofre kms cancel-deletion %s" keeps the key, and "cofre kms enable %s" allows its use again`, state.Key, state.Key)
		}
		return fmt.Sprintf(`"cofre kms enable %s" allows its use again`, state.Key)
	}
	if errors.Is(err, keyring.ErrKeyDenied) && errors.Is(err, fs.ErrPermission) && !errors.Is(err, local.ErrPermissions) {
		return "whose file is it, and what are its permissions, and its directory's?"
	}
	var locked *engine.LockedError
	if errors.As(err, &locked) && locked.Err == nil {
		return fmt.Sprintf(`"cofre keys unlock %s" allows its use again`, locked.Table)
	}
	return ""
}
