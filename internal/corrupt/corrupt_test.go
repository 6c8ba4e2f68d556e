package corrupt

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	classes := []error{ErrCorrupt, ErrAuth, ErrForeign, ErrMissing, ErrFormat, ErrVersion, ErrRollback}
	for _, class := range classes {
		err := fmt.Errorf("opening the table: %w", New(class, "000007.sst", 4096, "segment %d", 2))
		for _, other := range classes {
			require.Equal(t, other == class || other == ErrCorrupt, errors.Is(err, other), "%v is %v", class, other)
		}
		require.NotErrorIs(t, err, io.EOF)
		require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.EqualValues(t, 4096, e.Offset)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*Error{
		"000007.sst at offset 4096: authentication failed: segment 2": New(ErrAuth, "000007.sst", 4096, "segment %d", 2),
		"000007.sst at offset 0: malformed":                           New(ErrFormat, "000007.sst", 0, ""),
		"MANIFEST-000001: missing: cut":                               New(ErrMissing, "MANIFEST-000001", -1, "cut"),
		"sealed file: rolled back":                                    New(ErrRollback, "", -1, ""),
	} {
		require.EqualError(t, e, want)
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	e := New(ErrAuth, "", 12, "x")
	var at *Error
	require.ErrorAs(t, At("a.sst", e), &at)
	require.Equal(t, &Error{Path: "a.sst", Offset: 12, Class: ErrAuth, Detail: "x"}, at)
	require.Empty(t, e.Path, "the error itself is left as it is")

	named := New(ErrAuth, "b.sst", 12, "x")
	require.Equal(t, error(named), At("a.sst", named))
	require.Equal(t, io.ErrClosedPipe, At("a.sst", io.ErrClosedPipe))
	require.NoError(t, At("a.sst", nil))
}
