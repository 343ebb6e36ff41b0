package carbonara

import (
	"time"

	"millrace/ingest"
)

// This file is the contract between the codec (parquet*.go) and the engine. What
// the codec offers beside it:
//
//	newRawEncoder() *rawEncoder                    add(rawRun), late([]lateTotal)
//	newStateEncoder() *stateEncoder                add(stateRow)
//	newSealedEncoder([]ingest.Method) *sealedEncoder   add(sealedRun)
//
//	openSegment(ctx, store, name, size) (*segmentFile, error)   one tail read; immutable, concurrent
//	(*segmentFile).memory() int64                               what a cache is charged
//	(*segmentFile).lates() ([]lateTotal, error)                 raw
//	(*segmentFile).methods() []ingest.Method                    sealed: its columns, with a derived mean
//	(*segmentFile).scanRaw(ctx) *rawScan           next() bool, run() rawRun, err() error
//	(*segmentFile).scanState(ctx) *stateScan       next() bool, row() stateRow, err() error
//	(*segmentFile).scanSealed(ctx) *sealedScan     next() bool, run() sealedRun, err() error
//	(*segmentFile).findRaw(ctx, metrics, from, to, visit func(i int, measures []ingest.Measure, policy string) error) error
//	(*segmentFile).findState(ctx, metrics, visit func(i int, row stateRow) error) error
//	(*segmentFile).findSealed(ctx, wants, visit func(i int, rows []ingest.Measure) error) error
//	(*segmentFile).verify(ctx, segment) error      against its description
//
// Scans give the whole segment in order and hold one row group in memory; a run is
// valid until the next call of next. The rows of a metric (sealed: of a metric and
// granularity) may come in several runs, cut anywhere. find* take metrics (wants) ascending and
// unique and call visit in that order, zero or more times for each, with rows
// ascending in time; what visit gets is valid until it returns.

// A lateTotal is how many measures of a metric had been dropped as late when a raw
// segment was flushed, since the metric's beginning. It rides in the file's
// key-value metadata.
type lateTotal struct {
	Metric ingest.MetricID
	Late   uint64
}

// encoder is what the three encoders have in common. An encoder is used by one
// goroutine and keeps its memory from segment to segment.
//
// Runs are added ascending by metric (sealed: by metric, granularity, both
// ascending), and a metric's runs ascending in time. What a run points to is the
// caller's again when add returns.
type encoder interface {
	rows() int64 // added since the last finish
	size() int64 // about what finish would return now, in bytes, rather too much
	// finish returns the file and its description (Name, From, To, Level and
	// Measures are the caller's to fill in), and empties the encoder. The bytes are
	// valid until the next add. A raw segment may have no rows.
	finish() ([]byte, segment, error)
}

// A sealedWant asks a sealed segment for one series.
type sealedWant struct {
	Metric      ingest.MetricID
	Granularity time.Duration
	Method      ingest.Method
	From, To    int64 // From ≤ time < To
}
