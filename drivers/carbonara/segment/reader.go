package segment

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// A Reader is an open segment: where its pages are and what they may hold. It
// is immutable and may be used concurrently.
type Reader struct {
	source  Source
	name    string
	size    int64
	kind    Kind
	schema  []column
	asked   []ingest.Method // sealed: the value of keyMethods
	columns []int           // sealed: the column of each asked method, -1 for one without values
	rest    int             // the column of columnRest; -1: there is none, timestamps are whole microseconds
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
	times   [][2]int64           // of each page, when its rows are at the earliest and at the latest, ns, to the µs
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

// Open reads what is needed to find rows in a segment of size bytes: one
// read at the end of the object, or two if there is much to find.
func Open(ctx context.Context, source Source, name string, size int64) (*Reader, error) {
	f := &Reader{source: source, name: name, size: size}
	if err := f.open(ctx); err != nil {
		return nil, f.failed(err)
	}
	return f, nil
}

// failed names the segment in an error.
func (f *Reader) failed(err error) error {
	return fmt.Errorf("cannot read segment %s: %w", f.name, err)
}

func (f *Reader) open(ctx context.Context) error {
	if f.size < footerEnd {
		return errNotParquet
	}
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

func (f *Reader) readTail(ctx context.Context, n int64) ([]byte, error) {
	data, size, err := f.source.ReadRanges(ctx, f.name, []Range{{f.size - n, n}})
	if err != nil {
		return nil, err
	}
	if size != f.size {
		return nil, fmt.Errorf("object has %d bytes, not %d", size, f.size)
	}
	if len(data) != 1 || int64(len(data[0])) != n {
		return nil, errShortRead
	}
	return data[0], nil
}

var (
	errNotParquet = errors.New("not a Parquet file")
	errShortRead  = errors.New("store returned less than was asked for")
)

// tailLength says how much of the end of a file is page index and footer; tail is
// some of it. As long as the footer isn't whole it answers with a guess.
func tailLength(tail []byte, size int64) (int64, error) {
	end := len(tail) - footerEnd
	if end < 0 || string(tail[end+4:]) != parquetMagic {
		return 0, errNotParquet
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

// Memory is about how many bytes the open segment takes.
func (f *Reader) Memory() int64 {
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

// Methods are those that a sealed segment was written with, in the order of a
// SealedRun's Values.
func (f *Reader) Methods() []ingest.Method { return f.asked }

// Lates returns the late totals of a raw segment, in the order in which they were
// added.
func (f *Reader) Lates() ([]LateTotal, error) {
	b, err := base64.StdEncoding.DecodeString(f.late)
	if err != nil {
		return nil, f.failed(fmt.Errorf("malformed %s: %w", keyLate, err))
	}
	var totals []LateTotal
	for len(b) > 0 {
		var t LateTotal
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
