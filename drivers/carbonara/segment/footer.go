package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// About what things take in page index and footer, in bytes, rather too much.
const (
	footerFixed     = 512
	footerPerColumn = 48 // in the schema and in the metadata
	footerPerChunk  = 192
	footerPerPage   = 16
)

// A footerWriter appends what comes after the pages: the page index and the
// footer.
type footerWriter struct {
	buf bytes.Buffer
}

// append completes the file dst, whose columns are kept, indexes of schema.
func (f *footerWriter) append(dst []byte, k Kind, schema []column, kept []int, groups []writtenGroup,
	metadata []format.KeyValue) ([]byte, error) {
	f.buf.Reset()
	var protocol thrift.CompactProtocol
	encoder := thrift.NewEncoder(protocol.NewWriter(&f.buf))
	columns := make([]column, len(kept))
	for i, c := range kept {
		columns[i] = schema[c]
	}
	meta := format.FileMetaData{
		Version: 2, Schema: schemaOf(k, columns), CreatedBy: createdBy,
		KeyValueMetadata: append(metadata, format.KeyValue{Key: keyTail, Value: string(make([]byte, tailDigits))}),
	}
	for range columns {
		meta.ColumnOrders = append(meta.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	var sorting []format.SortingColumn
	for i, c := range columns {
		if c.sorted {
			sorting = append(sorting, format.SortingColumn{ColumnIdx: int32(i)})
		}
	}
	for i, g := range groups {
		meta.NumRows += int64(g.rows)
		meta.RowGroups = append(meta.RowGroups, rowGroupOf(g, i, columns, kept, sorting))
	}
	index := int64(len(dst))
	if err := f.appendPageIndex(encoder, index, &meta, columns, kept, groups, k.pageRows()); err != nil {
		return nil, err
	}
	dst = append(dst, f.buf.Bytes()...)
	f.buf.Reset()
	if err := encoder.Encode(&meta); err != nil {
		return nil, err
	}
	footer := len(dst)
	dst = append(dst, f.buf.Bytes()...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(dst)-footer))
	dst = append(dst, parquetMagic...)
	return dst, sealTail(dst[index:], footer-int(index))
}

func rowGroupOf(g writtenGroup, ordinal int, columns []column, kept []int,
	sorting []format.SortingColumn) format.RowGroup {
	rg := format.RowGroup{
		NumRows: int64(g.rows), SortingColumns: sorting, Ordinal: int16(ordinal),
		Columns: make([]format.ColumnChunk, len(columns)),
	}
	for i, c := range columns {
		chunk := &g.chunks[kept[i]]
		rg.Columns[i].MetaData = chunk.metadata(c, g.rows)
		rg.TotalByteSize += rg.Columns[i].MetaData.TotalUncompressedSize
		rg.TotalCompressedSize += rg.Columns[i].MetaData.TotalCompressedSize
	}
	rg.FileOffset = g.chunks[0].offset
	return rg
}

func (c *writtenChunk) metadata(col column, rows int) format.ColumnMetaData {
	m := format.ColumnMetaData{
		Type: col.physical(), PathInSchema: []string{col.name}, Codec: c.codec, NumValues: int64(rows),
		TotalUncompressedSize: c.raw, TotalCompressedSize: int64(c.size),
		DataPageOffset: c.offset + int64(c.starts[0]),
		Statistics:     format.Statistics{NullCount: int64(rows) - c.values},
	}
	switch {
	case c.encoding == format.RLEDictionary:
		m.Encoding = []format.Encoding{format.Plain, format.RLEDictionary}
		m.DictionaryPageOffset = c.offset
	case col.kind == columnDouble:
		m.Encoding = []format.Encoding{c.encoding, format.RLE} // RLE: the definition levels
	default:
		m.Encoding = []format.Encoding{c.encoding}
	}
	if col.bounded() {
		m.Statistics.MinValue, m.Statistics.MaxValue = chunkBounds(col, c.bounds)
	}
	return m
}

// chunkBounds returns the least and the greatest of the bounds of a chunk's pages.
func chunkBounds(c column, bounds []byte) (least, most []byte) {
	for i, page := range pageBounds(c, bounds) {
		if i == 0 || c.less(page[0], least) {
			least = page[0]
		}
		if i == 0 || c.less(most, page[1]) {
			most = page[1]
		}
	}
	return least, most
}

// pageBounds cuts bounds into the least and the greatest value of each page.
func pageBounds(c column, bounds []byte) [][2][]byte {
	size := c.size()
	pages := make([][2][]byte, len(bounds)/(2*size))
	for i := range pages {
		page := bounds[i*2*size:][:2*size]
		pages[i] = [2][]byte{page[:size], page[size:]}
	}
	return pages
}

// appendPageIndex encodes the column indexes of bounded columns and the offset
// indexes of all, and notes in meta where they are; at is where the first begins.
func (f *footerWriter) appendPageIndex(encoder *thrift.Encoder, at int64, meta *format.FileMetaData,
	columns []column, kept []int, groups []writtenGroup, pageRows int) error {
	encode := func(v any) (offset int64, length int32, err error) {
		begin := f.buf.Len()
		err = encoder.Encode(v)
		return at + int64(begin), int32(f.buf.Len() - begin), err
	}
	var err error
	for i, g := range groups {
		for j, c := range columns {
			if !c.bounded() {
				continue
			}
			index := columnIndexOf(c, g.chunks[kept[j]].bounds)
			into := &meta.RowGroups[i].Columns[j]
			if into.ColumnIndexOffset, into.ColumnIndexLength, err = encode(&index); err != nil {
				return err
			}
		}
	}
	for i, g := range groups {
		for j := range columns {
			index := offsetIndexOf(&g.chunks[kept[j]], pageRows)
			into := &meta.RowGroups[i].Columns[j]
			if into.OffsetIndexOffset, into.OffsetIndexLength, err = encode(&index); err != nil {
				return err
			}
		}
	}
	return nil
}

func columnIndexOf(c column, bounds []byte) format.ColumnIndex {
	pages := pageBounds(c, bounds)
	index := format.ColumnIndex{NullPages: make([]bool, len(pages)), BoundaryOrder: format.Unordered}
	if c.kind == columnMetric {
		index.BoundaryOrder = format.Ascending
	}
	for _, page := range pages {
		index.MinValues = append(index.MinValues, page[0])
		index.MaxValues = append(index.MaxValues, page[1])
	}
	return index
}

func offsetIndexOf(c *writtenChunk, pageRows int) format.OffsetIndex {
	var index format.OffsetIndex
	for i, start := range c.starts {
		end := c.size
		if i+1 < len(c.starts) {
			end = c.starts[i+1]
		}
		index.PageLocations = append(index.PageLocations, format.PageLocation{
			Offset: c.offset + int64(start), CompressedPageSize: int32(end - start), FirstRowIndex: int64(i * pageRows),
		})
	}
	return index
}

// Parquet protects pages by checksums, but not what finds and explains them. The
// value of keyTail does: eight hexadecimal digits for the length of the page
// index, and eight for the CRC-32 of the page index and the footer in which these
// last eight are zeros.
const tailDigits = 16

// tailMark leads the value of keyTail in a footer, which is a thrift structure.
var tailMark = keyTail + "\x18\x10" // field 2, a string of 16 bytes

// sealTail fills in the value of keyTail; tail is the page index, the footer, and
// the eight bytes of the end of the file.
func sealTail(tail []byte, index int) error {
	at := bytes.LastIndex(tail, []byte(tailMark))
	if at < index || int64(index) > math.MaxUint32 {
		return fmt.Errorf("BUG: no place for the checksum of a footer of %d bytes", len(tail)-index)
	}
	value := tail[at+len(tailMark):][:tailDigits]
	copy(value, fmt.Sprintf("%08x%08d", index, 0))
	sum := crc32.ChecksumIEEE(tail[:len(tail)-footerEnd])
	copy(value[8:], fmt.Sprintf("%08x", sum))
	return nil
}

// footerEnd is the length of the footer's length and the magic bytes.
const footerEnd = 8
