package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// A groupReader reads pages of one row group after the other. It belongs to one
// goroutine and keeps its memory.
type groupReader struct {
	file    *Reader
	group   *rowGroup
	fetched fetched
	columns []columnReader // one per column of the schema
}

// A columnReader holds one decoded page of a column, and the dictionary of its
// chunk.
type columnReader struct {
	dict     []byte // the dictionary, or the payload of a plain page, as a list of values
	entries  int
	hasDict  bool
	plain    bool // columnMetric: dict has a value for each row, runs are not filled in
	policies []string
	runs     []pageRun // columnMetric, columnPolicy, columnSpan
	ints     []int64   // columnTime (ns), columnRest, columnInt, columnCount
	doubles  []float64 // columnMeasure, columnDouble: one per row, 0 for nulls
	present  []bool    // columnDouble: one per row; nil if all rows of the page are null
	buf      []byte
	dictBuf  []byte
	dense    []float64
	flags    []bool
}

// A pageRun is consecutive rows of a page with the same value: from the end of the
// run before it to end.
type pageRun struct {
	entry uint32 // in the dictionary
	end   int32
}

// open starts with a row group of a file.
func (r *groupReader) open(f *Reader, group int) {
	r.file, r.group = f, &f.groups[group]
	r.fetched.reset()
	for len(r.columns) < len(f.schema) {
		r.columns = append(r.columns, columnReader{})
	}
	for i := range r.columns {
		r.columns[i].hasDict = false
	}
}

// A fetched holds ranges of a file.
type fetched struct {
	ranges []Range
	data   [][]byte
}

func (f *fetched) reset() { f.ranges, f.data = f.ranges[:0], nil }

// Bytes between two ranges that are read along rather than left out.
const joinGap = 4 << 10

// want adds a range; they come in the order of their offsets.
func (f *fetched) want(off, n int64) {
	if last := len(f.ranges) - 1; last >= 0 {
		r := &f.ranges[last]
		if gap := off - r.Off - r.Len; off >= r.Off && gap <= joinGap {
			r.Len = max(r.Len, off+n-r.Off)
			return
		}
	}
	f.ranges = append(f.ranges, Range{off, n})
}

func (f *fetched) bytes(off, n int64) ([]byte, error) {
	i, found := slices.BinarySearchFunc(f.ranges, off, func(r Range, off int64) int {
		switch {
		case r.Off > off:
			return 1
		case r.Off+r.Len <= off:
			return -1
		}
		return 0
	})
	if !found || off-f.ranges[i].Off+n > int64(len(f.data[i])) {
		return nil, errors.New("BUG: page has not been fetched")
	}
	return f.data[i][off-f.ranges[i].Off:][:n], nil
}

// fetch reads pages (ascending) of columns (ascending) of the row group.
func (r *groupReader) fetch(ctx context.Context, columns, pages []int) error {
	return r.fetched.read(ctx, r.file, r.group, columns, pages)
}

// read reads pages (ascending) of columns (ascending) of a row group from the source,
// in one request, with the dictionaries that they need.
func (f *fetched) read(ctx context.Context, file *Reader, group *rowGroup, columns, pages []int) error {
	f.reset()
	if file.whole != nil {
		return ctx.Err()
	}
	for _, c := range columns {
		k := &group.chunks[c]
		if k.absent {
			continue
		}
		if k.dict > 0 {
			f.want(k.offset, int64(k.dict))
		}
		for _, p := range pages {
			f.want(k.offset+int64(k.starts[p]), int64(k.starts[p+1]-k.starts[p]))
		}
	}
	data, _, err := file.source.ReadRanges(ctx, file.name, f.ranges)
	if err != nil {
		return err
	}
	if len(data) != len(f.ranges) {
		return errShortRead
	}
	for i, want := range f.ranges {
		if int64(len(data[i])) != want.Len {
			return errShortRead
		}
	}
	f.data = data
	return nil
}

func (r *groupReader) bytes(off, n int64) ([]byte, error) {
	if whole := r.file.whole; whole != nil {
		return whole[off:][:n], nil
	}
	return r.fetched.bytes(off, n)
}

// readPage decodes a page of columns, which has been fetched. Among them are the
// keys, and columnRest where there is one.
func (r *groupReader) readPage(columns []int, page int) error {
	for _, c := range columns {
		if err := r.read(c, page); err != nil {
			return err
		}
	}
	times := r.columns[timeAt].ints
	for i := range times {
		times[i] *= 1000
	}
	if r.file.rest >= 0 {
		for i, rest := range r.columns[r.file.rest].ints {
			times[i] += rest
		}
	}
	return nil
}

// read decodes a page of a column.
func (r *groupReader) read(c, page int) error {
	col, k := &r.columns[c], &r.group.chunks[c]
	rows := int(r.group.starts[page+1] - r.group.starts[page])
	if k.absent {
		col.doubles, col.present = nil, nil
		return nil
	}
	err := guarded(func() error {
		if k.dict > 0 && !col.hasDict {
			if err := r.readDictionary(c); err != nil {
				return err
			}
		}
		begin, end := int64(k.starts[page]), int64(k.starts[page+1])
		data, err := r.bytes(k.offset+begin, end-begin)
		if err != nil {
			return err
		}
		want := pageHeader{kind: format.DataPage, values: rows, encoding: k.encoding}
		var payload []byte
		payload, col.buf, err = openPage(data, want, k.codec, 24*rows+1024, col.buf)
		if err != nil {
			return err
		}
		return col.decode(r.file.schema[c].kind, k.encoding, payload, rows)
	})
	if err != nil {
		return fmt.Errorf("column %s, rows from %d: %w", r.file.schema[c].name, r.group.starts[page], err)
	}
	return nil
}

func (r *groupReader) readDictionary(c int) error {
	col, k := &r.columns[c], &r.group.chunks[c]
	data, err := r.bytes(k.offset, int64(k.dict))
	if err != nil {
		return err
	}
	h, _, err := parsePageHeader(data)
	if err != nil {
		return err
	}
	if h.values == 0 || h.values > r.group.rows {
		return fmt.Errorf("dictionary of %d values for %d rows", h.values, r.group.rows)
	}
	want := pageHeader{kind: format.DictionaryPage, values: h.values, encoding: format.Plain}
	col.dict, col.dictBuf, err = openPage(data, want, k.codec, maxChunk, col.dictBuf)
	if err != nil {
		return err
	}
	col.entries, col.hasDict = h.values, true
	switch kind := r.file.schema[c].kind; kind {
	case columnPolicy:
		return col.readPolicies()
	case columnMetric, columnSpan:
		if size := r.file.schema[c].size(); len(col.dict) != size*col.entries {
			return fmt.Errorf("dictionary of %d values has %d bytes", col.entries, len(col.dict))
		}
		return nil
	default:
		return errors.New("unexpected dictionary")
	}
}
