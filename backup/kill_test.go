package backup

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

var kills = flag.Int("kills", 0, "how often TestKill kills a process; 0 is a few times")

// killEnv names the directory of a child's world.
const killEnv = "COFRE_BACKUP_KILL"

func TestMain(m *testing.M) {
	if d := os.Getenv(killEnv); d != "" {
		if err := killed(d); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killed opens the world in d, and writes, backs up, prunes and restores until it is
// killed. It tells of each backup that it has made, on standard output.
func killed(d string) error {
	ctx := context.Background()
	s, root, r, err := openKilled(d)
	if err != nil {
		return err
	}
	tab, err := s.Table("clinic.patients")
	if err != nil {
		if tab, err = s.CreateTable(ctx, "clinic.patients", engine.TableOptions{}); err != nil {
			return err
		}
		if err := tab.SetArchiving(ctx, true); err != nil {
			return err
		}
	}
	ar := r.Archiver(ArchiveOptions{})
	for n := 0; ; n++ {
		for range 200 {
			k := fmt.Appendf(nil, "%05d", rand.IntN(3000))
			if err := tab.Put(k, fmt.Appendf(nil, "%0300d", rand.Uint64()), &engine.WriteOptions{NoSync: true}); err != nil {
				return err
			}
		}
		rep, err := r.Create(ctx, s, CreateOptions{Tables: []string{"clinic.patients"}})
		if err != nil {
			return err
		}
		fmt.Println(rep.Backup.Name)
		switch rand.IntN(4) {
		case 0:
			if _, err := r.Prune(ctx, PruneOptions{Keep: Retention{Last: 3}, Grace: -1}); err != nil {
				return err
			}
		case 1:
			if _, err := ar.Ship(ctx, s); err != nil {
				return err
			}
		case 2:
			as := fmt.Sprintf("restored.r%d", time.Now().UnixNano())
			if _, err := r.Restore(ctx, s, RestoreOptions{Roots: []keyring.RootKey{root}, As: map[string]string{"clinic.patients": as}}); err != nil {
				return err
			}
			if _, err := s.DropTable(ctx, as, engine.DropOptions{}); err != nil {
				return err
			}
		case 3:
			if err := tab.RotateKey(ctx); err != nil {
				return err
			}
		}
	}
}

func openKilled(d string) (*engine.Store, keyring.RootKey, *Repository, error) {
	ctx := context.Background()
	svc, err := local.Open(filepath.Join(d, "keys"), local.Options{})
	if err != nil {
		return nil, nil, nil, err
	}
	root, _, err := svc.Ensure(ctx, "default")
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := engine.Open(ctx, filepath.Join(d, "store"), engine.Options{RootKey: root, MemoryBudget: 2 << 20})
	if err != nil {
		return nil, nil, nil, err
	}
	st, err := dir.Open(filepath.Join(d, "repository"), dir.Options{Create: true})
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := Open(ctx, st, Options{Create: true, LockWait: time.Minute})
	return s, root, r, err
}

// TestKill kills a process that backs up, prunes, archives, restores and rotates, at random
// moments: no backup that was reported fails to verify, and none that was reported last is
// missing; the store opens, and its newest backup restores.
func TestKill(t *testing.T) {
	t.Parallel()
	n := *kills
	if n == 0 {
		n = 8
	}
	if testing.Short() && *kills == 0 {
		n = 2
	}
	d := t.TempDir()
	exe, err := os.Executable()
	require.NoError(t, err)
	for i := range n {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), killEnv+"="+d)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(100+rand.IntN(1500)) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		err := cmd.Wait()
		require.ErrorContains(t, err, "killed", "%d: %s", i, errs.String())
		checkKilled(t, d, out.String())
	}
}

func checkKilled(t *testing.T, d, out string) {
	t.Helper()
	ctx := t.Context()
	s, root, r, err := openKilled(d)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	rep, err := r.Verify(ctx, VerifyOptions{Roots: []keyring.RootKey{root}, ReadData: 1})
	require.NoError(t, err)
	for _, f := range rep.Faults {
		require.Fail(t, "fault", "%s: %s", f.Object, f.Message)
	}
	names := strings.Fields(out)
	if rep.Backups == 0 {
		require.Empty(t, names)
		return
	}
	if len(names) > 0 {
		_, err := r.Find(ctx, names[len(names)-1])
		require.NoError(t, err) // it is among those that Prune keeps
	}
	res, err := r.Restore(ctx, s, RestoreOptions{Roots: []keyring.RootKey{root}, As: map[string]string{"clinic.patients": "restored.check"}})
	require.NoError(t, err)
	_, err = s.DropTable(ctx, res.Tables[0].As, engine.DropOptions{})
	require.NoError(t, err)
	v, err := s.Verify(ctx, func(f engine.Finding) { t.Logf("%s: %v", f.Path, f.Err) })
	require.NoError(t, err)
	require.Zero(t, v.Faults)
}
