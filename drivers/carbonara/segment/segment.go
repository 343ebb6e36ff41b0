package segment

import (
	"bytes"
	"context"
	"time"

	"millrace/ingest"
)

// A Kind says what the rows of a segment are; see FORMAT.md.
type Kind string

const (
	Raw    Kind = "raw"    // measures as they came
	State  Kind = "state"  // one row per metric
	Sealed Kind = "sealed" // aggregates that never change again
)

// An Info describes the rows of a segment: everything that pruning needs.
type Info struct {
	Kind      Kind            `json:"kind"`
	Rows      int64           `json:"rows"`
	Bytes     int64           `json:"bytes"`
	MinTime   int64           `json:"min_time"`             // of timestamps, ns; inclusive
	MaxTime   int64           `json:"max_time"`             // inclusive
	MinMetric ingest.MetricID `json:"min_metric"`           // inclusive, in the order of bytes
	MaxMetric ingest.MetricID `json:"max_metric"`           // inclusive
	Coarsest  time.Duration   `json:"granularity,omitzero"` // sealed: the coarsest granularity in it
}

// MayHold says whether rows of a metric can be in the segment.
func (s *Info) MayHold(id ingest.MetricID) bool {
	return s.Rows > 0 && CompareMetrics(id, s.MinMetric) >= 0 && CompareMetrics(id, s.MaxMetric) <= 0
}

// CompareMetrics orders ids as segments do: by their bytes.
func CompareMetrics(a, b ingest.MetricID) int { return bytes.Compare(a[:], b[:]) }

// A Source is what a Reader reads segments from, by their names.
type Source interface {
	// ReadRanges returns ranges of an object, each whole or cut at the object's end,
	// and how long the object is.
	ReadRanges(ctx context.Context, name string, ranges []Range) (data [][]byte, size int64, err error)
}

// A Range is Len bytes from Off, or the last Len bytes of the object when Off is negative.
type Range struct{ Off, Len int64 }

// A Writer makes one segment after the other. It is used by one goroutine and keeps
// its memory.
//
// Runs are added ascending by metric (sealed: by metric, granularity, both
// ascending), and a metric's runs ascending in time. What a run points to is the
// caller's again when Add returns.
type Writer interface {
	Rows() int64 // added since the last Finish
	Size() int64 // about what Finish would return now, in bytes, rather too much
	// Finish returns the file and what describes it, and empties the writer. The bytes
	// are valid until the next Add. A raw segment may have no rows.
	Finish() ([]byte, Info, error)
}

// A LateTotal is how many measures of a metric had been dropped as late when a raw
// segment was flushed, since the metric's beginning. It rides in the file's
// key-value metadata.
type LateTotal struct {
	Metric ingest.MetricID
	Late   uint64
}

// A RawRun is consecutive rows of one metric in a raw segment, ascending and
// unique in time.
type RawRun struct {
	Metric   ingest.MetricID
	Policy   string
	Measures []ingest.Measure
}

// A StateRow is what a sack remembers of one metric.
type StateRow struct {
	Metric ingest.MetricID
	Policy string
	Newest int64  // the newest timestamp recorded
	Late   uint64 // how many measures were dropped as late
	Sealed int64  // buckets that end at or before this are sealed, or will never be; MinTime when none
}

// A SealedRun is consecutive rows of one metric and granularity in a sealed
// segment, ascending and unique in time. Values[i][j] is the value of the segment's
// i-th method at Times[j], and counts only if Present[i][j]. Present[i] is nil when
// the method has no row in the run.
type SealedRun struct {
	Metric      ingest.MetricID
	Granularity time.Duration
	Times       []int64
	Values      [][]float64
	Present     [][]bool
}

// Cut splits a run after n rows.
func (r SealedRun) Cut(n int) (first, rest SealedRun) {
	first, rest = r, r
	first.Times, rest.Times = r.Times[:n], r.Times[n:]
	first.Values, rest.Values = make([][]float64, len(r.Values)), make([][]float64, len(r.Values))
	first.Present, rest.Present = make([][]bool, len(r.Present)), make([][]bool, len(r.Present))
	for i, p := range r.Present {
		if p != nil {
			first.Values[i], rest.Values[i] = r.Values[i][:n], r.Values[i][n:]
			first.Present[i], rest.Present[i] = p[:n], p[n:]
		}
	}
	return first, rest
}

// A Want asks a sealed segment for one series.
type Want struct {
	Metric      ingest.MetricID
	Granularity time.Duration
	Method      ingest.Method
	From, To    int64 // From ≤ time < To; MaxTime is no end
	Limit       int   // how many rows at most, the earliest of them; 0: all
}
