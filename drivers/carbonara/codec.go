package carbonara

import (
	"context"
	"time"

	"millrace/ingest"
)

// This file is the contract between the codec (parquet*.go) and the engine.

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
//	newRawEncoder().add(rawRun), .late([]lateTotal)
//	newStateEncoder().add(stateRow)
//	newSealedEncoder(methods).add(sealedRun)
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

// codec-side functions that the engine calls:
//
//	openSegment(ctx, store, name, size) (*segmentFile, error)   one tail read; immutable, concurrent
//	(*segmentFile).memory() int64                               what a cache is charged
//	(*segmentFile).lates() ([]lateTotal, error)                 raw
//	(*segmentFile).methods() []ingest.Method                    sealed: its columns
//	(*segmentFile).scanRaw(ctx)    → next() bool, run() rawRun, err() error      whole segment in order,
//	(*segmentFile).scanState(ctx)  → next() bool, row() stateRow, err() error    one row group in memory;
//	(*segmentFile).scanSealed(ctx) → next() bool, run() sealedRun, err() error   run valid until next()
//	(*segmentFile).findRaw(ctx, metrics, from, to, visit func(i int, measures []ingest.Measure, policy string) error) error
//	(*segmentFile).findState(ctx, metrics, visit func(i int, row stateRow) error) error
//	(*segmentFile).findSealed(ctx, wants, visit func(i int, rows []ingest.Measure) error) error
//	(*segmentFile).verify(ctx) error
//
// find* take metrics (wants) ascending and unique and call visit in that order,
// zero or more times for each, with rows ascending in time.
var _ = context.Canceled
