package segment

import (
	"encoding/binary"
	"math/bits"

	"github.com/parquet-go/parquet-go/encoding/plain"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

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
	return &dictWriter[ingest.MetricID]{
		z: z, column: metricColumn,
		appendPlain: func(dst []byte, id ingest.MetricID) []byte { return append(dst, id[:]...) },
	}
}

func newPolicyWriter(z *pageCompressor) *dictWriter[string] {
	return &dictWriter[string]{
		z: z, column: policyColumn, known: make(map[string]uint32), appendPlain: plain.AppendByteArrayString,
	}
}

func newSpanWriter(z *pageCompressor) *dictWriter[int64] {
	return &dictWriter[int64]{
		z: z, column: granularityColumn, known: make(map[int64]uint32), appendPlain: plain.AppendInt64,
	}
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
