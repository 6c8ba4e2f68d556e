package crashfs

import "github.com/cockroachdb/pebble/v2/vfs"

// SetCapacity changes the size of the disk, in bytes. It may be less than what
// is used.
func (fs *FS) SetCapacity(n int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.capacity = n
}

// Used is the space that files and directories take, in bytes: 512 each, and
// the content in whole sectors, holes and preallocated space included. A
// removed file takes space until its last handle is closed.
func (fs *FS) Used() int64 {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.used
}

// GetDiskUsage tells what SetCapacity and Used do.
func (fs *FS) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	op := Op{Kind: OpStat, Path: name}
	if _, err := fs.lookup(name); err != nil {
		return vfs.DiskUsage{}, op.fail(err)
	}
	if err := fs.read(op); err != nil {
		return vfs.DiskUsage{}, err
	}
	return vfs.DiskUsage{
		AvailBytes: uint64(fs.avail()),
		TotalBytes: uint64(max(fs.capacity, 0)),
		UsedBytes:  uint64(fs.used),
	}, nil
}

func (fs *FS) avail() int64 { return max(fs.capacity-fs.used, 0) }

// fit is how many bytes can be written to a file from an offset on.
func (fs *FS) fit(ino *inode, off int64) int64 {
	return max(ino.content.space()+fs.avail()/sectorLen*sectorLen-off, 0)
}

// release gives back the space of an inode that has neither names nor handles.
func (fs *FS) release(ino *inode) {
	if ino.links > 0 || ino.opens > 0 {
		return
	}
	fs.used -= ino.space()
	fs.bury(ino)
}

// A grave is what a removed file has left in blocks that are free.
type grave struct {
	ino     *inode
	sectors []*sector
}

const (
	graves   = 16 // kept
	graveLen = 64 // sectors kept of each
)

func (fs *FS) bury(ino *inode) {
	n := sectors(ino.size)
	g := grave{ino: ino}
	for i := range min(n, graveLen) {
		if s := ino.cur.at(i * n / min(n, graveLen)); s != nil {
			g.sectors = append(g.sectors, s)
		}
	}
	if len(g.sectors) == 0 {
		return
	}
	// Moments share the list: it is replaced, never changed.
	fs.freed = append(fs.freed[max(0, len(fs.freed)-graves+1):len(fs.freed):len(fs.freed)], g)
}
