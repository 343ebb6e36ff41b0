package carbonara

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// A segmentFile is an open segment: where its pages are and what they may hold. It
// is immutable and may be used concurrently.
type segmentFile struct {
	store   Store
	name    string
	size    int64
	kind    kind
	schema  []column
	asked   []ingest.Method // sealed: the value of keyMethods
	columns []int           // sealed: the column of each asked method, -1 for one without values
	groups  []rowGroup
	rows    int64
	late    string // the value of keyLate
	whole   []byte // all of a small file
}

// A rowGroup is a row group of an open segment. Page i of every column has the
// rows from starts[i] to starts[i+1].
type rowGroup struct {
	rows    int
	starts  []int32              // one more than there are pages
	metrics [][2]ingest.MetricID // of each page, the first and the last
	times   [][2]int64           // of each page, the earliest and the latest of the column of columnTime
	spans   [][2]int64           // sealed: of each page, the finest and the coarsest granularity
	chunks  []fileChunk
}

// A fileChunk is a column of a row group.
type fileChunk struct {
	offset   int64 // of the dictionary page, or of the first data page
	dict     int32 // length of the dictionary page
	absent   bool  // nulls only
	codec    format.CompressionCodec
	encoding format.Encoding // of the data pages
	starts   []int32         // of the data pages from offset, and where the last ends
}

const (
	minTail  = 64 << 10
	maxTail  = 1 << 20
	keepSize = 32 << 10 // files up to this are kept whole
)

// openSegment reads what is needed to find rows in a segment of size bytes: one
// read at the end of the object, or two if there is much to find.
func openSegment(ctx context.Context, store Store, name string, size int64) (*segmentFile, error) {
	f := &segmentFile{store: store, name: name, size: size}
	if err := f.open(ctx); err != nil {
		return nil, f.failed(err)
	}
	return f, nil
}

// failed names the segment in an error.
func (f *segmentFile) failed(err error) error {
	return fmt.Errorf("cannot read segment %s: %w", f.name, err)
}

func (f *segmentFile) open(ctx context.Context) error {
	var tail []byte
	for need := min(f.size, max(minTail, min(f.size/256, maxTail))); need > int64(len(tail)); {
		var err error
		if tail, err = f.readTail(ctx, need); err != nil {
			return err
		}
		if need, err = tailLength(tail, f.size); err != nil {
			return err
		}
	}
	if int64(len(tail)) == f.size && f.size <= keepSize {
		f.whole = tail
	}
	return guarded(func() error { return f.parse(tail) })
}

func (f *segmentFile) readTail(ctx context.Context, n int64) ([]byte, error) {
	contents, err := f.store.Read(ctx, f.name, []Range{{f.size - n, n}})
	if err != nil {
		return nil, err
	}
	if contents.Size != f.size {
		return nil, fmt.Errorf("object has %d bytes, not %d", contents.Size, f.size)
	}
	if len(contents.Data) != 1 || int64(len(contents.Data[0])) != n {
		return nil, errShortRead
	}
	return contents.Data[0], nil
}

var errShortRead = errors.New("store returned less than was asked for")

// tailLength says how much of the end of a file is page index and footer; tail is
// some of it. As long as the footer isn't whole it answers with a guess.
func tailLength(tail []byte, size int64) (int64, error) {
	end := len(tail) - footerEnd
	if end < 0 || string(tail[end+4:]) != parquetMagic {
		return 0, errors.New("not a Parquet file")
	}
	footer := int64(binary.LittleEndian.Uint32(tail[end:]))
	if footer > size-footerEnd {
		return 0, fmt.Errorf("footer of %d bytes in a file of %d", footer, size)
	}
	if footer > int64(end) {
		return min(size, 2*footer+minTail), nil // The page index is about as long as the footer.
	}
	sum, err := parseTailSum(tail[int64(end)-footer : end])
	if err != nil {
		return 0, err
	}
	if sum.index > size-footerEnd-footer {
		return 0, fmt.Errorf("page index of %d bytes in a file of %d", sum.index, size)
	}
	return sum.index + footer + footerEnd, nil
}

// A tailSum is the value of keyTail.
type tailSum struct {
	index int64  // length of the page index
	sum   uint32 // of the page index and the footer, the sum itself being zeros
	at    int    // where the digits of the sum are in the footer
}

func parseTailSum(footer []byte) (tailSum, error) {
	at := bytes.LastIndex(footer, []byte(tailMark))
	if at < 0 || len(footer) < at+len(tailMark)+tailDigits {
		return tailSum{}, fmt.Errorf("footer has no %s", keyTail)
	}
	at += len(tailMark)
	var value [tailDigits / 2]byte
	if _, err := hex.Decode(value[:], footer[at:at+tailDigits]); err != nil {
		return tailSum{}, fmt.Errorf("malformed %s: %w", keyTail, err)
	}
	return tailSum{
		index: int64(binary.BigEndian.Uint32(value[:4])), sum: binary.BigEndian.Uint32(value[4:]),
		at: at + tailDigits/2,
	}, nil
}

// parse reads the page index and the footer out of a tail that is long enough.
func (f *segmentFile) parse(tail []byte) error {
	end := len(tail) - footerEnd
	footer := tail[end-int(binary.LittleEndian.Uint32(tail[end:])) : end]
	sum, err := parseTailSum(footer)
	if err != nil {
		return err
	}
	index := tail[end-len(footer)-int(sum.index):][:sum.index]
	check := crc32.ChecksumIEEE(index)
	check = crc32.Update(check, crc32.IEEETable, footer[:sum.at])
	check = crc32.Update(check, crc32.IEEETable, []byte("00000000"))
	check = crc32.Update(check, crc32.IEEETable, footer[sum.at+8:])
	if check != sum.sum {
		return errors.New("footer checksum mismatch")
	}
	if _, err := skipThrift(footer, thriftDepth); err != nil {
		return err
	}
	var protocol thrift.CompactProtocol
	reader := protocol.NewReaderFromBytes(footer)
	var meta format.FileMetaData
	if err := thrift.NewDecoder(reader).Decode(&meta); err != nil {
		return fmt.Errorf("malformed footer: %w", err)
	}
	if err := f.parseMetadata(meta.KeyValueMetadata); err != nil {
		return err
	}
	if err := f.checkSchema(meta.Schema); err != nil {
		return err
	}
	pages := &pageIndex{data: index, at: f.size - footerEnd - int64(len(footer)) - sum.index, reader: reader}
	f.groups = make([]rowGroup, len(meta.RowGroups))
	for i := range meta.RowGroups {
		if err := f.groups[i].parse(&meta.RowGroups[i], f.schema, pages); err != nil {
			return fmt.Errorf("malformed row group %d: %w", i, err)
		}
		f.rows += int64(f.groups[i].rows)
	}
	if f.rows != meta.NumRows {
		return fmt.Errorf("footer says %d rows, row groups have %d", meta.NumRows, f.rows)
	}
	return nil
}

func (f *segmentFile) parseMetadata(metadata []format.KeyValue) error {
	values := make(map[string]string, len(metadata))
	for _, kv := range metadata {
		values[kv.Key] = kv.Value
	}
	if v := values[keyFormat]; v != formatVersion {
		return fmt.Errorf("format version %q is not %q", v, formatVersion)
	}
	f.late = strings.Clone(values[keyLate])
	switch f.kind = kind(values[keyKind]); f.kind {
	case kindRaw:
		f.kind, f.schema = kindRaw, rawColumns
	case kindState:
		f.kind, f.schema = kindState, stateColumns
	case kindSealed:
		f.kind = kindSealed
		return f.parseMethods(values[keyMethods])
	default:
		return fmt.Errorf("unknown kind %q", f.kind)
	}
	return nil
}

func (f *segmentFile) parseMethods(list string) error {
	if list == "" {
		return nil
	}
	var seen ingest.MethodSet
	for name := range strings.SplitSeq(list, ",") {
		m, ok := ingest.ParseMethod(name)
		if !ok || seen.Has(m) {
			return fmt.Errorf("malformed list of methods %q", list)
		}
		seen.Add(m)
		f.asked = append(f.asked, m)
	}
	return nil
}

// checkSchema compares the file's schema with that of its kind, and finds the
// columns of methods.
func (f *segmentFile) checkSchema(elements []format.SchemaElement) error {
	if len(elements) == 0 {
		return errors.New("no schema")
	}
	if f.kind == kindSealed {
		var stored []ingest.Method
		for _, m := range f.asked {
			column := -1
			if i := len(sealedKeys) + len(stored); i+1 < len(elements) && elements[i+1].Name == m.String() {
				column = i
				stored = append(stored, m)
			}
			f.columns = append(f.columns, column)
		}
		f.schema = sealedColumns(stored)
	}
	same := slices.EqualFunc(schemaOf(f.kind, f.schema)[1:], elements[1:], func(want, got format.SchemaElement) bool {
		return got.Name == want.Name && got.Type == want.Type && got.TypeLength == want.TypeLength &&
			got.RepetitionType == want.RepetitionType
	})
	if !same {
		return fmt.Errorf("columns are not those of a %s segment", f.kind)
	}
	return nil
}

// A pageIndex is the part of a file that has the column and offset indexes.
type pageIndex struct {
	data   []byte
	at     int64 // where it begins in the file
	reader thrift.BytesReader
}

func (x *pageIndex) decode(offset int64, length int32, v any) error {
	begin := offset - x.at
	if length <= 0 || begin < 0 || begin > int64(len(x.data)) || int64(length) > int64(len(x.data))-begin {
		return fmt.Errorf("index of %d bytes at %d lies outside of the page index", length, offset)
	}
	if _, err := skipThrift(x.data[begin:][:length], thriftDepth); err != nil {
		return err
	}
	x.reader.ResetBytes(x.data[begin:][:length])
	return thrift.NewDecoder(x.reader).Decode(v)
}

func (g *rowGroup) parse(meta *format.RowGroup, schema []column, pages *pageIndex) error {
	if len(meta.Columns) != len(schema) {
		return fmt.Errorf("%d columns, not %d", len(meta.Columns), len(schema))
	}
	if meta.NumRows <= 0 || meta.NumRows > maxGroupRows {
		return fmt.Errorf("%d rows", meta.NumRows)
	}
	g.rows = int(meta.NumRows)
	g.chunks = make([]fileChunk, len(schema))
	for i, c := range schema {
		if err := g.parseChunk(i, c, &meta.Columns[i], pages); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return nil
}

func (g *rowGroup) parseChunk(i int, c column, meta *format.ColumnChunk, pages *pageIndex) error {
	var index format.OffsetIndex
	if err := pages.decode(meta.OffsetIndexOffset, meta.OffsetIndexLength, &index); err != nil {
		return err
	}
	if i == 0 {
		if err := g.cutPages(index.PageLocations); err != nil {
			return err
		}
	}
	if err := g.chunks[i].parse(&meta.MetaData, g, index.PageLocations, pages.at); err != nil {
		return err
	}
	g.chunks[i].absent = c.kind == columnDouble && meta.MetaData.Statistics.NullCount == int64(g.rows)
	if !c.bounded() {
		return nil
	}
	var bounds format.ColumnIndex
	if err := pages.decode(meta.ColumnIndexOffset, meta.ColumnIndexLength, &bounds); err != nil {
		return err
	}
	return g.parseBounds(c, bounds)
}

// cutPages takes over where pages begin, in rows.
func (g *rowGroup) cutPages(locations []format.PageLocation) error {
	if len(locations) == 0 {
		return errors.New("no pages")
	}
	g.starts = make([]int32, len(locations)+1)
	for p, l := range locations {
		end := int64(g.rows)
		if p+1 < len(locations) {
			end = locations[p+1].FirstRowIndex
		}
		if p == 0 && l.FirstRowIndex != 0 || end <= l.FirstRowIndex || end-l.FirstRowIndex > maxPageRows || end > int64(g.rows) {
			return fmt.Errorf("page %d has rows %d to %d", p, l.FirstRowIndex, end)
		}
		g.starts[p+1] = int32(end)
	}
	return nil
}

// parse takes over where pages are, in bytes; end is where the last may end.
func (k *fileChunk) parse(meta *format.ColumnMetaData, g *rowGroup, locations []format.PageLocation, end int64) error {
	if len(locations) != len(g.starts)-1 {
		return fmt.Errorf("%d pages, not %d", len(locations), len(g.starts)-1)
	}
	k.codec = meta.Codec
	if k.codec != format.Zstd && k.codec != format.Uncompressed {
		return fmt.Errorf("unexpected compression %v", k.codec)
	}
	encodings := slices.DeleteFunc(slices.Clone(meta.Encoding), func(e format.Encoding) bool { return e == format.RLE })
	k.offset = locations[0].Offset
	if meta.DictionaryPageOffset > 0 {
		k.offset = meta.DictionaryPageOffset
		encodings = slices.DeleteFunc(encodings, func(e format.Encoding) bool { return e == format.Plain })
	}
	if len(encodings) != 1 {
		return fmt.Errorf("unexpected encodings %v", meta.Encoding)
	}
	k.encoding = encodings[0]
	if (k.encoding == format.RLEDictionary) != (meta.DictionaryPageOffset > 0) {
		return fmt.Errorf("encoding %v with a dictionary at %d", k.encoding, meta.DictionaryPageOffset)
	}
	at := locations[0].Offset
	if k.offset < int64(len(parquetMagic)) || at < k.offset || at-k.offset > maxChunk {
		return fmt.Errorf("pages at %d and %d", k.offset, at)
	}
	k.dict = int32(at - k.offset)
	k.starts = make([]int32, 0, len(locations)+1)
	for p, l := range locations {
		if l.FirstRowIndex != int64(g.starts[p]) || l.Offset != at || l.CompressedPageSize <= 0 {
			return fmt.Errorf("page %d of rows from %d at %d, not of rows from %d at %d", p, l.FirstRowIndex, l.Offset, g.starts[p], at)
		}
		k.starts = append(k.starts, int32(at-k.offset))
		if at += int64(l.CompressedPageSize); at > end || at-k.offset > maxChunk {
			return fmt.Errorf("page %d ends at %d", p, at)
		}
	}
	k.starts = append(k.starts, int32(at-k.offset))
	return nil
}

func (g *rowGroup) parseBounds(c column, index format.ColumnIndex) error {
	pages := len(g.starts) - 1
	if len(index.MinValues) != pages || len(index.MaxValues) != pages {
		return fmt.Errorf("bounds of %d and %d pages, not %d", len(index.MinValues), len(index.MaxValues), pages)
	}
	for p := range pages {
		if len(index.MinValues[p]) != c.size() || len(index.MaxValues[p]) != c.size() {
			return fmt.Errorf("bounds of %d and %d bytes", len(index.MinValues[p]), len(index.MaxValues[p]))
		}
	}
	if c.kind == columnMetric {
		g.metrics = make([][2]ingest.MetricID, pages)
		for p := range pages {
			g.metrics[p] = [2]ingest.MetricID{ingest.MetricID(index.MinValues[p]), ingest.MetricID(index.MaxValues[p])}
		}
		return nil
	}
	bounds := make([][2]int64, pages)
	for p := range pages {
		bounds[p] = [2]int64{
			int64(binary.LittleEndian.Uint64(index.MinValues[p])), int64(binary.LittleEndian.Uint64(index.MaxValues[p])),
		}
	}
	if c.kind == columnSpan {
		g.spans = bounds
	} else {
		g.times = bounds
	}
	return nil
}

// memory is about how many bytes the open segment takes.
func (f *segmentFile) memory() int64 {
	n := 256 + len(f.name) + len(f.whole) + len(f.late) + 48*len(f.schema)
	for i := range f.groups {
		g := &f.groups[i]
		n += 160 + 64*len(g.chunks) + 4*cap(g.starts) + 32*cap(g.metrics) + 16*(cap(g.times)+cap(g.spans))
		for j := range g.chunks {
			n += 4 * cap(g.chunks[j].starts)
		}
	}
	return int64(n)
}

// methods are those that a sealed segment was written with, in the order of a
// sealedRun's Values.
func (f *segmentFile) methods() []ingest.Method { return f.asked }

// lates returns the late totals of a raw segment, in the order in which they were
// added.
func (f *segmentFile) lates() ([]lateTotal, error) {
	b, err := base64.StdEncoding.DecodeString(f.late)
	if err != nil {
		return nil, f.failed(fmt.Errorf("malformed %s: %w", keyLate, err))
	}
	var totals []lateTotal
	for len(b) > 0 {
		var t lateTotal
		n := copy(t.Metric[:], b)
		late, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, f.failed(fmt.Errorf("malformed %s: cut short", keyLate))
		}
		t.Late = late
		totals = append(totals, t)
		b = b[n+m:]
	}
	return totals, nil
}
