package segment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/ingest"
)

// Verify reads all of the segment and compares it with its description: checksums,
// what pages are said to hold, order and uniqueness of rows, numbers and bounds.
func (f *Reader) Verify(ctx context.Context, want Info) error {
	if err := f.check(ctx, want); err != nil {
		return fmt.Errorf("cannot verify segment %s: %w", f.name, err)
	}
	return nil
}

func (f *Reader) check(ctx context.Context, want Info) error {
	if want.Kind != f.kind || want.Rows != f.rows || want.Bytes != f.size {
		return fmt.Errorf("%s with %d rows in %d bytes, not %s with %d rows in %d bytes",
			f.kind, f.rows, f.size, want.Kind, want.Rows, want.Bytes)
	}
	magic, _, err := f.source.ReadRanges(ctx, f.name, []Range{{0, int64(len(parquetMagic))}})
	if err != nil {
		return err
	}
	if len(magic) != 1 || string(magic[0]) != parquetMagic {
		return errNotParquet
	}
	if _, err := f.Lates(); err != nil {
		return err
	}
	got, err := f.checkRows(ctx)
	if err != nil {
		return err
	}
	if got.Bytes = want.Bytes; got != want {
		return fmt.Errorf("rows are %+v, not %+v", got, want)
	}
	return nil
}

// A rowKey is what the rows of a segment are ordered by.
type rowKey struct {
	metric ingest.MetricID
	span   int64
	time   int64
}

func (k rowKey) after(b rowKey) bool {
	if c := CompareMetrics(k.metric, b.metric); c != 0 {
		return c > 0
	}
	if k.span != b.span {
		return k.span > b.span
	}
	return k.time > b.time
}

// checkRows reads all rows and describes them.
func (f *Reader) checkRows(ctx context.Context) (Info, error) {
	scan := newGroupScan(ctx, f, ingest.MinTime, ingest.MaxTime)
	var seen description
	var last rowKey
	var metric, span runCursor
	for scan.nextPage() {
		columns := scan.reader.columns
		var bounds pageCheck
		for row := range scan.size {
			metric.at(columns[0].runs, row)
			key := rowKey{metric: columns[0].metric(metric.run)}
			at := columns[2].ints[row]
			if f.kind != State {
				key.time = at
			}
			if f.kind == Sealed {
				span.at(columns[1].runs, row)
				key.span = columns[1].span(span.run)
			}
			if seen.Rows > 0 && !key.after(last) {
				return Info{}, fmt.Errorf("row %d is not after the row before it", seen.Rows)
			}
			last = key
			bounds.see(row, key, at)
			seen.see(key.metric, 1, at, at)
			seen.Coarsest = max(seen.Coarsest, time.Duration(key.span))
		}
		if err := bounds.compare(scan.reader.group, scan.pages[scan.page]); err != nil {
			return Info{}, err
		}
	}
	got := seen.take(f.kind, nil)
	return got, errors.Unwrap(scan.Err())
}

// A pageCheck is what the page index should say of a page.
type pageCheck struct {
	metrics     [2]ingest.MetricID
	times, span [2]int64
}

func (p *pageCheck) see(row int, key rowKey, at int64) {
	if row == 0 {
		p.metrics[0] = key.metric
		p.times, p.span = [2]int64{at, at}, [2]int64{key.span, key.span}
	}
	p.metrics[1] = key.metric
	p.times = [2]int64{min(p.times[0], at), max(p.times[1], at)}
	p.span = [2]int64{min(p.span[0], key.span), max(p.span[1], key.span)}
}

func (p *pageCheck) compare(g *rowGroup, page int) error {
	sameTimes := sameMicrosecond(g.times[page][0], p.times[0]) && sameMicrosecond(g.times[page][1], p.times[1])
	if g.metrics[page] != p.metrics || !sameTimes || g.spans != nil && g.spans[page] != p.span {
		return fmt.Errorf("bounds of the rows from %d are not those in the page index", g.starts[page])
	}
	return nil
}

// sameMicrosecond says whether two times are as close as the page index tells them.
func sameMicrosecond(a, b int64) bool {
	a, _ = splitTime(a)
	b, _ = splitTime(b)
	return a == b
}

// Describe reads all of the segment, as Verify does, and returns what describes it.
func (f *Reader) Describe(ctx context.Context) (Info, error) {
	info, err := f.checkRows(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("cannot describe segment %s: %w", f.name, err)
	}
	info.Bytes = f.size
	return info, f.Verify(ctx, info)
}

// Kind is what the segment's rows are.
func (f *Reader) Kind() Kind { return f.kind }
