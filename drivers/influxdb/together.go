package influxdb

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"millrace/ingest"
)

// Names of results of a query that has several, beside those of windows: w0, w1 …
const (
	newestResult  = "newest"
	specialResult = "special"
)

// expiring are those metrics of which what has expired is still to be left out.
func expiring(reads []*metricRead) iter.Seq[*metricRead] {
	return func(yield func(*metricRead) bool) {
		for _, r := range reads {
			if r.expires && !yield(r) {
				return
			}
		}
	}
}

// readTogether is readWindows by one query, all parts of which InfluxDB runs at the same
// time: the windows, the newest measures, and what has no number. That last part could miss
// what the windows have seen of a flush meanwhile. So it is done only where this process
// writes the metrics, and knows that no such flush has been.
func (d *Driver) readTogether(ctx context.Context, reads []*metricRead) (left []*metricRead, done bool, err error) {
	before, quiet := d.quiet(reads)
	if !quiet {
		return nil, false, nil
	}
	t := &together{driver: d, newest: make(map[*metricRead]int64), special: make(map[*metricRead]bool),
		rows: make(map[window]map[*metricRead][]ingest.Measure)}
	find := finder(reads)
	err = d.queryAnnotated(ctx, t.flux(reads), byResult, func(row *row) error {
		r, err := find(row)
		if err != nil {
			return err
		}
		return t.take(row, r)
	})
	if err != nil {
		return nil, false, err
	}
	if after, quiet := d.quiet(reads); !quiet || after != before {
		return nil, false, nil
	}
	for r := range expiring(reads) {
		at, found := t.newest[r]
		r.expire(at, found)
	}
	left = slices.DeleteFunc(give(reads, t.rows, t.special), func(r *metricRead) bool { return !r.plan() })
	return sameRange(left), true, nil
}

// sameRange has metrics read over a range that holds those of all.
func sameRange(reads []*metricRead) []*metricRead {
	for _, r := range reads {
		reads[0].from, reads[0].to = min(reads[0].from, r.from), max(reads[0].to, r.to)
	}
	for _, r := range reads {
		r.from, r.to = reads[0].from, reads[0].to
	}
	return reads
}

// together is what such a query is answered with.
type together struct {
	driver  *Driver
	windows []window
	names   []string // of their results
	newest  map[*metricRead]int64
	special map[*metricRead]bool
	rows    map[window]map[*metricRead][]ingest.Measure
}

// flux is the query. The metrics have one range.
func (t *together) flux(reads []*metricRead) string {
	var b strings.Builder
	part := func(some []*metricRead, name, function, field string, from, to int64) {
		if len(some) > 0 {
			b.WriteString(t.driver.pointsFlux(some, function, []string{field}, max(from, minTime), min(to, endTime)))
			fmt.Fprintf(&b, " |> yield(name: %q)\n", name)
		}
	}
	from, to := reads[0].from, reads[0].to
	for w, some := range windowsOf(reads) {
		name := fmt.Sprintf("w%d", len(t.windows))
		part(some, name, w.function(), "value", ingest.Floor(from, w.granularity), to)
		t.windows, t.names = append(t.windows, w), append(t.names, name)
		t.rows[w] = make(map[*metricRead][]ingest.Measure, len(some))
	}
	part(slices.Collect(expiring(reads)), newestResult, "last", "value", minTime, endTime)
	part(reads, specialResult, "first", "special", from, to)
	return b.String()
}

// take takes a row of a metric.
func (t *together) take(row *row, r *metricRead) error {
	p, err := pointOf(row)
	if err != nil {
		return err
	}
	switch row.result {
	case newestResult:
		t.newest[r] = p.time
	case specialResult:
		t.special[r] = true
	default:
		for i, w := range t.windows {
			if row.result == t.names[i] {
				return w.add(t.rows[w], r, &p)
			}
		}
		return fmt.Errorf("InfluxDB answers with a result %q, which was not asked for", row.result)
	}
	return nil
}
