package segment

import (
	"encoding/binary"

	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/plain"
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
	w.payload, _ = new(delta.BinaryPackedEncoding).EncodeInt64(w.payload, w.values)
	w.addPage(rows, rows, w.payload, w.z)
	w.values = w.values[:0]
}

func (w *intWriter) closeChunk() *chunk { return &w.chunk }
func (w *intWriter) buffered() int64    { return int64(len(w.data) + 8*len(w.values)) }
func (w *intWriter) reset()             { w.chunk.reset(); w.values = w.values[:0] }

// A doubleWriter writes a column of float64.
type doubleWriter struct {
	chunk
	nullable bool
	values   []float64 // of the open page, without nulls
	levels   []byte    // of the open page: 1 for a value, 0 for a null; empty as long as there is no null
	chosen   bool      // the encoding of this segment
	empty    []int     // rows of leading pages without a value, which wait for the encoding
	payload  []byte
	split    []byte
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
	if !w.chosen && len(w.values) == 0 {
		w.empty = append(w.empty, rows)
		w.levels = w.levels[:0]
		return
	}
	if !w.chosen {
		w.encoding, w.chosen = w.choose(), true
		w.writeEmpty()
	}
	w.write(rows, w.values)
	w.values, w.levels = w.values[:0], w.levels[:0]
}

func (w *doubleWriter) writeEmpty() {
	for _, rows := range w.empty {
		w.write(rows, nil)
	}
	w.empty = w.empty[:0]
}

func (w *doubleWriter) write(rows int, values []float64) {
	w.codec = format.Zstd
	w.payload = w.payload[:0]
	if w.nullable {
		w.payload = w.appendLevels(w.payload, rows, len(values))
	}
	w.payload = w.appendValues(w.payload, values, w.encoding)
	w.addPage(rows, len(values), w.payload, w.z)
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
		levels, err := (&rle.Encoding{BitWidth: 1}).EncodeLevels(w.split[:0], w.levels)
		if err != nil {
			panic("BUG: levels do not fit: " + err.Error())
		}
		dst = append(dst, levels...)
		w.split = levels
	}
	binary.LittleEndian.PutUint32(dst[begin:], uint32(len(dst)-begin-4))
	return dst
}

func (w *doubleWriter) appendValues(dst []byte, values []float64, e format.Encoding) []byte {
	if e == format.ByteStreamSplit {
		w.split, _ = new(bytestreamsplit.Encoding).EncodeDouble(w.split[:0], values)
	} else {
		w.split, _ = new(plain.Encoding).EncodeDouble(w.split[:0], values)
	}
	return append(dst, w.split...)
}

// sampleRows is how many values a segment's first page must have for a trial. Small
// segments are merged soon, and a trial takes as long as all the rest of them.
const sampleRows = 1 << 10

// choose tries the open page. Decimals and counters repeat whole values, which
// zstd finds; of full mantissas only the first bytes are alike, and it finds them
// when they stand together.
func (w *doubleWriter) choose() format.Encoding {
	if len(w.values) < sampleRows {
		return format.Plain
	}
	w.payload = w.appendValues(w.payload[:0], w.values, format.Plain)
	whole := len(w.z.compress(w.payload))
	w.payload = w.appendValues(w.payload[:0], w.values, format.ByteStreamSplit)
	if len(w.z.compress(w.payload)) < whole {
		return format.ByteStreamSplit
	}
	return format.Plain
}

func (w *doubleWriter) closeChunk() *chunk {
	w.writeEmpty()
	return &w.chunk
}

func (w *doubleWriter) buffered() int64 { return int64(len(w.data) + 8*len(w.values) + len(w.levels)) }

func (w *doubleWriter) reset() {
	w.chunk.reset()
	w.values, w.levels, w.empty = w.values[:0], w.levels[:0], w.empty[:0]
	w.encoding, w.chosen = format.Plain, false
}
