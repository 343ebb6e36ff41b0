package deadletter

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A segment file is a file header, then frames back to back, each aligned to 8
// bytes. FORMAT.md has the tables.
const (
	fileHeaderLen  = 64
	frameHeaderLen = 32
	alignment      = 8
	formatVersion  = 1
	maxPayload     = 16 << 20 // far beyond what one record can leave
)

// The kinds of frames.
const (
	kindLetter  = 1 // payload: a letter
	kindRemoved = 2 // payload: ids
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	fileMagic  = [8]byte{'m', 'i', 'l', 'l', 'd', 'e', 'a', 'd'}
)

// A fileHeader says which segment a file is, and what of the ones before it counts.
type fileHeader struct {
	number uint64
	first  uint64 // number of the oldest segment that counts
	before int64  // bytes of segment number-1 that count; 0 when there is none
	whole  int64  // bytes of this one that were durable before the file had its name
	salt   uint64
}

func (h fileHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, fileMagic[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, h.number)
	dst = binary.LittleEndian.AppendUint64(dst, h.first)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.before))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.whole))
	dst = binary.LittleEndian.AppendUint64(dst, h.salt)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseFileHeader returns the header, or what is wrong with it.
func parseFileHeader(b []byte) (h fileHeader, wrong string) {
	switch {
	case len(b) < fileHeaderLen:
		return h, "it ends inside the file header"
	case [8]byte(b[:8]) != fileMagic:
		return h, "it does not begin as a file of dead letters does"
	case binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli):
		return h, "the file header's checksum is wrong"
	case binary.LittleEndian.Uint32(b[8:]) != formatVersion:
		return h, fmt.Sprintf("its version is %d, and this program knows %d", binary.LittleEndian.Uint32(b[8:]), formatVersion)
	}
	h = fileHeader{
		number: binary.LittleEndian.Uint64(b[16:]),
		first:  binary.LittleEndian.Uint64(b[24:]),
		before: int64(binary.LittleEndian.Uint64(b[32:])),
		whole:  int64(binary.LittleEndian.Uint64(b[40:])),
		salt:   binary.LittleEndian.Uint64(b[48:]),
	}
	if h.first == 0 || h.first > h.number || h.whole < fileHeaderLen ||
		h.first == h.number && h.before != 0 || h.first < h.number && h.before < fileHeaderLen {
		return h, "the file header makes no sense"
	}
	return h, ""
}

// seed is what the checksums of the segment's frame headers begin with: a frame
// of another segment, or bytes that a client sent, are not taken for a frame.
func (h fileHeader) seed() uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(nil, h.salt), castagnoli)
}

// A frameHeader describes one frame.
type frameHeader struct {
	sum    uint32 // of payload and padding
	length uint32 // of the payload
	kind   uint32
	back   int64 // from the frame to the first one of its group: what was written and synced at once
}

// frameLen is what a frame takes whose payload has this length.
func frameLen(length uint32) int64 {
	return frameHeaderLen + (int64(length)+alignment-1)&^(alignment-1)
}

// put writes the header of the frame at a byte of the file to b.
func (h frameHeader) put(b []byte, seed uint32, at int64) {
	binary.LittleEndian.PutUint32(b[4:], h.sum)
	binary.LittleEndian.PutUint32(b[8:], h.length)
	binary.LittleEndian.PutUint32(b[12:], h.kind)
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.back))
	binary.LittleEndian.PutUint32(b, crc32.Update(seed, castagnoli, b[4:frameHeaderLen]))
}

// parseFrameHeader reads the header of a frame at a byte of the file; ok is false
// when there is none. The cheap checks come first: a search tries it everywhere.
func parseFrameHeader(b []byte, seed uint32, at int64) (h frameHeader, ok bool) {
	if int64(binary.LittleEndian.Uint64(b[16:])) != at { // Fast path.
		return h, false
	}
	h = frameHeader{
		sum:    binary.LittleEndian.Uint32(b[4:]),
		length: binary.LittleEndian.Uint32(b[8:]),
		kind:   binary.LittleEndian.Uint32(b[12:]),
		back:   int64(binary.LittleEndian.Uint64(b[24:])),
	}
	ok = h.length <= maxPayload && (h.kind == kindLetter || h.kind == kindRemoved) &&
		h.back >= 0 && h.back <= at-fileHeaderLen &&
		binary.LittleEndian.Uint32(b) == crc32.Update(seed, castagnoli, b[4:frameHeaderLen])
	return h, ok
}

// A group is frames for the place in a file where they will be: what one call
// writes and syncs at once.
type group struct {
	buf  []byte
	at   int64 // byte of the file where buf begins
	from int64 // where the group begins
	seed uint32
}

// begin starts a frame; its payload is to be appended to buf.
func (g *group) begin() (start int) {
	start = len(g.buf)
	g.buf = append(g.buf, make([]byte, frameHeaderLen)...)
	return start
}

// end completes the frame and says where in the file it is.
func (g *group) end(start int, kind uint32) (at int64, length uint32, err error) {
	n := len(g.buf) - start - frameHeaderLen
	if n > maxPayload {
		return 0, 0, fmt.Errorf("it takes %d bytes, the limit being %d", n, maxPayload)
	}
	for len(g.buf)%alignment != start%alignment {
		g.buf = append(g.buf, 0)
	}
	at = g.at + int64(start)
	h := frameHeader{sum: crc32.Checksum(g.buf[start+frameHeaderLen:], castagnoli), length: uint32(n), kind: kind, back: at - g.from}
	h.put(g.buf[start:], g.seed, at)
	return at, h.length, nil
}
