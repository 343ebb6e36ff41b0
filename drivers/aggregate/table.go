package aggregate

import (
	"math"
	"slices"
	"time"

	"millrace/ingest"
)

// A Table is several series of one granularity side by side, on the union of their
// times. A series that has no row at a time has NaN there, a hole.
type Table struct {
	Granularity time.Duration
	Times       []int64 // ascending
	Columns     []Column
}

// A Column is one series of a table.
type Column struct {
	Series int       // which one, in the order of [Gather.Add]
	Values []float64 // one for each of the table's times
}

// Rows returns a column as rows. With finite, those that are NaN or infinite are left out.
func (t *Table) Rows(column int, finite bool) []ingest.Measure {
	values := t.Columns[column].Values
	rows := make([]ingest.Measure, 0, len(values))
	for i, v := range values {
		if finite && (math.IsNaN(v) || math.IsInf(v, 0)) {
			continue
		}
		rows = append(rows, ingest.Measure{Time: t.Times[i], Value: v})
	}
	return rows
}

// A Gather collects the series of a table one after another, so that they may be
// read in batches. Series whose times are those of the one before take 8 bytes for
// each row, others 16. The zero value is empty.
type Gather struct {
	times  [][]int64   // of each series; those that are equal mostly share one slice
	values [][]float64 // of each series
	last   []int64     // times of the series put last
	points int
}

// Add takes the next series, ascending in time. The rows remain the caller's.
func (g *Gather) Add(rows []ingest.Measure) { g.Put(len(g.values), rows) }

// Put takes the series of a number, for those that come in another order than the
// table is to have. Those below it that never come are empty.
func (g *Gather) Put(series int, rows []ingest.Measure) {
	for len(g.values) <= series {
		g.values, g.times = append(g.values, nil), append(g.times, nil)
	}
	values := make([]float64, len(rows))
	for i, r := range rows {
		values[i] = r.Value
	}
	g.last = timesOf(rows, g.last)
	g.values[series], g.times[series] = values, g.last
	g.points += len(rows)
}

// timesOf returns the times of rows, if possible in the memory of those of the
// series before.
func timesOf(rows []ingest.Measure, before []int64) []int64 {
	same := len(before) == len(rows)
	for i := 0; same && i < len(rows); i++ {
		same = before[i] == rows[i].Time
	}
	if same {
		return before
	}
	times := make([]int64, len(rows))
	for i, r := range rows {
		times[i] = r.Time
	}
	return times
}

// Points counts the rows of all series.
func (g *Gather) Points() int { return g.points }

// Table puts the series side by side. It returns a [LimitError] when the table
// would have more than limit cells. The gather is used up.
func (g *Gather) Table(granularity time.Duration, limit int) (*Table, error) {
	t := &Table{Granularity: granularity, Times: union(g.times), Columns: make([]Column, len(g.values))}
	if rows := len(t.Times); rows > 0 && len(g.values) > limit/rows {
		return nil, &LimitError{Limit: limit}
	}
	for i, values := range g.values {
		t.Columns[i] = Column{i, spread(t.Times, g.times[i], values)}
		g.values[i], g.times[i] = nil, nil
	}
	return t, nil
}

// spread puts the values of some times to their places among all times.
func spread(all, some []int64, values []float64) []float64 {
	if len(all) == len(some) {
		return values
	}
	wide := make([]float64, len(all))
	k := 0
	for i, t := range all {
		if k < len(some) && some[k] == t {
			wide[i] = values[k]
			k++
		} else {
			wide[i] = math.NaN()
		}
	}
	return wide
}

// union merges ascending lists pair by pair, so that many that differ cost
// their total length times the logarithm of their number. It changes none of them.
func union(lists [][]int64) []int64 {
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	a, b := union(lists[:len(lists)/2]), union(lists[len(lists)/2:])
	switch {
	case len(b) == 0 || sameList(a, b) || slices.Equal(a, b):
		return a
	case len(a) == 0:
		return b
	}
	merged := make([]int64, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		next := min(a[0], b[0])
		merged = append(merged, next)
		if a[0] == next {
			a = a[1:]
		}
		if b[0] == next {
			b = b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// sameList says whether two lists of equal length begin at the same place in memory.
func sameList(a, b []int64) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// Common returns the granularities that all policies have, coarsest first.
func Common(policies []*ingest.ArchivePolicy) []time.Duration {
	if len(policies) == 0 {
		return nil
	}
	common := slices.Clone(policies[0].Granularities())
	for i, p := range policies[1:] {
		if p == policies[i] {
			continue
		}
		common = slices.DeleteFunc(common, func(g time.Duration) bool {
			_, ok := p.Find(g)
			return !ok
		})
	}
	return common
}
