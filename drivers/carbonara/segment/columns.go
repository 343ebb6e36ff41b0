package segment

import (
	"encoding/binary"
	"math"

	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

// A columnWriter makes the chunks of one column. Values are appended to its open
// page; all columns of a segment close their pages and chunks together.
type columnWriter interface {
	closePage(rows int)
	closeChunk() *chunk // valid until the next append
	buffered() int64    // about how many bytes the open chunk will have, rather too much
	reset()             // a new segment begins
}

// A chunk is one column of a row group, encoded.
type chunk struct {
	data     []byte // the dictionary page, if there is one, and the data pages
	starts   []int  // of the data pages
	codec    format.CompressionCodec
	encoding format.Encoding // of the data pages
	raw      int64           // how long data would be without compression
	values   int64           // that are not null
	blank    bool            // of an optional column: nulls or zeros only
	bounds   []byte          // of a bounded column: the least and the greatest value of each page, in plain encoding
}

func (c *chunk) reset() {
	c.data, c.starts, c.bounds = c.data[:0], c.starts[:0], c.bounds[:0]
	c.raw, c.values = 0, 0
}

func (c *chunk) addPage(rows, values int, payload []byte, z *pageCompressor) {
	c.starts = append(c.starts, len(c.data))
	c.values += int64(values)
	c.add(pageHeader{kind: format.DataPage, values: rows, encoding: c.encoding}, payload, z)
}

func (c *chunk) add(h pageHeader, payload []byte, z *pageCompressor) {
	var raw int
	c.data, raw = appendPage(c.data, h, payload, z)
	c.raw += int64(raw)
}

// An intWriter writes a column of int64.
type intWriter struct {
	chunk
	values  []int64 // of the open page
	bounded bool
	payload []byte
	z       *pageCompressor
}

func (w *intWriter) closePage(rows int) {
	w.codec, w.encoding = format.Zstd, format.DeltaBinaryPacked
	if w.bounded {
		least, most := w.values[0], w.values[0]
		for _, v := range w.values {
			least, most = min(least, v), max(most, v)
		}
		w.bounds = binary.LittleEndian.AppendUint64(w.bounds, uint64(least))
		w.bounds = binary.LittleEndian.AppendUint64(w.bounds, uint64(most))
	}
	w.payload = appendDelta(w.payload[:0], w.values)
	w.addPage(rows, rows, w.payload, w.z)
	w.values = w.values[:0]
}

func (w *intWriter) closeChunk() *chunk { return &w.chunk }
func (w *intWriter) buffered() int64    { return int64(len(w.data) + 8*len(w.values)) }
func (w *intWriter) reset()             { w.chunk.reset(); w.values = w.values[:0] }

// A timeWriter writes the column of timestamps, and the one of their rest.
type timeWriter struct {
	micros intWriter
	rest   restWriter
}

func newTimeWriter(z *pageCompressor) *timeWriter {
	return &timeWriter{micros: intWriter{z: z, bounded: true}, rest: restWriter{intWriter: intWriter{z: z}}}
}

func (w *timeWriter) append(ns int64) {
	micros, rest := splitTime(ns)
	w.micros.values = append(w.micros.values, micros)
	w.rest.values = append(w.rest.values, rest)
	w.rest.some |= rest
}

// A restWriter writes the column of columnRest. Mostly that is zeros, so a page of
// them is made once and copied.
type restWriter struct {
	intWriter
	some      int64  // not 0 when the open page has something else than zeros
	any       bool   // so has the open chunk
	zeros     []byte // a page of zeros
	zeroRows  int    // how many
	zeroBytes int    // how long it would be without compression
}

func (w *restWriter) closePage(rows int) {
	switch {
	case w.some != 0:
		w.intWriter.closePage(rows)
		w.some, w.any = 0, true
		return
	case w.zeroRows != rows:
		w.payload = appendDelta(w.payload[:0], w.values)
		header := pageHeader{kind: format.DataPage, values: rows, encoding: format.DeltaBinaryPacked}
		w.zeros, w.zeroBytes = appendPage(w.zeros[:0], header, w.payload, w.z)
		w.zeroRows = rows
	}
	w.codec, w.encoding = format.Zstd, format.DeltaBinaryPacked
	w.starts = append(w.starts, len(w.data))
	w.data = append(w.data, w.zeros...)
	w.chunk.values += int64(rows)
	w.raw += int64(w.zeroBytes)
	w.values = w.values[:0]
}

func (w *restWriter) closeChunk() *chunk {
	w.blank, w.any = !w.any, false
	return &w.chunk
}

func (w *restWriter) reset() {
	w.intWriter.reset()
	w.some, w.any = 0, false
}

// A doubleWriter writes a column of float64. Its values are plain, and zstd makes of
// them what it can: decimals and counters repeat whole values, which it finds. Full
// mantissas would take a tenth less as BYTE_STREAM_SPLIT, which Spark and others
// don't read.
type doubleWriter struct {
	chunk
	nullable bool
	values   []float64 // of the open page, without nulls
	levels   []byte    // of the open page: 1 for a value, 0 for a null; empty as long as there is no null
	payload  []byte
	packed   []byte
	z        *pageCompressor
}

func (w *doubleWriter) append(v float64) {
	w.values = append(w.values, v)
	if len(w.levels) > 0 {
		w.levels = append(w.levels, 1)
	}
}

// appendNulls appends n nulls.
func (w *doubleWriter) appendNulls(n int) {
	if len(w.levels) == 0 {
		for range w.values {
			w.levels = append(w.levels, 1)
		}
	}
	for range n {
		w.levels = append(w.levels, 0)
	}
}

func (w *doubleWriter) closePage(rows int) {
	w.codec, w.encoding = format.Zstd, format.Plain
	w.payload = w.payload[:0]
	if w.nullable {
		w.payload = w.appendLevels(w.payload, rows, len(w.values))
	}
	for _, v := range w.values {
		w.payload = binary.LittleEndian.AppendUint64(w.payload, math.Float64bits(v))
	}
	w.addPage(rows, len(w.values), w.payload, w.z)
	w.values, w.levels = w.values[:0], w.levels[:0]
}

// appendLevels appends the definition levels, led by their length.
func (w *doubleWriter) appendLevels(dst []byte, rows, values int) []byte {
	begin := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	switch values {
	case rows:
		dst = appendRun(dst, rows, 1, 1)
	case 0:
		dst = appendRun(dst, rows, 0, 1)
	default:
		levels, err := (&rle.Encoding{BitWidth: 1}).EncodeLevels(w.packed[:0], w.levels)
		if err != nil {
			panic("BUG: levels do not fit: " + err.Error())
		}
		dst = append(dst, levels...)
		w.packed = levels
	}
	binary.LittleEndian.PutUint32(dst[begin:], uint32(len(dst)-begin-4))
	return dst
}

func (w *doubleWriter) closeChunk() *chunk {
	w.blank = w.chunk.values == 0
	return &w.chunk
}

func (w *doubleWriter) buffered() int64 { return int64(len(w.data) + 8*len(w.values) + len(w.levels)) }

func (w *doubleWriter) reset() {
	w.chunk.reset()
	w.values, w.levels = w.values[:0], w.levels[:0]
}
