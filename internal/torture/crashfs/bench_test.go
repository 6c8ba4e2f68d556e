package crashfs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// busyStore has twenty files: logs and tables, one of each half written, and
// names that are not durable.
func busyStore(t testing.TB) *FS {
	fs := New(Options{})
	require.NoError(t, fs.MkdirAll("store/db", 0o755))
	dirs := []string{"/", "store", "store/db"}
	for i := range 20 {
		f, err := fs.Create(fmt.Sprintf("store/db/%06d.sst", i), "")
		require.NoError(t, err)
		for range 16 {
			_, err = f.Write(make([]byte, 16<<10))
			require.NoError(t, err)
		}
		if i < 18 {
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
		}
		if i < 15 {
			for _, d := range dirs {
				f, err := fs.OpenDir(d)
				require.NoError(t, err)
				require.NoError(t, f.Sync())
				require.NoError(t, f.Close())
			}
		}
	}
	require.NoError(t, fs.Rename("store/db/000019.sst", "store/db/000020.log"))
	require.NoError(t, fs.Remove("store/db/000001.sst"))
	return fs
}

func BenchmarkCrash(b *testing.B) {
	for _, style := range Styles() {
		b.Run(style.String(), func(b *testing.B) {
			fs, rng := busyStore(b), rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				fs.Crash(rng, style)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "states/s")
		})
	}
}

// BenchmarkMoment captures at each write, and so pays for what a capture makes
// the next write copy.
func BenchmarkMoment(b *testing.B) {
	fs := busyStore(b)
	f, err := fs.OpenReadWrite("store/db/000020.log", "")
	require.NoError(b, err)
	p := make([]byte, 428)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			require.NoError(b, f.Sync())
		}
		_, _ = f.WriteAt(p, int64(i%1000)*428)
		fs.Moment()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "moments/s")
}
