package bench

import (
	"bytes"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

func processTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// diskWritten is what the kernel charges the process for: bytes of pages that
// it made dirty, less those that were taken back before they were written
// (proc_pid_io(5)).
func diskWritten() int64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return -1
	}
	return max(0, field(b, "write_bytes:")-max(0, field(b, "cancelled_write_bytes:")))
}

// resetPeakMemory makes the peak begin anew (proc_pid_clear_refs(5)).
func resetPeakMemory() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func peakMemory() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return -1
	}
	if kib := field(b, "VmHWM:"); kib >= 0 {
		return kib << 10
	}
	return -1
}

// links is how many names a file has.
func links(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// field is the number after a name at the beginning of a line, or -1.
func field(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			words := bytes.Fields(rest)
			if len(words) == 0 {
				return -1
			}
			if n, err := strconv.ParseInt(string(words[0]), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
