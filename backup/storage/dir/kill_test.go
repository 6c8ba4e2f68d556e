package dir

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

// TestMain is, in a process that TestKill starts, one that puts objects until
// it is killed.
func TestMain(m *testing.M) {
	path := os.Getenv("COFRE_TEST_DIR")
	if path == "" {
		os.Exit(m.Run())
	}
	fmt.Println(putForEver(path))
	os.Exit(1)
}

// putForEver puts objects whose names are the hashes of their bytes, and says
// of each that it is there once it was told so.
func putForEver(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	v := storage.NoVersion
	if _, have, err := s.Load(ctx, "counter"); err == nil {
		v = have
	}
	for {
		b := storagetest.Random(rand.Uint64(), rand.IntN(3<<20))
		name := nameOf(b)
		if rand.IntN(2) == 0 {
			_, err = s.PutNamed(ctx, storage.Bytes(b), func([sha256.Size]byte) string { return name })
		} else {
			err = s.Put(ctx, name, storage.Bytes(b))
		}
		if err != nil {
			return err
		}
		fmt.Println(name)
		if err := s.Replace(ctx, name, storage.Bytes(b)); err != nil {
			return err
		}
		if v, err = s.Swap(ctx, "counter", v, []byte(name)); err != nil {
			return err
		}
	}
}

func nameOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "data/" + hex.EncodeToString(sum[:1]) + "/" + hex.EncodeToString(sum[:])
}

// TestKill kills a process that puts, at random moments: what it was told is
// there is there, what is there is whole, and what else is left is cleaned.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	s := open(t, t.TempDir())
	var told []string
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "COFRE_TEST_DIR="+s.Location())
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		r := bufio.NewReader(out)
		var said strings.Builder
		if round%2 == 0 { // else it may be killed before it has put anything
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			said.WriteString(line)
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_, err = io.Copy(&said, r)
		require.NoError(t, err)
		require.Error(t, cmd.Wait())
		for line := range strings.Lines(said.String()) {
			if name, ok := strings.CutSuffix(line, "\n"); ok {
				require.NoError(t, storage.CheckName(name), "the process says %q", name)
				told = append(told, name)
			}
		}
	}
	require.NotEmpty(t, told)
	names := storagetest.Names(t, s, "")
	require.Subset(t, names, told)
	for _, name := range names {
		b := storagetest.MustGet(t, s, name)
		if name == "counter" {
			name = string(b)
			b = storagetest.MustGet(t, s, name)
		}
		require.Equal(t, nameOf(b), name, "an object is not whole")
	}
	_, err := s.Clean(t.Context(), 0)
	require.NoError(t, err)
	left, err := os.ReadDir(filepath.Join(s.Location(), tempFolder))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, names, storagetest.Names(t, s, ""))
}
