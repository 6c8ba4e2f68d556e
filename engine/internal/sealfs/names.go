package sealfs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cofredb/cofre/keyring"
)

// A class is what the sealing FS does with a file of a given name.
type class uint8

const (
	classUnknown  class = iota // refused: there is no plaintext path
	classTable                 // .sst, .blob: package sstable
	classLog                   // .log: package wal, recycled
	classManifest              // MANIFEST: package wal, with the file map
	classOptions               // OPTIONS and its temporary: package wal, closed by an end mark
	classMarker                // marker.*: empty, the content is in the name
	classLock                  // LOCK: empty
	classPending               // a file on its way to its name; hidden
)

// pendingPrefix marks a file whose header is not synced yet. Pebble ignores
// the name, our listings hide it, and open removes what a crash left.
const pendingPrefix = "new-"

// A fileName is a name taken apart.
type fileName struct {
	class  class
	kind   keyring.FileKind
	number uint64
}

// parseName takes the base name of one of Pebble's files apart.
func parseName(base string) fileName {
	switch {
	case base == "LOCK":
		return fileName{class: classLock}
	case strings.HasPrefix(base, "marker."):
		return fileName{class: classMarker}
	case strings.HasPrefix(base, pendingPrefix):
		return fileName{class: classPending}
	}
	if n, ok := number(base, "MANIFEST-", ""); ok {
		return fileName{classManifest, keyring.KindManifest, n}
	}
	if n, ok := number(base, "OPTIONS-", ""); ok {
		return fileName{classOptions, keyring.KindOptions, n}
	}
	if n, ok := number(base, "temporary.", ".dbtmp"); ok {
		return fileName{classOptions, keyring.KindOptions, n}
	}
	if n, ok := number(base, "", ".sst"); ok {
		return fileName{classTable, keyring.KindSSTable, n}
	}
	if n, ok := number(base, "", ".blob"); ok {
		return fileName{classTable, keyring.KindBlob, n}
	}
	if n, ok := number(base, "", ".log"); ok {
		return fileName{classLog, keyring.KindWAL, n}
	}
	return fileName{}
}

func number(base, prefix, suffix string) (uint64, bool) {
	s, ok := strings.CutPrefix(base, prefix)
	if !ok {
		return 0, false
	}
	if s, ok = strings.CutSuffix(s, suffix); !ok || s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// maxNumber bounds the numbers of files. Pebble goes on from the highest number
// that it sees in a directory; one near the end of uint64 would make it begin
// again at 0, over the files that are there.
const maxNumber = 1 << 56

// String is the one name that Pebble gives to a file of this class, kind and
// number. It reads others too (7.sst), and would take them for the same file.
func (fn fileName) String() string {
	switch fn.class {
	case classTable:
		if fn.kind == keyring.KindBlob {
			return fmt.Sprintf("%06d.blob", fn.number)
		}
		return fmt.Sprintf("%06d.sst", fn.number)
	case classLog:
		return fmt.Sprintf("%06d.log", fn.number)
	case classManifest:
		return fmt.Sprintf("MANIFEST-%06d", fn.number)
	case classOptions:
		return fmt.Sprintf("OPTIONS-%06d", fn.number)
	}
	return ""
}

// temporaryName is the name of an OPTIONS file until it is whole.
func (fn fileName) temporaryName() string { return fmt.Sprintf("temporary.%06d.dbtmp", fn.number) }

// checkName tells what is wrong with a name in a directory that Pebble is to
// open, where Pebble would read the name and never gives it.
func checkName(base string) string {
	fn := parseName(base)
	switch fn.class {
	case classUnknown:
		// With a second directory for logs, Pebble names their parts so; a part
		// in the first one would be replayed behind the log.
		if n, ok := strings.CutSuffix(base, ".log"); ok {
			log, part, ok := strings.Cut(n, "-")
			if ok && digits(log) && digits(part) {
				return "a part of a log, and logs here have none"
			}
		}
		return ""
	case classMarker, classLock, classPending:
		return ""
	}
	if fn.number > maxNumber {
		return "no file has so high a number"
	}
	if base != fn.String() && !(fn.class == classOptions && base == fn.temporaryName()) {
		return "not the name of file " + strconv.FormatUint(fn.number, 10)
	}
	return ""
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// A marker is a marker file's name taken apart: marker.<name>.<iter>.<value>.
type marker struct {
	name  string
	iter  uint64
	value string
}

// The two markers that Pebble keeps.
const (
	markerManifest = "manifest"
	markerFormat   = "format-version"
)

func parseMarker(base string) (marker, bool) {
	parts := strings.SplitN(base, ".", 4)
	if len(parts) != 4 || parts[0] != "marker" {
		return marker{}, false
	}
	iter, err := strconv.ParseUint(parts[2], 10, 64)
	return marker{parts[1], iter, parts[3]}, err == nil
}
