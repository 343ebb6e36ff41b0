package carbonara

import (
	"encoding/binary"
	"math/bits"

	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/plain"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
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

// A rowRun is consecutive rows with one value of a dictionary.
type rowRun struct {
	entry uint32
	rows  int32
}

// A dictWriter writes a column of few distinct values, or of equal neighbours.
type dictWriter[K comparable] struct {
	chunk
	column      column
	appendPlain func([]byte, K) []byte
	known       map[K]uint32 // nil when equal values are always neighbours
	last        K
	lastEntry   uint32
	entries     []byte // the dictionary, in plain encoding
	count       int    // of entries
	runs        []rowRun
	pageRuns    []int // where the runs of each closed page end
	rows        int
	payload     []byte
	indexes     []int32
	z           *pageCompressor
}

func newMetricWriter(z *pageCompressor) *dictWriter[ingest.MetricID] {
	return &dictWriter[ingest.MetricID]{z: z, column: metricColumn, appendPlain: func(dst []byte, id ingest.MetricID) []byte {
		return append(dst, id[:]...)
	}}
}

func newPolicyWriter(z *pageCompressor) *dictWriter[string] {
	return &dictWriter[string]{z: z, column: policyColumn, known: make(map[string]uint32), appendPlain: plain.AppendByteArrayString}
}

func newSpanWriter(z *pageCompressor) *dictWriter[int64] {
	return &dictWriter[int64]{z: z, column: granularityColumn, known: make(map[int64]uint32), appendPlain: plain.AppendInt64}
}

func (w *dictWriter[K]) append(key K, rows int) {
	entry := w.entryOf(key)
	if n := len(w.runs); n > w.closedRuns() && w.runs[n-1].entry == entry {
		w.runs[n-1].rows += int32(rows)
		return
	}
	w.runs = append(w.runs, rowRun{entry, int32(rows)})
}

func (w *dictWriter[K]) entryOf(key K) uint32 {
	if w.count > 0 && key == w.last { // Fast path.
		return w.lastEntry
	}
	entry, ok := w.known[key]
	if !ok {
		entry = uint32(w.count)
		w.entries = w.appendPlain(w.entries, key)
		w.count++
		if w.known != nil {
			w.known[key] = entry
		}
	}
	w.last, w.lastEntry = key, entry
	return entry
}

func (w *dictWriter[K]) closedRuns() int {
	if len(w.pageRuns) == 0 {
		return 0
	}
	return w.pageRuns[len(w.pageRuns)-1]
}

func (w *dictWriter[K]) closePage(rows int) {
	w.pageRuns = append(w.pageRuns, len(w.runs))
	w.rows += rows
}

func (w *dictWriter[K]) buffered() int64 { return int64(len(w.entries) + 4*len(w.runs)) }

func (w *dictWriter[K]) reset() {
	w.chunk.reset()
	w.empty()
}

func (w *dictWriter[K]) empty() {
	w.entries, w.runs, w.pageRuns = w.entries[:0], w.runs[:0], w.pageRuns[:0]
	w.count, w.rows = 0, 0
	clear(w.known)
}

// Rows per entry at which a column that may be plain becomes a dictionary. Lookups
// have to fetch all of a dictionary, but only a page of plain values.
const dictionaryRows = 32

func (w *dictWriter[K]) closeChunk() *chunk {
	w.boundPages()
	if w.known == nil && w.rows < w.count*dictionaryRows {
		w.writePlain()
	} else {
		w.writeDictionary()
	}
	w.empty()
	return &w.chunk
}

func (w *dictWriter[K]) boundPages() {
	if !w.column.bounded() {
		return
	}
	size := w.column.size()
	entry := func(r rowRun) []byte { return w.entries[int(r.entry)*size:][:size] }
	w.eachPage(func(_ int, runs []rowRun) {
		least, most := entry(runs[0]), entry(runs[len(runs)-1])
		if w.known != nil { // Not sorted.
			for _, r := range runs {
				if w.column.less(entry(r), least) {
					least = entry(r)
				}
				if w.column.less(most, entry(r)) {
					most = entry(r)
				}
			}
		}
		w.bounds = append(append(w.bounds, least...), most...)
	})
}

func (w *dictWriter[K]) writeDictionary() {
	w.codec, w.encoding = format.Uncompressed, format.RLEDictionary
	w.add(pageHeader{kind: format.DictionaryPage, values: w.count, encoding: format.Plain}, w.entries, nil)
	width := bits.Len(uint(w.count - 1))
	w.eachPage(func(rows int, runs []rowRun) {
		w.payload = append(w.payload[:0], byte(width))
		w.payload = w.appendRuns(w.payload, runs, rows, width)
		w.addPage(rows, rows, w.payload, nil)
	})
}

// writePlain repeats the value in every row, and lets the compression find that.
func (w *dictWriter[K]) writePlain() {
	w.codec, w.encoding = format.Zstd, format.Plain
	z := w.z
	if w.rows < 2*w.count {
		w.codec, z = format.Uncompressed, nil // ids are random
	}
	size := len(w.entries) / w.count
	w.eachPage(func(rows int, runs []rowRun) {
		w.payload = w.payload[:0]
		for _, r := range runs {
			entry := w.entries[int(r.entry)*size:][:size]
			for range r.rows {
				w.payload = append(w.payload, entry...)
			}
		}
		w.addPage(rows, rows, w.payload, z)
	})
}

func (w *dictWriter[K]) eachPage(do func(rows int, runs []rowRun)) {
	begin := 0
	for _, end := range w.pageRuns {
		rows, runs := 0, w.runs[begin:end]
		for _, r := range runs {
			rows += int(r.rows)
		}
		do(rows, runs)
		begin = end
	}
}

// appendRuns appends a page's entries as Parquet's hybrid of runs and bit packing:
// https://github.com/apache/parquet-format/blob/master/Encodings.md#run-length-encoding--bit-packing-hybrid-rle--3
func (w *dictWriter[K]) appendRuns(dst []byte, runs []rowRun, rows, width int) []byte {
	if len(runs)*(1+(width+7)/8)*8 > rows*width && width > 0 {
		w.indexes = w.indexes[:0]
		for _, r := range runs {
			for range r.rows {
				w.indexes = append(w.indexes, int32(r.entry))
			}
		}
		hybrid := rle.Encoding{BitWidth: width}
		packed, err := hybrid.EncodeInt32(nil, w.indexes)
		if err != nil {
			panic("BUG: indexes do not fit: " + err.Error())
		}
		return append(dst, packed...)
	}
	for _, r := range runs {
		dst = appendRun(dst, int(r.rows), r.entry, width)
	}
	return dst
}

func appendRun(dst []byte, rows int, value uint32, width int) []byte {
	dst = binary.AppendUvarint(dst, uint64(rows)<<1)
	for ; width > 0; width -= 8 {
		dst = append(dst, byte(value))
		value >>= 8
	}
	return dst
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
