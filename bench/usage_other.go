//go:build !linux

package bench

import (
	"io/fs"
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

func processTime() time.Duration {
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0
	}
	t, err := p.Times()
	if err != nil {
		return 0
	}
	return time.Duration((t.User + t.System) * float64(time.Second))
}

func diskWritten() int64 { return -1 }

func resetPeakMemory() {}

func peakMemory() int64 { return -1 }

// links says that any file may have several names.
func links(fs.FileInfo) uint64 { return 2 }
