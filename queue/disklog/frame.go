package disklog

import (
	"encoding/binary"
	"hash/crc32"

	"millrace/ingest"
)

// A segment file is a file header, then frames back to back, each aligned to 8
// bytes. FORMAT.md has the tables.
const (
	fileHeaderLen  = 40
	frameHeaderLen = 32
	alignment      = 8
	formatVersion  = 1
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	fileMagic  = [8]byte{'m', 'i', 'l', 'l', 'r', 'l', 'o', 'g'}
)

// A fileHeader says whose segment a file is.
type fileHeader struct {
	sacks int
	base  int64 // position of the file's first byte
	salt  uint64
}

func (h fileHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, fileMagic[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.sacks))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.base))
	dst = binary.LittleEndian.AppendUint64(dst, h.salt)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// wrongVersion is what is wrong with a header that is sound.
const wrongVersion = "its version is unknown to this program"

// parseFileHeader returns the header, or what is wrong with it.
func parseFileHeader(b []byte) (h fileHeader, wrong string) {
	switch {
	case len(b) < fileHeaderLen:
		return h, "it ends inside the file header"
	case [8]byte(b[:8]) != fileMagic:
		return h, "it does not begin as a segment does"
	case binary.LittleEndian.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli):
		return h, "the file header's checksum is wrong"
	case binary.LittleEndian.Uint32(b[8:]) != formatVersion:
		return h, wrongVersion
	}
	return fileHeader{
		sacks: int(binary.LittleEndian.Uint32(b[12:])),
		base:  int64(binary.LittleEndian.Uint64(b[16:])),
		salt:  binary.LittleEndian.Uint64(b[24:]),
	}, ""
}

// seed is what the checksums of the segment's frame headers begin with: a frame
// of another segment, or bytes that a client sent, are not taken for a frame.
func (h fileHeader) seed() uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h.salt)
	return crc32.Checksum(b[:], castagnoli)
}

// A frameHeader describes one frame.
type frameHeader struct {
	sum    uint32 // of payload and padding
	length uint32 // of the payload
	back   uint32 // from the frame to the first one of its group: what was written and synced at once
	sack   uint32
}

// paddedLen is what a payload takes with its padding.
func paddedLen(length int) int { return (length + alignment - 1) &^ (alignment - 1) }

// size is what the frame takes.
func (h frameHeader) size() int { return frameHeaderLen + paddedLen(int(h.length)) }

// put writes the header of the frame at position to b.
func (h frameHeader) put(b []byte, seed uint32, position int64) {
	binary.LittleEndian.PutUint32(b[4:], h.sum)
	binary.LittleEndian.PutUint32(b[8:], h.length)
	binary.LittleEndian.PutUint32(b[12:], h.back)
	binary.LittleEndian.PutUint64(b[16:], uint64(position))
	binary.LittleEndian.PutUint32(b[24:], h.sack)
	binary.LittleEndian.PutUint32(b[28:], 0)
	binary.LittleEndian.PutUint32(b, headerSum(b, seed))
}

func headerSum(b []byte, seed uint32) uint32 {
	return crc32.Update(seed, castagnoli, b[4:frameHeaderLen])
}

// parseFrameHeader reads the header of a frame at position; ok is false when there
// is none. The cheap checks come first: a search tries it everywhere.
func parseFrameHeader(b []byte, file fileHeader, seed uint32, position int64) (h frameHeader, ok bool) {
	if int64(binary.LittleEndian.Uint64(b[16:])) != position { // Fast path.
		return h, false
	}
	h = frameHeader{
		sum:    binary.LittleEndian.Uint32(b[4:]),
		length: binary.LittleEndian.Uint32(b[8:]),
		back:   binary.LittleEndian.Uint32(b[12:]),
		sack:   binary.LittleEndian.Uint32(b[24:]),
	}
	ok = h.length > 0 && h.length <= ingest.MaxRecord && int64(h.sack) < int64(file.sacks) &&
		int64(h.back) <= position-file.base-fileHeaderLen && binary.LittleEndian.Uint32(b[28:]) == 0 &&
		binary.LittleEndian.Uint32(b) == headerSum(b, seed)
	return h, ok
}

// payloadSum is the checksum of a payload and its padding.
func payloadSum(padded []byte) uint32 { return crc32.Checksum(padded, castagnoli) }
