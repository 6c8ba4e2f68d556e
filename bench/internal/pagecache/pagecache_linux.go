package pagecache

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func stat(f *os.File) (counts, error) {
	var s unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &s, 0) // of length 0: to the end
	if errors.Is(err, unix.ENOSYS) {
		err = fmt.Errorf("%w: cachestat(2) came with Linux 6.5", errors.ErrUnsupported)
	}
	return counts{cached: int64(s.Cache), dirty: int64(s.Dirty + s.Writeback)}, err
}

// drop syncs first: dirty pages stay in memory.
func drop(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
