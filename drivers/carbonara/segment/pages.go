package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// A pageHeader is what we write and accept of Parquet's PageHeader, a thrift
// structure in the compact protocol:
// https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
type pageHeader struct {
	kind         format.PageType // DataPage (version 1) or DictionaryPage
	uncompressed int             // bytes
	compressed   int             // bytes that follow the header
	sum          uint32          // CRC-32 of the bytes that follow
	values       int             // with nulls
	encoding     format.Encoding
}

// Headers of a page header's fields: their type, and the distance from the number
// of the field before.
// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
const (
	thriftStop      = 0
	thriftInt       = 5
	thriftStruct    = 12
	intField        = thriftInt | 1<<4
	dataField       = thriftStruct | 1<<4 // field 5
	dictionaryField = thriftStruct | 3<<4 // field 7
)

func (h pageHeader) append(dst []byte) []byte {
	dst = appendThriftInt(dst, int64(h.kind))
	dst = appendThriftInt(dst, int64(h.uncompressed))
	dst = appendThriftInt(dst, int64(h.compressed))
	dst = appendThriftInt(dst, int64(int32(h.sum)))
	if h.kind == format.DictionaryPage {
		dst = append(dst, dictionaryField)
		dst = appendThriftInt(dst, int64(h.values))
		dst = appendThriftInt(dst, int64(h.encoding))
		return append(dst, thriftStop, thriftStop)
	}
	dst = append(dst, dataField)
	dst = appendThriftInt(dst, int64(h.values))
	dst = appendThriftInt(dst, int64(h.encoding))
	dst = appendThriftInt(dst, int64(format.RLE)) // of definition levels
	dst = appendThriftInt(dst, int64(format.RLE)) // of repetition levels
	return append(dst, thriftStop, thriftStop)
}

func appendThriftInt(dst []byte, v int64) []byte {
	return binary.AppendVarint(append(dst, intField), v)
}

var errPageHeader = errors.New("malformed page header")

// parsePageHeader reads a header as append writes it, and returns what follows.
func parsePageHeader(src []byte) (h pageHeader, rest []byte, err error) {
	p := thriftInts{src: src}
	h.kind = format.PageType(p.next())
	h.uncompressed = int(p.next())
	h.compressed = int(p.next())
	h.sum = uint32(p.next())
	if h.kind == format.DictionaryPage {
		p.expect(dictionaryField)
		h.values = int(p.next())
		h.encoding = format.Encoding(p.next())
	} else {
		p.expect(dataField)
		h.values = int(p.next())
		h.encoding = format.Encoding(p.next())
		definitions, repetitions := p.next(), p.next()
		p.bad = p.bad || h.kind != format.DataPage || definitions != int64(format.RLE) || repetitions != int64(format.RLE)
	}
	p.expect(thriftStop)
	p.expect(thriftStop)
	if p.bad || h.uncompressed < 0 || h.compressed < 0 || h.values < 0 {
		return pageHeader{}, nil, errPageHeader
	}
	return h, p.src, nil
}

// thriftInts reads consecutive int fields; bad sticks.
type thriftInts struct {
	src []byte
	bad bool
}

func (p *thriftInts) expect(b byte) {
	if p.bad || len(p.src) == 0 || p.src[0] != b {
		p.bad = true
		return
	}
	p.src = p.src[1:]
}

func (p *thriftInts) next() int64 {
	p.expect(intField)
	if p.bad {
		return 0
	}
	v, n := binary.Varint(p.src)
	if n <= 0 || v != int64(int32(v)) {
		p.bad = true
		return 0
	}
	p.src = p.src[n:]
	return v
}

// appendPage appends a page: its header, and the payload, compressed by z unless
// that is nil. raw is how long it would be without compression.
func appendPage(dst []byte, h pageHeader, payload []byte, z *pageCompressor) (page []byte, raw int) {
	h.uncompressed = len(payload)
	if z != nil {
		payload = z.compress(payload)
	}
	h.compressed = len(payload)
	h.sum = crc32.ChecksumIEEE(payload)
	begin := len(dst)
	dst = h.append(dst)
	raw = len(dst) - begin + h.uncompressed
	return append(dst, payload...), raw
}

// A pageCompressor compresses one page after the other; what it returns is valid
// until the next.
type pageCompressor struct {
	encoder *zstd.Encoder
	buf     []byte
}

func newPageCompressor() *pageCompressor {
	// No checksum of zstd's: the page has one.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("BUG: zstd encoder: %v", err))
	}
	return &pageCompressor{encoder: encoder}
}

func (z *pageCompressor) compress(payload []byte) []byte {
	z.buf = z.encoder.EncodeAll(payload, z.buf[:0])
	return z.buf
}

// zstdDecoders keeps decoders, each used by one goroutine at a time.
var zstdDecoders = sync.Pool{New: func() any {
	// IgnoreChecksum: the page's own has been checked.
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.IgnoreChecksum(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("BUG: zstd decoder: %v", err))
	}
	return decoder
}}

// openPage checks a page of a chunk and returns its payload, which is a part of
// page when the chunk isn't compressed, and else lies in buf. want is what the
// header must say; its sizes and sum are not looked at.
func openPage(page []byte, want pageHeader, codec format.CompressionCodec, maxSize int, buf []byte) (
	payload, newBuf []byte, err error) {
	h, payload, err := parsePageHeader(page)
	if err != nil {
		return nil, buf, err
	}
	if h.kind != want.kind || h.values != want.values || h.encoding != want.encoding {
		return nil, buf, fmt.Errorf("page header says %v of %d values, %v, not %v of %d values, %v",
			h.kind, h.values, h.encoding, want.kind, want.values, want.encoding)
	}
	if h.compressed != len(payload) {
		return nil, buf, fmt.Errorf("page header says %d bytes, not %d", h.compressed, len(payload))
	}
	if h.uncompressed > maxSize {
		return nil, buf, fmt.Errorf("a page of %d bytes is larger than %d", h.uncompressed, maxSize)
	}
	if crc32.ChecksumIEEE(payload) != h.sum {
		return nil, buf, errors.New("page checksum mismatch")
	}
	if codec == format.Zstd {
		if cap(buf) < h.uncompressed {
			buf = make([]byte, 0, h.uncompressed)
		}
		decoder := zstdDecoders.Get().(*zstd.Decoder)
		payload, err = decoder.DecodeAll(payload, buf[:0:h.uncompressed])
		zstdDecoders.Put(decoder)
		if err != nil {
			return nil, buf, fmt.Errorf("cannot decompress page: %w", err)
		}
	}
	if len(payload) != h.uncompressed {
		return nil, buf, fmt.Errorf("page has %d bytes, not %d", len(payload), h.uncompressed)
	}
	return payload, buf, nil
}
