package sealfs

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestArchivedNames holds that each log has one name in an archive.
func TestArchivedNames(t *testing.T) {
	t.Parallel()
	id := keyring.NewID()
	for _, n := range []uint64{0, 7, 999_999, 1_000_000, maxNumber} {
		number, got, ok := ParseArchived(ArchivedName(n, id))
		require.True(t, ok)
		require.Equal(t, n, number)
		require.Equal(t, id, got)
	}
	for _, name := range []string{
		"", "000007.log", "000007-.log", "7-" + id.String() + ".log", "0000007-" + id.String() + ".log",
		"000007-" + id.String(), "000007-" + id.String() + ".log.bak", "000007-" + id.String()[:31] + ".log",
		"-" + id.String() + ".log", "+00007-" + id.String() + ".log", ArchivedName(math.MaxUint64, id),
		"000007-ABCDEF6789abcdef0123456789abcdef.log",
	} {
		_, _, ok := ParseArchived(name)
		require.False(t, ok, name)
	}
}
