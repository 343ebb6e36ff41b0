package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// Segments are Parquet files that every reader of Parquet understands; FORMAT.md
// says what is in them. The library (parquet-go) gives the thrift structures of
// the footer and the encodings. Pages are cut and put together here: a page of every
// column covers the same rows, so that one request fetches what a lookup needs,
// where the library's reader fetches column by column. Its generic writer would do
// for flushes (0 to 20 % more time), but takes twice as long as this one for merges,
// and it can't leave a column out that turns out to be empty.

// The sizes that a reader doesn't depend on: it takes them from the footer.
const (
	groupRows = 64 << 10 // rows of a row group
)

// A reader refuses row groups and segments beyond these.
const (
	maxPageRows  = 1 << 20
	maxGroupRows = 1 << 24
	maxChunk     = 1 << 30 // bytes of a column of a row group
)

// Keys of the file's key-value metadata.
const (
	keyFormat  = "millrace.format"
	keyKind    = "millrace.kind"
	keyLate    = "millrace.late"    // raw: base64 of the late totals
	keyMethods = "millrace.methods" // sealed: the methods asked for, in the order of their columns
	keyTail    = "millrace.tail"    // how long the page index is and a checksum over it and the footer

	formatVersion = "2"
	parquetMagic  = "PAR1"
	createdBy     = "millrace version 1" // in the form that readers parse
)

// A columnKind says how the values of a column are kept in memory and in the file.
type columnKind uint8

const (
	columnMetric  columnKind = iota // the 16 bytes of an id; a dictionary, or plain when metrics have few rows each
	columnPolicy                    // string, dictionary
	columnSpan                      // int64 of few distinct values, dictionary
	columnTime                      // int64, timestamp in microseconds, delta
	columnRest                      // int32, what a timestamp has beyond microseconds, delta
	columnInt                       // int64, delta
	columnCount                     // uint64, delta
	columnDouble                    // nullable float64, plain
	columnMeasure                   // float64 that is never null, plain
)

// A column is a column of a segment's schema.
type column struct {
	name   string
	kind   columnKind
	sorted bool // rows are ordered by it
}

var (
	metricColumn      = column{"metric", columnMetric, true}
	policyColumn      = column{"archive_policy", columnPolicy, false}
	granularityColumn = column{"granularity", columnSpan, true}
	timestampColumn   = column{"timestamp", columnTime, true}
	restColumn        = column{"nanoseconds", columnRest, false} // the last, where there is one

	rawColumns = []column{metricColumn, policyColumn, timestampColumn, {"value", columnMeasure, false}}

	stateColumns = []column{metricColumn, policyColumn,
		{"newest", columnTime, false}, {"late", columnCount, false}, {"sealed", columnInt, false}}

	sealedKeys = []column{metricColumn, granularityColumn, timestampColumn}
)

// timeAt is where the column of columnTime is, in segments of every kind.
const timeAt = 2

// sealedColumns returns the schema of a sealed segment with these method columns.
func sealedColumns(methods []ingest.Method) []column {
	columns := slices.Clone(sealedKeys)
	for _, m := range methods {
		columns = append(columns, column{m.String(), columnDouble, false})
	}
	return columns
}

// withRest returns columns and the one for the rest of timestamps.
func withRest(columns []column) []column { return append(slices.Clone(columns), restColumn) }

// optional says whether the column is left out of files in which it says nothing:
// where all of it is null, or zero.
func (c column) optional() bool { return c.kind == columnDouble || c.kind == columnRest }

// Other software has no timestamps in nanoseconds, or cuts them. So a timestamp is
// kept in microseconds, rounded down, and beside it, in a column of its own that
// most segments do without, the nanoseconds that are left.

// splitTime returns microseconds, and the nanoseconds left, 0 to 999.
func splitTime(ns int64) (micros, rest int64) {
	micros = ns / 1000
	if rest = ns % 1000; rest < 0 {
		micros, rest = micros-1, rest+1000
	}
	return micros, rest
}

// earliest is the first nanosecond of a microsecond, and latest the last, if it has
// a rest; both are held within the range of int64.
func earliest(micros int64) int64 {
	if least, _ := splitTime(math.MinInt64); micros <= least {
		return math.MinInt64
	}
	return micros * 1000
}

func latest(micros int64, hasRest bool) int64 {
	most, _ := splitTime(math.MaxInt64)
	switch {
	case !hasRest:
		return earliest(micros)
	case micros >= most:
		return math.MaxInt64
	}
	return micros*1000 + 999
}

// bounded says whether pages and row groups tell the least and the greatest value
// of the column. Doubles don't: a NaN among them would mislead readers.
func (c column) bounded() bool {
	switch c.kind {
	case columnMetric, columnSpan, columnTime:
		return true
	}
	return false
}

// size is the length of a value in plain encoding, of a bounded column.
func (c column) size() int {
	if c.kind == columnMetric {
		return len(ingest.MetricID{})
	}
	return 8
}

// less compares two values in plain encoding, of a bounded column.
func (c column) less(a, b []byte) bool {
	if c.kind == columnMetric {
		return bytes.Compare(a, b) < 0
	}
	return int64(binary.LittleEndian.Uint64(a)) < int64(binary.LittleEndian.Uint64(b))
}

// physical is the column's type in the file.
func (c column) physical() format.Type {
	switch c.kind {
	case columnMetric:
		return format.FixedLenByteArray
	case columnPolicy:
		return format.ByteArray
	case columnDouble, columnMeasure:
		return format.Double
	case columnRest:
		return format.Int32
	}
	return format.Int64
}

// element is the column's entry in the file's schema.
func (c column) element() format.SchemaElement {
	e := format.SchemaElement{
		Name:           c.name,
		Type:           thrift.New(c.physical()),
		RepetitionType: thrift.New(format.Required),
	}
	switch c.kind {
	case columnMetric:
		// Without the logical type UUID: Spark refuses it, and reads plain bytes.
		e.TypeLength = thrift.New(int32(len(ingest.MetricID{})))
	case columnPolicy:
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType.Value = &format.StringType{}
	case columnTime:
		e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		e.LogicalType.Value = &format.TimestampType{
			IsAdjustedToUTC: true,
			Unit:            format.TimeUnit{Value: &format.MicroSeconds{}},
		}
	case columnCount:
		e.ConvertedType = thrift.New(deprecated.Uint64)
		e.LogicalType.Value = &format.IntType{BitWidth: 64, IsSigned: false}
	case columnDouble:
		e.RepetitionType = thrift.New(format.Optional)
	}
	return e
}

// schemaOf returns the file's schema: a root, and the columns below it.
func schemaOf(k Kind, columns []column) []format.SchemaElement {
	elements := make([]format.SchemaElement, 0, 1+len(columns))
	elements = append(elements, format.SchemaElement{
		Name: string(k), NumChildren: thrift.New(int32(len(columns))),
	})
	for _, c := range columns {
		elements = append(elements, c.element())
	}
	return elements
}

// guarded calls f and turns a panic into an error: the library's decoders may
// panic on bytes that no encoder wrote.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("malformed data: %v", r)
		}
	}()
	return f()
}

// pageRows is how many rows a page has. A read decodes whole pages: of sealed rows,
// which are wider and read in longer runs, shorter ones are worth their bytes (1,440
// rows of a mean in 0.75 ms instead of 1.05, for 4 % more of them).
func (k Kind) pageRows() int {
	if k == Sealed {
		return 2 << 10
	}
	return 4 << 10
}
