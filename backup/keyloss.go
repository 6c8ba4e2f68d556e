package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
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
	ref = r.id.String() + " " + c.backup.Name
	return ref, k.Verify(ctx, ref)
}

// Verify reads every object of the backup that a reference names.
func (k keyLoss) Verify(ctx context.Context, ref string) error {
	repository, name, _ := strings.Cut(ref, " ")
	if id, err := keyring.ParseID(repository); err != nil || id != k.r.id {
		return fmt.Errorf("%w: %q is not of repository %s in %s", ErrNotFound, clip(ref), k.r.id, k.r.st.Location())
	}
	rep, err := k.r.Verify(ctx, VerifyOptions{Backups: []string{name}, ReadData: 1})
	if err != nil {
		return err
	}
	var faults []error
	for _, f := range rep.Faults {
		faults = append(faults, f.Err)
	}
	return errors.Join(faults...)
}
