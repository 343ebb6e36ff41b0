package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// parse reads the page index and the footer out of a tail that is long enough. What
// has the right checksum was written by a program that knows the format: the library's
// decoder may believe it.
func (f *Reader) parse(tail []byte) error {
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
	var protocol thrift.CompactProtocol
	reader := protocol.NewReaderFromBytes(footer)
	var meta format.FileMetaData
	decoder := thrift.NewDecoder(reader)
	if err := decoder.Decode(&meta); err != nil {
		return fmt.Errorf("malformed footer: %w", err)
	}
	if err := f.parseMetadata(meta.KeyValueMetadata); err != nil {
		return err
	}
	if err := f.checkSchema(meta.Schema); err != nil {
		return err
	}
	at := f.size - footerEnd - int64(len(footer)) - sum.index
	pages := &pageIndex{data: index, at: at, reader: reader, decoder: decoder}
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

func (f *Reader) parseMetadata(metadata []format.KeyValue) error {
	values := make(map[string]string, len(metadata))
	for _, kv := range metadata {
		values[kv.Key] = kv.Value
	}
	if v := values[keyFormat]; v != formatVersion {
		return fmt.Errorf("it is of format %q, this program knows %q", v, formatVersion)
	}
	f.late = strings.Clone(values[keyLate])
	switch f.kind = Kind(values[keyKind]); f.kind {
	case Raw:
		f.kind, f.schema = Raw, rawColumns
	case State:
		f.kind, f.schema = State, stateColumns
	case Sealed:
		f.kind = Sealed
		return f.parseMethods(values[keyMethods])
	default:
		return fmt.Errorf("unknown kind %q", f.kind)
	}
	return nil
}

func (f *Reader) parseMethods(list string) error {
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
func (f *Reader) checkSchema(elements []format.SchemaElement) error {
	if len(elements) == 0 {
		return errors.New("no schema")
	}
	if f.kind == Sealed {
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
	if f.rest = -1; elements[len(elements)-1].Name == restColumn.name {
		f.rest = len(f.schema)
		f.schema = withRest(f.schema)
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
	data    []byte
	at      int64 // where it begins in the file
	reader  thrift.BytesReader
	decoder *thrift.Decoder
	offsets format.OffsetIndex // the last decoded
	bounds  format.ColumnIndex
}

func (x *pageIndex) decode(offset int64, length int32, v any) error {
	begin := offset - x.at
	if length <= 0 || begin < 0 || begin > int64(len(x.data)) || int64(length) > int64(len(x.data))-begin {
		return fmt.Errorf("index of %d bytes at %d lies outside of the page index", length, offset)
	}
	x.reader.ResetBytes(x.data[begin:][:length])
	return x.decoder.Decode(v)
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
	hasRest := schema[len(schema)-1].kind == columnRest
	for p, micros := range g.times {
		g.times[p] = [2]int64{earliest(micros[0]), latest(micros[1], hasRest)}
	}
	return nil
}

func (g *rowGroup) parseChunk(i int, c column, meta *format.ColumnChunk, pages *pageIndex) error {
	index := &pages.offsets
	index.Reset()
	if err := pages.decode(meta.OffsetIndexOffset, meta.OffsetIndexLength, index); err != nil {
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
	pages.bounds.Reset()
	if err := pages.decode(meta.ColumnIndexOffset, meta.ColumnIndexLength, &pages.bounds); err != nil {
		return err
	}
	return g.parseBounds(c, &pages.bounds)
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
		rows := end - l.FirstRowIndex
		if p == 0 && l.FirstRowIndex != 0 || rows <= 0 || rows > maxPageRows || end > int64(g.rows) {
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
			return fmt.Errorf("page %d of rows from %d at %d, not of rows from %d at %d",
				p, l.FirstRowIndex, l.Offset, g.starts[p], at)
		}
		k.starts = append(k.starts, int32(at-k.offset))
		if at += int64(l.CompressedPageSize); at > end || at-k.offset > maxChunk {
			return fmt.Errorf("page %d ends at %d", p, at)
		}
	}
	k.starts = append(k.starts, int32(at-k.offset))
	return nil
}

func (g *rowGroup) parseBounds(c column, index *format.ColumnIndex) error {
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
