package segment

import (
	"bytes"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// A fileWriter assembles a Parquet file in memory. Its memory is kept from file
// to file.
type fileWriter struct {
	kind    Kind
	schema  []column
	columns []columnWriter // one per column of the schema
	out     []byte
	inPage  int   // rows of the open page
	inGroup int   // rows of the open row group, without the open page
	closed  int64 // about the bytes of closed row groups, with what the footer says of them
	groups  []writtenGroup
	footer  footerWriter
}

type writtenGroup struct {
	rows   int
	chunks []writtenChunk
}

// A writtenChunk is what the footer needs to know of a chunk.
type writtenChunk struct {
	offset   int64
	size     int
	starts   []int // of the data pages, from offset
	codec    format.CompressionCodec
	encoding format.Encoding
	raw      int64
	values   int64
	bounds   []byte
	blank    bool   // of an optional column: it says nothing
	held     []byte // a blank chunk, which has no place in the file yet
}

func newFileWriter(k Kind, schema []column, columns []columnWriter) *fileWriter {
	w := &fileWriter{kind: k, schema: schema, columns: columns}
	w.reset()
	return w
}

func (w *fileWriter) reset() {
	w.inPage, w.inGroup, w.closed = 0, 0, 0
	w.groups = w.groups[:0]
	for _, c := range w.columns {
		c.reset()
	}
}

// room is how many rows fit into the open page, at least one.
func (w *fileWriter) room() int { return w.kind.pageRows() - w.inPage }

// advance counts n rows, at most room, that every column has got.
func (w *fileWriter) advance(n int) {
	w.inPage += n
	if w.inPage == w.kind.pageRows() {
		w.closePage()
	}
	if w.inGroup == groupRows {
		w.closeGroup()
	}
}

func (w *fileWriter) closePage() {
	for _, c := range w.columns {
		c.closePage(w.inPage)
	}
	w.inGroup += w.inPage
	w.inPage = 0
}

func (w *fileWriter) closeGroup() {
	if len(w.groups) == 0 {
		w.out = append(w.out[:0], parquetMagic...)
	}
	g := writtenGroup{rows: w.inGroup, chunks: make([]writtenChunk, len(w.columns))}
	for i, c := range w.columns {
		chunk := c.closeChunk()
		g.chunks[i] = writtenChunk{
			offset: int64(len(w.out)), size: len(chunk.data), starts: slices.Clone(chunk.starts),
			codec: chunk.codec, encoding: chunk.encoding, raw: chunk.raw, values: chunk.values,
			bounds: bytes.Clone(chunk.bounds),
		}
		if g.chunks[i].blank = w.schema[i].optional() && chunk.blank; g.chunks[i].blank {
			g.chunks[i].held = bytes.Clone(chunk.data)
		} else {
			w.out = append(w.out, chunk.data...)
		}
		w.closed += int64(len(chunk.data) + 3*len(chunk.bounds) + footerPerChunk + footerPerPage*len(chunk.starts))
		chunk.reset()
	}
	w.groups = append(w.groups, g)
	w.inGroup = 0
}

// size is about how long the file would be now, rather too much.
func (w *fileWriter) size() int64 {
	n := int64(len(parquetMagic)+footerFixed) + int64(len(w.columns))*footerPerColumn + w.closed
	if w.inPage+w.inGroup > 0 {
		n += int64(len(w.columns)) * (footerPerChunk + groupRows/int64(w.kind.pageRows())*footerPerPage)
		for _, c := range w.columns {
			n += c.buffered()
		}
	}
	return n
}

// finish returns the file with these key-value metadata, sorted by key, and
// empties the writer. The bytes are valid until the next advance.
func (w *fileWriter) finish(metadata []format.KeyValue) ([]byte, error) {
	if w.inPage > 0 {
		w.closePage()
	}
	if w.inGroup > 0 {
		w.closeGroup()
	}
	if len(w.groups) == 0 {
		w.out = append(w.out[:0], parquetMagic...)
	}
	kept := w.keptColumns()
	w.placeHeld(kept)
	file, err := w.footer.append(w.out, w.kind, w.schema, kept, w.groups, metadata)
	w.out = file // To be overwritten when the next row group closes.
	w.reset()
	return file, err
}

// keptColumns are the columns of the schema that stay in the file: all but optional
// ones that say nothing.
func (w *fileWriter) keptColumns() []int {
	var kept []int
	for i, c := range w.schema {
		says := slices.ContainsFunc(w.groups, func(g writtenGroup) bool { return !g.chunks[i].blank })
		if !c.optional() || says {
			kept = append(kept, i)
		}
	}
	return kept
}

// placeHeld appends the blank chunks of columns that say something elsewhere.
func (w *fileWriter) placeHeld(kept []int) {
	for _, g := range w.groups {
		for _, i := range kept {
			if c := &g.chunks[i]; c.held != nil {
				c.offset = int64(len(w.out))
				w.out = append(w.out, c.held...)
			}
		}
	}
}
