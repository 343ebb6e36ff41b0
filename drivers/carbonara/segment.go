package carbonara

import (
	"bytes"
	"time"

	"millrace/ingest"
)

// A kind says what the rows of a segment are; see FORMAT.md.
type kind string

const (
	kindRaw    kind = "raw"    // measures as they came
	kindState  kind = "state"  // one row per metric
	kindSealed kind = "sealed" // aggregates that never change again
)

// A segment describes one immutable Parquet object; it is a row of the manifest,
// and everything that pruning needs.
type segment struct {
	Name      string          `json:"name"` // inside the sack's folder: "<ulid>.parquet"
	Kind      kind            `json:"kind"`
	Rows      int64           `json:"rows"`
	Bytes     int64           `json:"bytes"`
	Measures  int64           `json:"measures,omitempty"`   // raw: how many measures were flushed into it or its parents
	MinTime   int64           `json:"min_time"`             // of timestamps, ns; inclusive
	MaxTime   int64           `json:"max_time"`             // inclusive
	MinMetric ingest.MetricID `json:"min_metric"`           // inclusive, in the order of bytes
	MaxMetric ingest.MetricID `json:"max_metric"`           // inclusive
	From      ingest.Offset   `json:"from_offset"`          // raw: the log offsets that it covers, [From, To)
	To        ingest.Offset   `json:"to_offset"`            // state: it covers everything before To
	Level     int             `json:"level,omitempty"`      // tier of merging
	Run       string          `json:"run,omitempty"`        // the same in neighbours that were written as one and cut for their size
	Coarsest  time.Duration   `json:"granularity,omitzero"` // sealed: the coarsest granularity in it
	Stale     int64           `json:"stale,omitempty"`      // sealed: half of the rows have expired when the sack's newest measure is this new; 0: never
}

// mayHold says whether rows of a metric can be in the segment.
func (s *segment) mayHold(id ingest.MetricID) bool {
	return s.Rows > 0 && compareMetrics(id, s.MinMetric) >= 0 && compareMetrics(id, s.MaxMetric) <= 0
}

// A rawRun is consecutive rows of one metric in a raw segment, ascending and
// unique in time.
type rawRun struct {
	Metric   ingest.MetricID
	Policy   string
	Measures []ingest.Measure
}

// A stateRow is what a sack remembers of one metric.
type stateRow struct {
	Metric ingest.MetricID
	Policy string
	Newest int64  // the newest timestamp recorded
	Late   uint64 // how many measures were dropped as late
	Sealed int64  // buckets that end at or before this are sealed, or will never be; MinTime when none
}

// A sealedRun is consecutive rows of one metric and granularity in a sealed
// segment, ascending and unique in time. Values[i][j] is the value of the segment's
// i-th method at Times[j], and counts only if Present[i][j]. Present[i] is nil when
// the method has no row in the run.
type sealedRun struct {
	Metric      ingest.MetricID
	Granularity time.Duration
	Times       []int64
	Values      [][]float64
	Present     [][]bool
}

// cut splits a run after n rows.
func (r sealedRun) cut(n int) (first, rest sealedRun) {
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

// compareMetrics orders ids as segments do: by their bytes.
func compareMetrics(a, b ingest.MetricID) int { return bytes.Compare(a[:], b[:]) }
