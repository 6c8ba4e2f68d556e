package wal

import (
	"encoding/binary"
	"time"

	"github.com/cofredb/cofre/internal/aead"
)

// The wire format; the package comment draws it.
const (
	segmentTagLen    = 8
	frameHeaderLen   = segmentTagLen + 8 + 4
	frameOverhead    = frameHeaderLen + aead.Overhead
	payloadHeaderLen = 8 + 8 + 1 + 4
	minFrameLen      = frameOverhead + payloadHeaderLen

	flagS2      = 1
	flagNextKey = 2 // the data names the key of the frames behind flagSwitch
	flagSwitch  = 4 // the frames behind this one are under that key
	knownFlags  = flagS2 | flagNextKey | flagSwitch

	purposeFrame = "WAL_FRAME:"
	purposeTag   = "WAL_SEGMENT_TAG:"
)

// A Frame is one Write, as it is read back. Note and Data are valid until the
// next call of the Reader.
type Frame struct {
	Index   uint64
	Time    time.Time // when it was sealed, by the writer's clock
	Durable uint64    // frames known to be synced at that time
	Note    []byte
	Data    []byte

	keyed bool // it changes the key: no caller sees it
}

func appendFrameHeader(b []byte, tag [segmentTagLen]byte, index uint64, payloadLen int) []byte {
	b = append(b, tag[:]...)
	b = binary.BigEndian.AppendUint64(b, index)
	return binary.BigEndian.AppendUint32(b, uint32(payloadLen))
}

// parseFrameHeader reads what follows the segment tag.
func parseFrameHeader(b []byte) (index uint64, payloadLen uint32) {
	return binary.BigEndian.Uint64(b[segmentTagLen:]), binary.BigEndian.Uint32(b[segmentTagLen+8:])
}

// A payload is a frame's content as it was sealed: data may be compressed.
type payload struct {
	time    int64
	durable uint64
	flags   uint8
	note    []byte
	data    []byte
}

func appendPayloadHeader(b []byte, time int64, durable uint64, flags uint8, noteLen int) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(time))
	b = binary.BigEndian.AppendUint64(b, durable)
	b = append(b, flags)
	return binary.BigEndian.AppendUint32(b, uint32(noteLen))
}

// parsePayload reads the payload of the frame with the given index, which is at
// least payloadHeaderLen bytes long. It tells what is wrong with one that no
// Writer makes.
func parsePayload(b []byte, index uint64) (p payload, wrong string) {
	p.time = int64(binary.BigEndian.Uint64(b))
	p.durable = binary.BigEndian.Uint64(b[8:])
	p.flags = b[16]
	noteLen := binary.BigEndian.Uint32(b[17:])
	b = b[payloadHeaderLen:]
	switch {
	case p.durable > index:
		return p, "more frames are durable than there are"
	case p.flags&^knownFlags != 0:
		return p, "unknown flags"
	case uint64(noteLen) > uint64(len(b)):
		return p, "the note is longer than the payload"
	}
	p.note, p.data = b[:noteLen:noteLen], b[noteLen:]
	switch p.flags &^ flagS2 {
	case 0:
		return p, ""
	case flagNextKey:
		if p.flags == flagNextKey && noteLen == 0 && len(p.data) == nextKeyLen {
			return p, ""
		}
	case flagSwitch:
		if p.flags == flagSwitch && len(b) == 0 {
			return p, ""
		}
	}
	return p, "a change of the key that no writer makes"
}
