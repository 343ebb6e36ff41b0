package gnocchi

import (
	"strconv"
	"strings"

	"millrace/ingest"
)

// A Batch holds the measures of one request body. Its memory is reused from one
// scan to the next, so Entries and what they point to are valid until the next
// scan into it or Reset.
type Batch struct {
	// Entries has one entry per metric, in the order of the body, without its policy.
	Entries []ingest.Entry
	// Lenient makes a scan put measures that can't be understood aside in Bad and
	// go on, instead of failing at the first; with more than MaxBad of them it fails
	// at the first after all. It survives Reset.
	Lenient bool
	// Bad is what a lenient scan put aside, in the order of the body.
	Bad []MeasuresError

	measures []ingest.Measure
}

// MaxBad bounds what a lenient scan puts aside: a list of two-byte measures would
// otherwise take fifty times its size.
const MaxBad = 1 << 16

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Entries)
	clear(b.Bad)
	b.Entries, b.Bad, b.measures = b.Entries[:0], b.Bad[:0], b.measures[:0]
}

// Measures counts the measures of the batch.
func (b *Batch) Measures() int { return len(b.measures) }

// The reasons of a MeasuresError, as the v1 API words them.
const (
	ReasonFormat    = "unexpected measures format"
	ReasonTime      = "unexpected timestamp 'Unable to convert timestamps'"
	ReasonEpoch     = "unexpected timestamp 'Timestamp must be after Epoch'"
	ReasonValue     = "unexpected measures value"
	ReasonMetric    = "not a valid value"
	ReasonNotObject = "expected a dictionary"
)

// A MeasuresError says which part of a body of measures can't be understood. The
// API's cause for it is "Invalid input".
type MeasuresError struct {
	Reason string          // one of the constants
	Key    string          // the metric's key in a batch, as sent; empty for measures of one metric
	Metric ingest.MetricID // zero when Key is not a UUID
	// index of the metric among the keys of the body, 0 for measures of one metric, -1: the body itself
	Entry   int
	Measure int    // index of the measure in the metric's list, -1: the list itself
	Field   string // the key in a measure, or in what stands for a metric, that is to blame

	// Of a NamedBatch, Key is the resource's, and Keyed says that there is one, be it
	// empty; Name is the metric's where Named says that there is one. Entry is the index
	// of its entry, or of the one that follows if it has none.
	Name         string
	Keyed, Named bool
}

// Path leads to the bad place inside the body: key, index, field.
func (e *MeasuresError) Path() []string {
	path := []string{}
	if e.keyed() {
		path = append(path, e.Key)
	}
	if e.Named {
		path = append(path, e.Name)
	}
	if e.Measure >= 0 {
		path = append(path, strconv.Itoa(e.Measure))
	}
	if e.Field != "" {
		path = append(path, e.Field)
	}
	return path
}

func (e *MeasuresError) keyed() bool { return e.Keyed || e.Key != "" || e.Reason == ReasonMetric }

// Error is the reason with the path, in the manner of Gnocchi's validation errors:
// "unexpected measures value @ data['5c…'][3]['value']".
func (e *MeasuresError) Error() string {
	var s strings.Builder
	s.WriteString(e.Reason)
	sep := " @ data"
	if e.keyed() {
		s.WriteString(sep + "['" + e.Key + "']")
		sep = ""
	}
	if e.Named {
		s.WriteString("['" + e.Name + "']")
	}
	if e.Measure >= 0 {
		s.WriteString(sep + "[" + strconv.Itoa(e.Measure) + "]")
		sep = ""
	}
	if e.Field != "" {
		s.WriteString(sep + "['" + e.Field + "']")
	}
	return s.String()
}

// A DecodeError says that a body is not JSON. The API's cause for it is "Unable
// to decode body". An empty body has the reason "Expected object or value".
type DecodeError struct{ Reason string }

func (e *DecodeError) Error() string { return e.Reason }
