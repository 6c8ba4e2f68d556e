// Package dir keeps objects in a directory, one file each.
//
//	s, err := dir.Open("/mnt/backup/clinic", dir.Options{Create: true})
//
// # Layout
//
//	data/0a/0a1b2c   an object, or a register, under its name
//	tmp~/            files that are being written
//	lock~            what processes lock that change registers
//
// No object's name has a '~', and what has one is no object. Folders have mode
// 0700 and files 0600; folders that become empty stay.
//
// # How an object is made
//
// It is written to tmp~ and synced, then linked to its name, which fails where
// the name is taken, then its folder is synced. A crash before the link leaves
// a file in tmp~, which [Storage.Clean] removes once it is old and no process
// has it locked; a crash after it leaves the object, whole. On a file system
// without hard links a rename under the lock takes the link's place.
//
// A register is replaced by a rename while its process holds the lock of
// lock~, which the system lets go when the process ends. This is a true
// compare-and-swap between processes on one machine, and between machines as
// far as their file system carries locks: NFS does, and some others do not
// and say so ([storage.ErrUnsupported]). storage.Check tries it within one
// machine.
//
// An object that is named after its bytes ([storage.Namer]) is hashed on its way to
// tmp~, and so read once. Several Puts at once wait for the disk together: it is worth
// having more of them than processors. Those that wait for the same folder share a
// sync.
//
// # What is refused
//
// Symbolic links below the directory that lead out of it, and links, FIFOs,
// devices and folders in the place of an object, which are not opened
// ([storage.ErrNotRegular]). The directory itself may be a link.
//
// # Durability
//
// It is that of fsync on the file system below. On Windows folders cannot be
// synced; there a crash may lose names that were made just before it.
package dir
