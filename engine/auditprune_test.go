package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring/audit"
)

// TestAuditPruned has the log of a store that stays open be as long as it may, while
// tables renew their leases; and what is kept of it verifies.
func TestAuditPruned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		root, fs := newMemRoot("a"), vfs.NewCrashableMem()
		opts := crashOptions(root, fs)
		opts.Audit = AuditOptions{FileSize: 8 << 10, KeepBytes: 40 << 10}
		s, err := Open(ctx, crashDir, opts)
		require.NoError(t, err)
		tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
		require.NoError(t, err)
		require.NoError(t, tab.Put(key, []byte("v"), nil))
		first, ok, err := s.AuditHead(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		length := func() (n int64) {
			walk(fs, crashDir+"/"+auditDir, func(_ string, size int64) { n += size })
			return n
		}
		for range 20 {
			time.Sleep(time.Hour)
			// An hour has some twenty renewals.
			require.Less(t, length(), int64(80<<10))
		}
		synctest.Wait()
		verify := func(heads ...audit.Head) (*audit.Report, string) {
			var said strings.Builder
			rep, err := s.VerifyAudit(ctx, heads, func(f audit.Finding) { said.WriteString(f.Detail + "\n") })
			require.NoError(t, err)
			require.Zero(t, rep.Faults, said.String())
			require.Equal(t, rep.Records, rep.Verified)
			return rep, said.String()
		}
		rep, said := verify(first)
		require.Positive(t, rep.Pruned)
		require.Contains(t, said, "was pruned")
		got, err := s.PruneAudit(ctx, 30*time.Minute, 0)
		require.NoError(t, err)
		require.Positive(t, got.Files)
		again, _ := verify()
		require.Greater(t, again.Pruned, rep.Pruned)
		require.NoError(t, s.Close())
		_, err = s.PruneAudit(ctx, 0, 1)
		require.ErrorIs(t, err, ErrClosed)

		s, err = Open(ctx, crashDir, opts)
		require.NoError(t, err)
		verify()
		requireVerified(t, s)
		require.NoError(t, s.Close())
		opts.Mode = ReadOnly
		s, err = Open(ctx, crashDir, opts)
		require.NoError(t, err)
		_, err = s.PruneAudit(ctx, 0, 1)
		require.ErrorIs(t, err, ErrReadOnly)
		require.NoError(t, s.Close())
		opts.Mode, opts.Audit.KeepFor = MustExist, -1
		_, err = Open(ctx, crashDir, opts)
		require.Error(t, err)
	})
}
