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

// readWindows has InfluxDB aggregate the measures of some metrics, and returns those of which
// it couldn't: they have measures that aren't what their value says.
func (d *Driver) readWindows(ctx context.Context, reads []*metricRead) (left []*metricRead, err error) {
	of := make(map[window][]*metricRead)
	for _, r := range reads {
		for _, q := range r.queries {
			if w := (window{q.Method, q.Granularity}); !q.ended && !slices.Contains(of[w], r) {
				of[w] = append(of[w], r)
			}
		}
	}
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
	return left, nil
}

// readWindow reads one aggregate of some metrics over all their range.
func (d *Driver) readWindow(ctx context.Context, reads []*metricRead, w window) (map[*metricRead][]ingest.Measure,
	error) {
	rows := make(map[*metricRead][]ingest.Measure, len(reads))
	function := fmt.Sprintf(`aggregateWindow(every: %dns, fn: %s, createEmpty: false, timeSrc: "_start")`,
		int64(w.granularity), w.method)
	from := ingest.Floor(reads[0].from, w.granularity)
	err := d.points(ctx, reads, function, []string{"value"}, from, reads[0].to, func(r *metricRead, p *point) error {
		at := ingest.Floor(p.time, w.granularity)
		if n := len(rows[r]); n > 0 && rows[r][n-1].Time >= at {
			return severalSeries(r)
		}
		rows[r] = append(rows[r], ingest.Measure{Time: at, Value: p.value})
		return nil
	})
	return rows, err
}

// call is a function of Flux with its arguments, if it has none yet.
func call(function string) string {
	if strings.HasSuffix(function, ")") {
		return function
	}
	return function + "()"
}
