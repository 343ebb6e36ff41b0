package golden_test

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"millrace/ingest"
)

// This file is the rules of Millrace once more, written for being read: what a
// driver must answer where the original's answer is an accident. It shares nothing
// with the drivers but the nouns.

// A history is all measures of a metric that came in time.
type history map[int64]float64

// record takes what one request brought, judged by the state before it (R1); of
// equal times the last written stays (R2, R3).
func (h history) record(p *ingest.ArchivePolicy, measures []ingest.Measure) {
	horizon := int64(math.MinInt64)
	if newest, ok := h.newest(); ok {
		horizon = horizonOf(p, newest)
	}
	for _, m := range measures {
		if m.Time >= horizon {
			h[m.Time] = m.Value
		}
	}
}

func (h history) newest() (int64, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return slices.Max(slices.Collect(maps.Keys(h))), true
}

// measures returns the history in the order of time.
func (h history) measures() []ingest.Measure {
	var list []ingest.Measure
	for _, at := range slices.Sorted(maps.Keys(h)) {
		list = append(list, ingest.Measure{Time: at, Value: h[at]})
	}
	return list
}

// rows returns what the policy keeps of one series, counted back from the newest
// bucket of any method (R7, R8).
func (h history) rows(d ingest.Definition, m ingest.Method) []ingest.Measure {
	newest, ok := h.newest()
	if !ok {
		return nil
	}
	rows := grouped(h.measures(), every(d.Granularity), m)
	return slices.DeleteFunc(rows, func(r ingest.Measure) bool {
		return d.Timespan > 0 && r.Time <= every(d.Granularity)(newest)-int64(d.Timespan)
	})
}

func horizonOf(p *ingest.ArchivePolicy, newest int64) int64 {
	var block time.Duration
	for _, d := range p.Definitions {
		block = max(block, d.Granularity)
	}
	window := int64(p.BackWindow)
	for _, m := range p.Methods.List() {
		if m.IsRate() {
			window++
			break
		}
	}
	return every(block)(newest) - window*int64(block)
}

// every groups times by a granularity, in integers (R6).
func every(g time.Duration) func(t int64) int64 {
	return func(t int64) int64 { return t - (t%int64(g)+int64(g))%int64(g) }
}

// calendar groups times by a letter.
func calendar(letter string) func(t int64) int64 {
	return func(t int64) int64 {
		at := time.Unix(0, t).UTC()
		year, month, day := at.Date()
		switch letter {
		case "Y":
			month, day = 1, 1
		case "H":
			month, day = month-(month-1)%6, 1
		case "Q":
			month, day = month-(month-1)%3, 1
		case "M":
			day = 1
		case "W":
			day -= int(at.Weekday())
		}
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).UnixNano()
	}
}

// grouped aggregates measures by the group of their time. A rate is of the
// differences to the measure before, whatever the distance (R4).
func grouped(measures []ingest.Measure, group func(int64) int64, m ingest.Method) []ingest.Measure {
	if m.IsRate() {
		var differences []ingest.Measure
		for i := 1; i < len(measures); i++ {
			differences = append(differences, ingest.Measure{Time: measures[i].Time,
				Value: measures[i].Value - measures[i-1].Value})
		}
		return grouped(differences, group, m.Base())
	}
	values := map[int64][]float64{}
	for _, one := range measures {
		values[group(one.Time)] = append(values[group(one.Time)], one.Value)
	}
	var rows []ingest.Measure
	for _, start := range slices.Sorted(maps.Keys(values)) {
		if v, ok := valueOf(values[start], m); ok {
			rows = append(rows, ingest.Measure{Time: start, Value: v})
		}
	}
	return rows
}

// regrouped aggregates rows; those of rates are differences already (R12).
func regrouped(rows []ingest.Measure, group func(int64) int64, m ingest.Method) []ingest.Measure {
	return grouped(rows, group, m.Base())
}

// trimmed returns the rows from the group of start to stop, which is excluded.
func trimmed(rows []ingest.Measure, group func(int64) int64, start, stop *instant) []ingest.Measure {
	return slices.DeleteFunc(rows, func(r ingest.Measure) bool {
		return start != nil && r.Time < group(int64(*start)) || stop != nil && r.Time >= int64(*stop)
	})
}

func valueOf(x []float64, m ingest.Method) (float64, bool) {
	n := len(x)
	ordered := slices.Clone(x)
	slices.SortStableFunc(ordered, func(a, b float64) int {
		if math.IsNaN(a) || math.IsNaN(b) {
			return -cmp.Compare(a, b) // NaN last
		}
		return cmp.Compare(a, b)
	})
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	mean := sum / float64(n)
	switch m {
	case ingest.Count:
		return float64(n), true
	case ingest.Sum:
		return sum, true
	case ingest.Mean:
		return mean, true
	case ingest.First:
		return x[0], true
	case ingest.Last:
		return x[n-1], true
	case ingest.Min:
		return ordered[0], true
	case ingest.Max:
		return ordered[n-1], true
	case ingest.Median:
		return (ordered[(n-1)/2] + ordered[n/2]) / 2, true
	case ingest.Std:
		squares := 0.0
		for _, v := range x {
			squares += float64((v - mean) * (v - mean))
		}
		return math.Sqrt(squares / float64(n-1)), n > 1
	}
	q, _ := m.Quantile()
	rank := float64(n-1) * float64(q) / 100 // without an offset (R11)
	lo, hi := math.Floor(rank), math.Ceil(rank)
	if lo == hi {
		return ordered[int(lo)], true
	}
	return float64(ordered[int(lo)]*(hi-rank)) + float64(ordered[int(hi)]*(rank-lo)), true
}
