package segment

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"millrace/ingest"
)

// A hit is a page that may hold rows of what was asked for.
type hit struct {
	ask  int // index of the metric or want
	page int
}

// A finder looks rows up in one row group after the other.
type finder struct {
	reader   groupReader
	hits     []hit // ascending by ask, then by page
	later    []hit // hits that may not be needed
	pages    []int // of hits, ascending and unique
	columns  []int
	left     []int // of each want of a sealed segment, how many rows it may still get; -1 for any number
	measures []ingest.Measure
	mean     derivedMean
}

// finders keeps the memory of lookups, each used by one goroutine at a time.
var finders = sync.Pool{New: func() any { return new(finder) }}

func putFinder(d *finder) {
	d.reader.file, d.reader.group = nil, nil
	d.left = d.left[:0]
	d.reader.fetched.reset()
	for i := range d.reader.columns {
		d.reader.columns[i].dict = nil // may be a part of a file kept whole
	}
	finders.Put(d)
}

// locate collects the pages of a row group that may hold the metrics from
// metric(0) to metric(n-1), ascending, and that want.
func (d *finder) locate(g *rowGroup, n int, metric func(int) ingest.MetricID, want func(ask, page int) bool) {
	d.hits, d.pages = d.hits[:0], d.pages[:0]
	pages := len(g.metrics)
	first, last := g.metrics[0][0], g.metrics[pages-1][1]
	ask := sort.Search(n, func(i int) bool { return CompareMetrics(metric(i), first) >= 0 })
	page := 0
	for ; ask < n; ask++ {
		id := metric(ask)
		if CompareMetrics(id, last) > 0 {
			return
		}
		page += sort.Search(pages-page, func(i int) bool { return CompareMetrics(g.metrics[page+i][1], id) >= 0 })
		for p := page; p < pages && CompareMetrics(g.metrics[p][0], id) <= 0; p++ {
			if !want(ask, p) {
				continue
			}
			d.hits = append(d.hits, hit{ask, p})
			if len(d.pages) == 0 || d.pages[len(d.pages)-1] < p {
				d.pages = append(d.pages, p)
			}
		}
	}
}

// eachHit fetches the pages, decodes each once, and calls do with the rows of the
// hit's metric in its page.
func (d *finder) eachHit(ctx context.Context, metric func(int) ingest.MetricID,
	do func(h hit, begin, end int) error) error {
	if len(d.hits) == 0 {
		return nil
	}
	if err := d.reader.fetch(ctx, d.columns, d.pages); err != nil {
		return d.reader.file.failed(err)
	}
	page := -1
	for _, h := range d.hits {
		if d.isFull(h.ask) {
			continue
		}
		if h.page != page {
			page = h.page
			if err := d.reader.readPage(d.columns, page); err != nil {
				return d.reader.file.failed(err)
			}
		}
		begin, end := d.reader.columns[0].rowsOf(metric(h.ask))
		if begin == end {
			continue
		}
		if err := do(h, begin, end); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf finds the rows of a metric in the page, from begin to end; they are equal
// if it has none.
func (c *columnReader) rowsOf(id ingest.MetricID) (begin, end int) {
	if c.plain {
		begin = sort.Search(c.entries, func(i int) bool { return CompareMetrics(c.entry(i), id) >= 0 })
		rows := sort.Search(c.entries-begin, func(i int) bool { return CompareMetrics(c.entry(begin+i), id) > 0 })
		return begin, begin + rows
	}
	run := sort.Search(len(c.runs), func(i int) bool { return CompareMetrics(c.metric(i), id) >= 0 })
	if run == len(c.runs) || c.metric(run) != id {
		return 0, 0
	}
	if run > 0 {
		begin = int(c.runs[run-1].end)
	}
	return begin, int(c.runs[run].end)
}

// runAt returns the run that holds a row of the page.
func (c *columnReader) runAt(row int) int {
	return sort.Search(len(c.runs), func(i int) bool { return int(c.runs[i].end) > row })
}

// narrow cuts rows, ascending in time, to those with from ≤ time < to; MaxTime is
// no end.
func narrow(times []int64, begin, end int, from, to int64) (int, int) {
	rows := times[begin:end]
	if to != ingest.MaxTime {
		end = begin + sort.Search(len(rows), func(i int) bool { return rows[i] >= to })
	}
	begin += sort.Search(len(rows), func(i int) bool { return rows[i] >= from })
	return begin, max(begin, end)
}

// all returns the indexes of the first n columns.
func (d *finder) all(n int) []int {
	d.columns = d.columns[:0]
	for i := range n {
		d.columns = append(d.columns, i)
	}
	return d.columns
}

// FindRaw visits the measures of metrics with from ≤ time < to.
func (f *Reader) FindRaw(ctx context.Context, metrics []ingest.MetricID, from, to int64,
	visit func(i int, measures []ingest.Measure, policy string) error) error {
	f.must(Raw)
	d := finders.Get().(*finder)
	defer putFinder(d)
	metric := func(i int) ingest.MetricID { return metrics[i] }
	for i := range f.groups {
		g := &f.groups[i]
		d.locate(g, len(metrics), metric, func(_, page int) bool {
			return g.overlaps(page, from, to)
		})
		d.reader.open(f, i)
		d.columns = d.all(len(f.schema))
		policies, times, values := &d.reader.columns[1], &d.reader.columns[2], &d.reader.columns[3]
		err := d.eachHit(ctx, metric, func(h hit, begin, end int) error {
			begin, end = narrow(times.ints, begin, end, from, to)
			for begin < end { // as long as the policy is the same
				run := policies.runAt(begin)
				cut := min(end, int(policies.runs[run].end))
				d.measures = d.measures[:0]
				for row := begin; row < cut; row++ {
					d.measures = append(d.measures, ingest.Measure{Time: times.ints[row], Value: values.doubles[row]})
				}
				if err := visit(h.ask, d.measures, policies.policy(run)); err != nil {
					return err
				}
				begin = cut
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FindState visits the rows of metrics.
func (f *Reader) FindState(ctx context.Context, metrics []ingest.MetricID,
	visit func(i int, row StateRow) error) error {
	f.must(State)
	d := finders.Get().(*finder)
	defer putFinder(d)
	metric := func(i int) ingest.MetricID { return metrics[i] }
	for i := range f.groups {
		d.locate(&f.groups[i], len(metrics), metric, func(int, int) bool { return true })
		d.reader.open(f, i)
		d.columns = d.all(len(f.schema))
		err := d.eachHit(ctx, metric, func(h hit, begin, end int) error {
			for row := begin; row < end; row++ {
				if err := visit(h.ask, d.reader.stateRow(metrics[h.ask], d.reader.columns[1].runAt(row), row)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FindSealed visits the rows of series. A mean is derived as in a SealedScan. Where
// wants have limits, so many pages are read first as should do, of all wants together;
// where they don't do, the rows of a want may come after those of a later one.
func (f *Reader) FindSealed(ctx context.Context, wants []Want, visit func(i int, rows []ingest.Measure) error) error {
	f.must(Sealed)
	d := finders.Get().(*finder)
	defer putFinder(d)
	limited := d.setLimits(wants)
	for i := range f.groups {
		g := &f.groups[i]
		metric := func(i int) ingest.MetricID { return wants[i].Metric }
		d.locate(g, len(wants), metric, func(ask, page int) bool {
			w := &wants[ask]
			return d.left[ask] != 0 && f.has(w.Method) && g.overlaps(page, w.From, w.To) &&
				g.spans[page][0] <= int64(w.Granularity) && g.spans[page][1] >= int64(w.Granularity)
		})
		d.reader.open(f, i)
		for d.later = d.later[:0]; len(d.hits) > 0; d.hits, d.later = d.later, d.hits[:0] {
			if limited {
				d.putOff(g)
			}
			d.columns = f.columnsFor(d.all(len(sealedKeys)), wants, d.hits)
			err := d.eachHit(ctx, metric, func(h hit, begin, end int) error {
				return d.visitSeries(wants[h.ask], begin, end, func(rows []ingest.Measure) error {
					return d.give(h.ask, rows, visit)
				})
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// setLimits notes how many rows each want may get, and says whether any has a limit.
func (d *finder) setLimits(wants []Want) (limited bool) {
	d.left = d.left[:0]
	for i := range wants {
		if wants[i].Limit > 0 {
			d.left, limited = append(d.left, wants[i].Limit), true
		} else {
			d.left = append(d.left, -1)
		}
	}
	return limited
}

// putOff leaves as many hits of each want as its limit asks for if all rows of their
// pages count, and puts the others off. Those of a want that is full are dropped.
func (d *finder) putOff(g *rowGroup) {
	ask, room := -1, 0
	now := d.hits[:0]
	d.pages, d.later = d.pages[:0], d.later[:0]
	for _, h := range d.hits {
		if h.ask != ask {
			ask, room = h.ask, len(g.starts)
			if left := d.left[ask]; left >= 0 {
				room = 2 + left/int(g.starts[1]) // The first and the last may be cut.
			}
		}
		switch {
		case d.isFull(ask):
		case room > 0:
			now, room = append(now, h), room-1
			d.pages = append(d.pages, h.page)
		default:
			d.later = append(d.later, h)
		}
	}
	d.hits = now
	slices.Sort(d.pages)
	d.pages = slices.Compact(d.pages)
}

// isFull says whether a want has got as many rows as it may.
func (d *finder) isFull(ask int) bool { return ask < len(d.left) && d.left[ask] == 0 }

// give hands rows of a want to visit, within its limit.
func (d *finder) give(ask int, rows []ingest.Measure, visit func(i int, rows []ingest.Measure) error) error {
	if left := d.left[ask]; left >= 0 {
		rows = rows[:min(left, len(rows))]
		d.left[ask] -= len(rows)
	}
	if len(rows) == 0 {
		return nil
	}
	return visit(ask, rows)
}

func (f *Reader) has(m ingest.Method) bool { return slices.Contains(f.asked, m) }

// columnOf is the column of a method, -1 if it has no value in the file.
func (f *Reader) columnOf(m ingest.Method) int {
	if i := slices.Index(f.asked, m); i >= 0 {
		return f.columns[i]
	}
	return -1
}

// columnsFor adds the columns of the methods of hits, ascending.
func (f *Reader) columnsFor(columns []int, wants []Want, hits []hit) []int {
	var methods ingest.MethodSet
	for _, h := range hits {
		m := wants[h.ask].Method
		methods.Add(m)
		if m == ingest.Mean {
			methods.Union(ingest.MethodsOf(ingest.Sum, ingest.Count))
		}
	}
	for _, m := range f.asked {
		if c := f.columnOf(m); c >= 0 && methods.Has(m) {
			columns = append(columns, c)
		}
	}
	if f.rest >= 0 {
		columns = append(columns, f.rest)
	}
	return columns
}

// visitSeries gives visit what a want asks for among the rows of its metric.
func (d *finder) visitSeries(want Want, begin, end int, visit func([]ingest.Measure) error) error {
	spans, times := &d.reader.columns[1], &d.reader.columns[2]
	for run := spans.runAt(begin); run < len(spans.runs) && begin < end; run++ {
		cut := min(end, int(spans.runs[run].end))
		if time.Duration(spans.span(run)) == want.Granularity {
			first, last := narrow(times.ints, begin, cut, want.From, want.To)
			if d.take(want.Method, first, last); len(d.measures) > 0 {
				if err := visit(d.measures); err != nil {
					return err
				}
			}
		}
		begin = cut
	}
	return nil
}

// take puts the rows of a method from begin to end into measures.
func (d *finder) take(m ingest.Method, begin, end int) {
	values, present := d.column(m, begin, end)
	if m == ingest.Mean {
		sums, hasSum := d.column(ingest.Sum, begin, end)
		counts, hasCount := d.column(ingest.Count, begin, end)
		values, present = d.mean.derive(values, present, sums, hasSum, counts, hasCount)
	}
	d.measures = d.measures[:0]
	times := d.reader.columns[2].ints[begin:end]
	for i, p := range present {
		if p {
			d.measures = append(d.measures, ingest.Measure{Time: times[i], Value: values[i]})
		}
	}
}

// column returns rows of a method's column; nil if it has no value in the page.
func (d *finder) column(m ingest.Method, begin, end int) ([]float64, []bool) {
	c := d.reader.file.columnOf(m)
	if c < 0 || d.reader.columns[c].present == nil {
		return nil, nil
	}
	return d.reader.columns[c].doubles[begin:end], d.reader.columns[c].present[begin:end]
}
