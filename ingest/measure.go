package ingest

import "time"

// A Measure is one value at one instant. The same type carries the rows of an
// aggregated series: Time is then the start of the bucket.
type Measure struct {
	Time  int64   // nanoseconds since 1970-01-01 UTC
	Value float64 // NaN and the infinities are values like any other
}

// An Entry is what one request says about one metric: its measures in the
// order of the payload.
type Entry struct {
	Metric   MetricID
	Policy   string // the name of the metric's archive policy when it was accepted
	Measures []Measure
}

// A Batch is one request: every entry of it is accepted, or none is.
type Batch struct {
	Project string // who is charged for it and who may see its dead letters
	Trace   string // W3C traceparent of the request, or empty
	Entries []Entry
}

// Measures counts the measures of the batch.
func (b *Batch) Measures() int {
	n := 0
	for i := range b.Entries {
		n += len(b.Entries[i].Measures)
	}
	return n
}

// Floor rounds t down to a multiple of g (g > 0), also before 1970: the start of
// the bucket that holds t. Buckets are aligned to 1970-01-01T00:00Z. The first
// bucket of all starts at MinTime, a multiple or not.
func Floor(t int64, g time.Duration) int64 {
	r := t % int64(g)
	if r < 0 {
		r += int64(g)
		if t < MinTime+r {
			return MinTime
		}
	}
	return t - r
}
