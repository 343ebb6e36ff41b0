package segment

import (
	"context"
	"slices"
	"sort"

	"millrace/ingest"
)

// A RawPage is what a page of a raw segment may hold of a metric.
type RawPage struct {
	First, Last int64 // no measure is outside of these
	Rows        int   // no more than so many
}

// RawPages appends the pages that may hold measures of a metric with from ≤ time < to;
// MaxTime is no end. It needs nothing but the footer.
func (f *Reader) RawPages(dst []RawPage, id ingest.MetricID, from, to int64) []RawPage {
	f.must(Raw)
	for i := range f.groups {
		g := &f.groups[i]
		pages := len(g.metrics)
		p := sort.Search(pages, func(p int) bool { return CompareMetrics(g.metrics[p][1], id) >= 0 })
		for ; p < pages && CompareMetrics(g.metrics[p][0], id) <= 0; p++ {
			if g.overlaps(p, from, to) {
				dst = append(dst, RawPage{g.times[p][0], g.times[p][1], int(g.starts[p+1] - g.starts[p])})
			}
		}
	}
	return dst
}

// LastRaw returns the last measure of a metric before a time (MaxTime: of all), if there
// is one. It mostly decodes one page.
func (f *Reader) LastRaw(ctx context.Context, id ingest.MetricID, before int64) (last ingest.Measure, ok bool,
	err error) {
	f.must(Raw)
	d := finders.Get().(*finder)
	defer putFinder(d)
	metric := func(int) ingest.MetricID { return id }
	for i := len(f.groups) - 1; i >= 0 && !ok; i-- {
		g := &f.groups[i]
		d.locate(g, 1, metric, func(_, page int) bool { return g.overlaps(page, ingest.MinTime, before) })
		d.reader.open(f, i)
		d.columns = d.all(len(f.schema))
		times, values := &d.reader.columns[2], &d.reader.columns[3]
		for _, h := range slices.Backward(slices.Clone(d.hits)) {
			d.hits, d.pages = append(d.hits[:0], h), append(d.pages[:0], h.page)
			err := d.eachHit(ctx, metric, func(_ hit, begin, end int) error {
				if begin, end = narrow(times.ints, begin, end, ingest.MinTime, before); begin < end {
					last, ok = ingest.Measure{Time: times.ints[end-1], Value: values.doubles[end-1]}, true
				}
				return nil
			})
			if err != nil || ok {
				return last, ok, err
			}
		}
	}
	return last, ok, nil
}
