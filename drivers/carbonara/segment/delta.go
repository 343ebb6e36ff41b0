package segment

import (
	"encoding/binary"
	"math/bits"
)

// Sizes of DELTA_BINARY_PACKED, as most writers have them.
const (
	deltaBlock = 128 // values of a block, which has one least delta
	deltaMini  = 32  // values of a miniblock, which has one width
)

// appendDelta appends values as DELTA_BINARY_PACKED:
// https://github.com/apache/parquet-format/blob/master/Encodings.md#delta-encoding-delta_binary_packed--5
//
// The library's encoder fills the last block up with zeros, which lie far from the
// block's least delta and take as many bits as that is long: up to 61 for each of 127
// values that nobody reads. Here the last miniblock is filled up with least deltas, and
// those behind it are left out.
func appendDelta(dst []byte, values []int64) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaBlock/deltaMini)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return binary.AppendVarint(dst, 0)
	}
	dst = binary.AppendVarint(dst, values[0])
	var deltas [deltaBlock]int64
	for last := values[0]; len(values) > 1; {
		n := min(deltaBlock, len(values)-1)
		block := deltas[:n]
		least := values[1] - last
		for i, v := range values[1 : 1+n] {
			block[i] = v - last // Wraps, and so does the reader's sum.
			least = min(least, block[i])
			last = v
		}
		dst = appendDeltaBlock(dst, deltas[:], n, least)
		values = values[n:]
	}
	return dst
}

// appendDeltaBlock appends the first n deltas of a block.
func appendDeltaBlock(dst []byte, block []int64, n int, least int64) []byte {
	for i := n; i < len(block) && i%deltaMini != 0; i++ {
		block[i] = least
	}
	dst = binary.AppendVarint(dst, least)
	widths := len(dst)
	dst = append(dst, make([]byte, deltaBlock/deltaMini)...)
	for begin := 0; begin < n; begin += deltaMini {
		mini := block[begin:][:deltaMini]
		all := uint64(0)
		for i, v := range mini {
			mini[i] = v - least
			all |= uint64(mini[i])
		}
		width := bits.Len64(all)
		dst[widths+begin/deltaMini] = byte(width)
		dst = appendPacked(dst, mini, width)
	}
	return dst
}

// appendPacked appends the low bits of values, whose number is a multiple of 8, one
// after the other, the least significant bit first.
func appendPacked(dst []byte, values []int64, width int) []byte {
	if width == 0 {
		return dst
	}
	var word uint64 // bits that have not been written
	free := 64      // of word
	for _, v := range values {
		word |= uint64(v) << (64 - free)
		if free -= width; free <= 0 {
			dst = binary.LittleEndian.AppendUint64(dst, word)
			word = uint64(v) >> (width + free) // 0 when all of v was written
			free += 64
		}
	}
	for ; free < 64; free += 8 {
		dst = append(dst, byte(word))
		word >>= 8
	}
	return dst
}
