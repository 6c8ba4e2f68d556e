package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
	syscpu "golang.org/x/sys/cpu"

	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/internal/aead"
)

// machine describes where the run takes place; what cannot be learned is left
// empty. The two figures it measures, of a sync and of the cipher, are floors
// for what systems can do.
func machine(dir string) (m report.Machine, err error) {
	m.Go = runtime.Version()
	for _, name := range []string{"GODEBUG", "GOEXPERIMENT", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"} {
		if v, ok := os.LookupEnv(name); ok {
			m.GoOptions = strings.TrimSpace(m.GoOptions + " " + name + "=" + v)
		}
	}
	m.Cores = runtime.NumCPU()
	m.AES = syscpu.X86.HasAES || syscpu.ARM64.HasAES || syscpu.S390X.HasAES
	if info, err := cpu.Info(); err == nil && len(info) > 0 {
		m.CPU = strings.TrimSpace(info[0].ModelName)
	}
	if v, err := mem.VirtualMemory(); err == nil {
		m.Memory = int64(v.Total)
	}
	m.OS = runtime.GOOS + "/" + runtime.GOARCH
	if info, err := host.Info(); err == nil {
		m.OS = fmt.Sprintf("%s/%s %s", runtime.GOOS, runtime.GOARCH, info.KernelVersion)
	}
	if u, err := disk.Usage(dir); err == nil {
		m.FileSystem = u.Fstype
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Revision = s.Value
			}
		}
	}
	if m.SyncMicros, err = measureSync(dir); err != nil {
		return m, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	m.GCMMicros, err = measureGCM()
	return m, err
}

// moduleVersion is the version of a module in this program.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == path {
			if d.Replace != nil {
				d = d.Replace
			}
			return d.Version
		}
	}
	return ""
}

// measureSync is the median time to append 4 KiB to a file and sync it, in
// microseconds.
func measureSync(dir string) (micros float64, err error) {
	path := filepath.Join(dir, "sync")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if e := os.Remove(path); err == nil {
			err = e
		}
	}()
	var took []float64
	b := make([]byte, 4096)
	for range 25 {
		start := time.Now()
		if _, err := f.Write(b); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start))/1e3)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// measureGCM is the time that the cipher takes to open 4 KiB, in microseconds:
// the least of several attempts, as nothing but the cipher is wanted.
func measureGCM() (micros float64, err error) {
	s, err := aead.Suite(nil).New(make([]byte, 32))
	if err != nil {
		return 0, err
	}
	sealed, err := s.Seal(nil, make([]byte, 4096), nil)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 0, 4096)
	const each, attempts = 500, 20
	best := time.Duration(1<<63 - 1)
	for range attempts {
		start := time.Now()
		for range each {
			if _, err := s.Open(buf, sealed, nil); err != nil {
				return 0, err
			}
		}
		best = min(best, time.Since(start))
	}
	return float64(best) / each / 1e3, nil
}
