package backup

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cofredb/cofre/backup/storage"
)

type archivedLog struct {
	segments []int
	last     time.Time
}

func (l *archivedLog) batches(ctx context.Context) iter.Seq2[[]byte, error] { return nil }

func (r *Repository) openArchive(ctx context.Context, t *planned, at time.Time) (*archivedLog, error) {
	return nil, errors.New("stub")
}

func (r *Repository) unneededLogs(ctx context.Context, needed map[string]bool, visit func(storage.Info) error) error {
	return nil
}

func (x *index) firstLog() string { return "" }
