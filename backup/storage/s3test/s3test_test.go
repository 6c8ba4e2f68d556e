package s3test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStart builds the server where it is not built yet, and starts it.
func TestStart(t *testing.T) {
	t.Parallel()
	s := Start(t)
	resp, err := http.Get(s.Endpoint + "/" + s.NewBucket(t) + "/object")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "it asks for no signature")
}
