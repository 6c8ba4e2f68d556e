package crashfs

import (
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// inodeLen is what a file or directory takes on the disk beside its content,
// in bytes.
const inodeLen = 512

// An inode is a file or a directory. The FS's mu guards it.
type inode struct {
	mode  fs.FileMode
	mtime time.Time
	links int // names, as they are now
	opens int // handles

	content // of a file

	// Of a directory.
	ents   []dirent // sorted by name
	parent *inode   // nil: the root, or removed
	name   string   // in parent

	// frozen is the inode's node in the last Moment, if nothing has changed
	// since. It shares ents.
	frozen *node
}

// A node is an inode as it was at a Moment. It never changes.
type node struct {
	ino     *inode // only to tell which
	mode    fs.FileMode
	mtime   time.Time
	content content
	ents    []dirent
	pending bool // a directory: some name is not durable
}

func (n *node) isDir() bool { return n.mode.IsDir() }

func (ino *inode) isDir() bool { return ino.mode.IsDir() }

func (ino *inode) freeze() *node {
	if ino.frozen == nil {
		ino.frozen = &node{
			ino: ino, mode: ino.mode, mtime: ino.mtime, content: ino.content.share(), ents: ino.ents,
			pending: slices.ContainsFunc(ino.ents, func(e dirent) bool { return e.pending() }),
		}
	}
	return ino.frozen
}

// thaw comes before each change.
func (ino *inode) thaw() {
	if ino.frozen != nil {
		ino.ents = slices.Clone(ino.ents)
		ino.frozen = nil
	}
}

// space is what the inode takes on the disk, in bytes.
func (ino *inode) space() int64 { return inodeLen + ino.content.space() }

func (ino *inode) info(name string) vfs.FileInfo {
	return &info{name: path.Base(name), size: ino.size, mode: ino.mode, mtime: ino.mtime}
}

type info struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func (i *info) Name() string           { return i.name }
func (i *info) Size() int64            { return i.size }
func (i *info) Mode() fs.FileMode      { return i.mode }
func (i *info) ModTime() time.Time     { return i.mtime }
func (i *info) IsDir() bool            { return i.mode.IsDir() }
func (i *info) Sys() any               { return nil }
func (i *info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
