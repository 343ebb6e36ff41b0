package influxdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
)

// windowed are the methods for which InfluxDB's aggregateWindow answers the same, to the bit.
var windowed = []ingest.Method{ingest.Count, ingest.Sum, ingest.Mean, ingest.Min, ingest.Max, ingest.First, ingest.Last}

// A window is what one query can aggregate.
type window struct {
	method      ingest.Method
	granularity time.Duration
}

// isWindowed says whether InfluxDB can aggregate all that is asked of a metric: its Flux
// of 2.x, from 1970 on. It is not told where to stop after so many rows.
func (d *Driver) isWindowed(r *metricRead) bool {
	return d.version() == 2 && !slices.ContainsFunc(r.queries, func(q *queryRead) bool {
		return !q.ended && (q.from < 0 || q.Limit > 0 || !slices.Contains(windowed, q.Method))
	})
}

// windowsOf sorts metrics by what is to be aggregated of them.
func windowsOf(reads []*metricRead) map[window][]*metricRead {
	of := make(map[window][]*metricRead)
	for _, r := range reads {
		for _, q := range r.queries {
			w := window{q.Method, q.Granularity}
			if n := len(of[w]); !q.ended && (n == 0 || of[w][n-1] != r) {
				of[w] = append(of[w], r)
			}
		}
	}
	return of
}

// readWindows has InfluxDB aggregate the measures of some metrics, and returns those of which
// it couldn't: they have measures that aren't what their value says.
func (d *Driver) readWindows(ctx context.Context, reads []*metricRead) (left []*metricRead, err error) {
	left, done, err := d.readTogether(ctx, reads)
	if done || err != nil {
		return left, err
	}
	if err := d.findNewest(ctx, slices.Collect(expiring(reads))); err != nil {
		return nil, err
	}
	reads = slices.DeleteFunc(reads, func(r *metricRead) bool { return !r.plan() })
	for _, some := range alike(reads) {
		more, err := d.readInTurn(ctx, some)
		if err != nil {
			return nil, err
		}
		left = append(left, more...)
	}
	return left, nil
}

// readInTurn is readWindows by a query for each window and one more.
func (d *Driver) readInTurn(ctx context.Context, reads []*metricRead) (left []*metricRead, err error) {
	of := windowsOf(reads)
	rows := make(map[window]map[*metricRead][]ingest.Measure, len(of))
	for w, some := range of {
		if rows[w], err = d.readWindow(ctx, some, w); err != nil {
			return nil, err
		}
	}
	// It is asked afterwards, so that what a flush has written in between is told.
	special := make(map[*metricRead]bool)
	err = d.points(ctx, reads, "first", []string{"special"}, reads[0].from, reads[0].to,
		func(r *metricRead, _ *point) error {
			special[r] = true
			return nil
		})
	if err != nil {
		return nil, err
	}
	return give(reads, rows, special), nil
}

// give gives rows to the queries of metrics, but for those that have something special: they
// are returned.
func give(reads []*metricRead, rows map[window]map[*metricRead][]ingest.Measure,
	special map[*metricRead]bool) (left []*metricRead) {
	for _, r := range reads {
		if special[r] {
			left = append(left, r)
			continue
		}
		for _, q := range r.queries {
			if q.ended {
				continue
			}
			for _, m := range rows[window{q.Method, q.Granularity}][r] {
				if m.Time >= q.from && m.Time < q.To {
					*q.dst = append(*q.dst, m)
				}
			}
			q.ended = true
		}
	}
	return left
}

// readWindow reads one aggregate of some metrics over all their range.
func (d *Driver) readWindow(ctx context.Context, reads []*metricRead, w window) (map[*metricRead][]ingest.Measure,
	error) {
	rows := make(map[*metricRead][]ingest.Measure, len(reads))
	from := ingest.Floor(reads[0].from, w.granularity)
	err := d.points(ctx, reads, w.function(), []string{"value"}, from, reads[0].to,
		func(r *metricRead, p *point) error { return w.add(rows, r, p) })
	return rows, err
}

// function is the window in Flux.
func (w window) function() string {
	return fmt.Sprintf(`aggregateWindow(every: %dns, fn: %s, createEmpty: false, timeSrc: "_start")`,
		int64(w.granularity), w.method)
}

// add adds a row of a metric.
func (w window) add(rows map[*metricRead][]ingest.Measure, r *metricRead, p *point) error {
	at := ingest.Floor(p.time, w.granularity)
	list := rows[r]
	if n := len(list); n > 0 && list[n-1].Time >= at {
		return severalSeries(r)
	}
	rows[r] = append(list, ingest.Measure{Time: at, Value: p.value})
	return nil
}

// call is a function of Flux with its arguments, if it has none yet.
func call(function string) string {
	if strings.HasSuffix(function, ")") {
		return function
	}
	return function + "()"
}
