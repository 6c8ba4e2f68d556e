package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// KeyLossArchive keeps the ciphertext of tables whose key is lost in the repository, each
// as a pinned backup of its own, for engine.KeyLossPolicy. When the key is back, Restore
// with RestoreOptions.Unsealed makes a table of it.
func (r *Repository) KeyLossArchive() engine.KeyLossArchive { return keyLoss{r} }

type keyLoss struct{ r *Repository }

const keyLossLabel = "the table's key is lost"

func (k keyLoss) Archive(ctx context.Context, held *engine.Held) (ref string, err error) {
	r := k.r
	c := &creation{r: r, store: held.Table().StoreID(), began: time.Now(), o: CreateOptions{Label: keyLossLabel, Concurrency: r.concurrency()}}
	err = r.write(ctx, "archive of a table whose key is lost", func(ctx context.Context) error {
		c.begin()
		c.copies = []*tableCopy{{table: held.Table(), held: held}}
		if err := c.run(ctx); err != nil {
			return err
		}
		err := r.st.Put(ctx, pinsPrefix+c.backup.Name, storage.Bytes([]byte(keyLossLabel+"\n")))
		if errors.Is(err, storage.ErrExists) {
			return nil
		}
		return err
	})
	if err != nil {
		return "", err
	}
	data, err := c.backup.encode()
	if err != nil {
		return "", err
	}
	box, err := held.Table().Lockbox()
	if err != nil {
		return "", err
	}
	ref = strings.Join([]string{r.id.String(), c.backup.Name, sum(data).String(), sum(box).String()}, " ")
	return ref, k.Verify(ctx, ref)
}

// Verify reads every object of the backup that a reference names. The reference has the
// digests of manifest and lockbox; the manifest has those of the indexes, and these have
// those of the files: so what is read is what was archived, although no key has attested
// it, and who can write to the repository has put nothing else there.
func (k keyLoss) Verify(ctx context.Context, ref string) error {
	fields := strings.Split(ref, " ")
	var want, box digest
	if len(fields) != 4 || fields[0] != k.r.id.String() || !backupName.MatchString(fields[1]) ||
		want.UnmarshalText([]byte(fields[2])) != nil || box.UnmarshalText([]byte(fields[3])) != nil {
		return fmt.Errorf("%w: %q is not of repository %s in %s", ErrNotFound, clip(ref), k.r.id, k.r.st.Location())
	}
	b, err := k.r.Find(ctx, fields[1])
	if err != nil {
		return err
	}
	data, err := b.encode()
	if err != nil {
		return err
	}
	if sum(data) != want {
		return corrupt.New(corrupt.ErrForeign, backupsPrefix+b.Name, -1, "is another manifest than that of the archive")
	}
	for i := range b.Tables {
		if err := k.lockbox(ctx, b.Tables[i].Table, box); err != nil {
			return err
		}
	}
	rep, err := k.r.Verify(ctx, VerifyOptions{Backups: []string{b.Name}, ReadData: 1})
	if err != nil {
		return err
	}
	var faults []error
	for _, f := range rep.Faults {
		faults = append(faults, f.Err)
	}
	return errors.Join(faults...)
}

// lockbox finds that the lockbox of a digest is not there, or is another.
func (k keyLoss) lockbox(ctx context.Context, table keyring.ID, want digest) error {
	names, err := k.r.lockboxes(ctx, table)
	if err != nil {
		return err
	}
	for _, n := range names {
		if d, ok := lockboxDigest(n); ok && d == want {
			_, err := k.r.readLockbox(ctx, n)
			return err
		}
	}
	return corrupt.New(corrupt.ErrMissing, lockboxFolder(table), -1, "has no lockbox with the digest %s, which the archive had", want)
}
