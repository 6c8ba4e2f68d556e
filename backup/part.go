package backup

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

const (
	partMagic = "\x93COFRP\r\n" // P: part of a log

	// PartVersion is the version of a part of an archived log.
	//
	//	1  the first
	PartVersion = 1

	// maxPart bounds the ciphertext in a part, in bytes.
	maxPart       = 64 << 20
	maxPartHeader = 116 + 4 + maxKeys*wrappedLen
)

// A part is a stretch of the ciphertext of one log segment, as an archive keeps it: the
// parts of a segment, one behind the other, are its file. A header says which stretch:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 50 0d 0a
//	  8    2  format version
//	 10    1  suite
//	 11    1  zero
//	 12   16  store id
//	 28   16  table id
//	 44   16  incarnation
//	 60   16  file id of the segment
//	 76    8  number of the segment
//	 84    8  offset of the stretch in the segment
//	 92    8  frames of the segment up to the end of the stretch; 0 where it ends within one
//	100    8  time of the segment's first frame, nanoseconds since 1970
//	108    8  time of the last frame up to the end of the stretch
//	116    4  count of data keys of the segment, from 1
//	          16  what it was made for: the file's id, or that of a change of its key
//	           4  version of the table's key that wraps it
//	          60  wrapped data key
//	          ciphertext, to the end: 1 byte to 64 MiB
//
// Nothing of the header is authentic: what the log holds is sealed by itself, with its
// times, and each segment names the one before it.
type part struct {
	store, table, incarnation keyring.ID
	file                      keyring.ID
	number                    uint64
	from, to                  int64
	frames                    uint64
	first, last               time.Time
	keys                      []keyring.WrappedDataKey
	versions                  versionSet // of keys
	digest                    digest     // of the object
	size                      int64      // of the object
}

func (p *part) header() []byte {
	var w codec.Writer
	w.Raw([]byte(partMagic))
	w.U16(PartVersion)
	w.U8(keyring.SuiteAES256GCM)
	w.U8(0)
	w.Raw(p.store[:])
	w.Raw(p.table[:])
	w.Raw(p.incarnation[:])
	w.Raw(p.file[:])
	w.U64(p.number)
	w.U64(uint64(p.from))
	w.U64(p.frames)
	w.U64(uint64(p.first.UnixNano()))
	w.U64(uint64(p.last.UnixNano()))
	w.U32(uint32(len(p.keys)))
	for _, k := range p.keys {
		w.Raw(k.File[:])
		w.U32(k.Version)
		w.Raw(k.Wrapped[:])
	}
	return w.B
}

// parsePart reads the header at the beginning of an object, and tells how long it is.
func parsePart(b []byte) (p *part, n int, err error) {
	bad := func(off int64, format string, args ...any) (*part, int, error) {
		return nil, 0, corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if !bytes.HasPrefix(b, []byte(partMagic)) {
		return bad(0, "not a part of a log: too short, or the wrong magic")
	}
	r := codec.NewReader(b[len(partMagic):])
	version, suite, zero := r.U16(), r.U8(), r.U8()
	switch {
	case r.Err() != nil:
		return bad(8, "%v", r.Err())
	case version != PartVersion:
		return nil, 0, corrupt.New(corrupt.ErrVersion, "", 8, "part format version %d, this build knows %d", version, PartVersion)
	case suite != keyring.SuiteAES256GCM:
		return nil, 0, corrupt.New(corrupt.ErrVersion, "", 10, "cipher suite %d, this build knows %d", suite, keyring.SuiteAES256GCM)
	case zero != 0:
		return bad(11, "reserved byte is %d", zero)
	}
	p = &part{}
	r.Fill(p.store[:])
	r.Fill(p.table[:])
	r.Fill(p.incarnation[:])
	r.Fill(p.file[:])
	p.number = r.U64()
	p.from = int64(r.U64())
	p.frames = r.U64()
	p.first = time.Unix(0, int64(r.U64())).UTC()
	p.last = time.Unix(0, int64(r.U64())).UTC()
	p.keys = make([]keyring.WrappedDataKey, r.Count(maxKeys, wrappedLen))
	for i := range p.keys {
		k := &p.keys[i]
		r.Fill(k.File[:])
		k.Version = r.U32()
		r.Fill(k.Wrapped[:])
	}
	if r.Err() != nil {
		return bad(12, "%v", r.Err())
	}
	if r.Len() == 0 || r.Len() > maxPart {
		return bad(int64(len(b)-r.Len()), "a stretch of %d bytes, not 1 to %d", r.Len(), maxPart)
	}
	p.to = p.from + int64(r.Len())
	p.size = int64(len(b))
	switch {
	case p.from < 0 || p.to < p.from:
		return bad(84, "an offset that cannot be")
	case p.first.UnixNano() < 0 || p.last.UnixNano() < 0:
		return bad(100, "a time before 1970")
	}
	vs := versionsOf(p.keys)
	if p.versions = newVersionSet(vs); !ascending(vs) || len(p.keys) == 0 {
		return bad(116, "no data key, or one under version 0")
	}
	return p, len(b) - r.Len(), nil
}

// versionsOf are the versions of a table's key that wrap data keys, ascending.
func versionsOf(keys []keyring.WrappedDataKey) (vs []uint32) {
	for _, k := range keys {
		vs = append(vs, k.Version)
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

// lineName is the folder of one life of a table's logs.
func lineName(table, incarnation keyring.ID) string {
	return archivePrefix + table.String() + "/" + incarnation.String() + "/"
}

func segmentNumber(n uint64) string { return fmt.Sprintf("%016x", n) }

// object is the part's name: what its header says, to be read without it, and the digest
// of the whole.
func (p *part) object() string {
	return fmt.Sprintf("%s%s-%s/%016x-%016x-%x-%016x-%016x-%s-%s", lineName(p.table, p.incarnation), segmentNumber(p.number), p.file,
		p.from, p.to, p.frames, p.first.UnixNano(), p.last.UnixNano(), p.versions, p.digest)
}

// fewVersions are named one by one. A log that goes on through many rotations would have a
// name that is too long; of more the first and the last are named, and all between them
// count as needed.
const fewVersions = 4

// A versionSet is the versions of a table's key that a part needs, as its name has them: a
// few, or all from the first to the last. They are not listed then: a storage may have a
// million names that each stand for thousands.
type versionSet struct {
	list    []uint32 // ascending; not empty, at most fewVersions
	through bool     // there are two, and they stand for all between them
}

// newVersionSet makes one of versions that ascend.
func newVersionSet(vs []uint32) versionSet {
	if len(vs) > fewVersions {
		return versionSet{[]uint32{vs[0], vs[len(vs)-1]}, true}
	}
	return versionSet{list: vs}
}

func (s versionSet) String() string {
	list, sep := make([]string, len(s.list)), "."
	for i, v := range s.list {
		list[i] = strconv.FormatUint(uint64(v), 10)
	}
	if s.through {
		sep = "_"
	}
	return strings.Join(list, sep)
}

// has tells whether a version is needed.
func (s versionSet) has(v uint32) bool {
	if s.through {
		return s.list[0] <= v && v <= s.list[1]
	}
	return slices.Contains(s.list, v)
}

// lacking is the first version that is needed and not among those given; 0 where there is
// none.
func (s versionSet) lacking(have map[uint32]bool) uint32 {
	if s.through {
		for v := uint64(s.list[0]); v <= uint64(s.list[1]); v++ { // to the first that is not there
			if !have[uint32(v)] {
				return uint32(v)
			}
		}
		return 0
	}
	for _, v := range s.list {
		if !have[v] {
			return v
		}
	}
	return 0
}

// parseVersions reads what String wrote.
func parseVersions(text string) (s versionSet, ok bool) {
	sep := "."
	if s.through = strings.Contains(text, "_"); s.through {
		sep = "_"
	}
	for v := range strings.SplitSeq(text, sep) {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || len(s.list) == fewVersions {
			return s, false
		}
		s.list = append(s.list, uint32(n))
	}
	if s.through && (len(s.list) != 2 || s.list[0] > s.list[1] || s.list[1]-s.list[0] < fewVersions || s.list[1]-s.list[0] >= keyring.MaxVersions) {
		return s, false
	}
	return s, ascending(s.list) && s.String() == text
}

// parsePartName reads the name of a part.
func parsePartName(name string) (p part, ok bool) {
	fields := strings.Split(strings.TrimPrefix(name, archivePrefix), "/")
	if !strings.HasPrefix(name, archivePrefix) || len(fields) != 4 {
		return p, false
	}
	number, file, _ := strings.Cut(fields[2], "-")
	rest := strings.Split(fields[3], "-")
	if len(rest) != 7 {
		return p, false
	}
	var errs [9]error
	hex := func(s string, err *error) uint64 {
		v, e := strconv.ParseUint(s, 16, 64)
		*err = e
		return v
	}
	p.table, errs[0] = keyring.ParseID(fields[0])
	p.incarnation, errs[1] = keyring.ParseID(fields[1])
	p.file, errs[2] = keyring.ParseID(file)
	p.number = hex(number, &errs[3])
	p.from, p.to = int64(hex(rest[0], &errs[4])), int64(hex(rest[1], &errs[5]))
	p.frames = hex(rest[2], &errs[6])
	p.first = time.Unix(0, int64(hex(rest[3], &errs[7]))).UTC()
	p.last = time.Unix(0, int64(hex(rest[4], &errs[8]))).UTC()
	for _, err := range errs {
		if err != nil {
			return p, false
		}
	}
	if p.versions, ok = parseVersions(rest[5]); !ok {
		return p, false
	}
	if p.digest.UnmarshalText([]byte(rest[6])) != nil || p.from < 0 || p.to <= p.from || p.to-p.from > maxPart {
		return p, false
	}
	return p, p.object() == name
}
