package naive

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"millrace/ingest"
)

// aggregate groups measures (ascending in time) into buckets of g nanoseconds and
// returns one row per bucket for which the method has a value, ascending in time.
func aggregate(raw []ingest.Measure, g int64, method ingest.Method) []ingest.Measure {
	if method.IsRate() {
		raw = differences(raw)
	}
	buckets := make(map[int64][]float64)
	for _, m := range raw {
		b := bucketOf(m.Time, g)
		buckets[b] = append(buckets[b], m.Value)
	}
	var rows []ingest.Measure
	for _, b := range slices.Sorted(maps.Keys(buckets)) {
		if value, ok := valueOf(method.Base(), buckets[b]); ok {
			rows = append(rows, ingest.Measure{Time: b, Value: value})
		}
	}
	return rows
}

// bucketOf is ⌊t/g⌋·g.
func bucketOf(t, g int64) int64 {
	q := t / g
	if t%g < 0 {
		q--
	}
	return q * g
}

// differences returns what each measure adds to the one before it, at the time
// of the later, however far apart they are.
func differences(raw []ingest.Measure) []ingest.Measure {
	var d []ingest.Measure
	for i := 1; i < len(raw); i++ {
		d = append(d, ingest.Measure{Time: raw[i].Time, Value: raw[i].Value - raw[i-1].Value})
	}
	return d
}

// valueOf computes a method without "rate:" over the values of one bucket, in the
// order of time; there is at least one. False when that gives no row.
func valueOf(method ingest.Method, x []float64) (float64, bool) {
	n := len(x)
	if q, ok := method.Quantile(); ok {
		return percentile(sorted(x), q), true
	}
	switch method {
	case ingest.Count:
		return float64(n), true
	case ingest.Sum:
		return sum(x), true
	case ingest.Mean:
		return sum(x) / float64(n), true
	case ingest.Min: // NaN only when there is nothing else
		return sorted(x)[0], true
	case ingest.Max: // NaN when there is any
		return sorted(x)[n-1], true
	case ingest.First:
		return x[0], true
	case ingest.Last:
		return x[n-1], true
	case ingest.Median:
		s := sorted(x)
		if n%2 == 1 {
			return s[n/2], true
		}
		return (s[n/2-1] + s[n/2]) / 2, true
	case ingest.Std:
		return deviation(x), n > 1
	}
	panic("BUG: no such method: " + method.String())
}

// sum adds from left to right.
func sum(x []float64) float64 {
	total := 0.0
	for _, v := range x {
		total += v
	}
	return total
}

// deviation is the sample standard deviation (n − 1), in two passes.
func deviation(x []float64) float64 {
	mean := sum(x) / float64(len(x))
	var squares []float64
	for _, v := range x {
		squares = append(squares, float64((v-mean)*(v-mean))) // rounded: never fused with the sum
	}
	return math.Sqrt(sum(squares) / float64(len(x)-1))
}

// percentile interpolates between the neighbours of rank (n − 1)·q/100 in s,
// which is sorted.
func percentile(s []float64, q int) float64 {
	h := float64((len(s)-1)*q) / 100
	lo, hi := math.Floor(h), math.Ceil(h)
	if lo == hi {
		return s[int(lo)]
	}
	return float64(s[int(lo)]*(hi-h)) + float64(s[int(hi)]*(h-lo)) // each rounded, never fused
}

// sorted returns the values in ascending order, NaN last; equal ones (0 and −0)
// stay in the order of time.
func sorted(x []float64) []float64 {
	s := slices.Clone(x)
	slices.SortStableFunc(s, func(a, b float64) int {
		switch aNaN, bNaN := math.IsNaN(a), math.IsNaN(b); {
		case aNaN && bNaN:
			return 0
		case aNaN:
			return 1
		case bNaN:
			return -1
		}
		return cmp.Compare(a, b)
	})
	return s
}
