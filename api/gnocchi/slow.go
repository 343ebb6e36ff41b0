package gnocchi

import (
	"time"

	"millrace/ingest"
)

// This file says what is legal, and what is wrong with the rest. It reads bodies
// that the scanner gave up on, from the start, once encoding/json found them to be
// JSON. It doesn't recurse, and holds nothing of a body but its measures.

// slowMeasures is ScanMeasures for any body.
func slowMeasures(data []byte, now time.Time, b *Batch, id ingest.MetricID) error {
	s, err := newSlowScanner(data, now, b)
	if err != nil {
		return err
	}
	if s.json.next() != '[' {
		return &MeasuresError{Reason: ReasonFormat, Entry: -1, Measure: -1}
	}
	return s.finish(s.list(MeasuresError{Metric: id}))
}

// slowBatch is ScanBatch for any body.
func slowBatch(data []byte, now time.Time, b *Batch) error {
	s, err := newSlowScanner(data, now, b)
	if err != nil {
		return err
	}
	if s.json.next() != '{' {
		return &MeasuresError{Reason: ReasonNotObject, Entry: -1, Measure: -1}
	}
	s.json.enter()
	for entry := 0; s.json.more(); entry++ {
		if err := s.entry(MeasuresError{Key: s.json.text(), Entry: entry, Measure: -1}); err != nil {
			return s.finish(err)
		}
	}
	return s.finish(nil)
}

// A slowScanner reads one body into a batch.
type slowScanner struct {
	json cursor
	now  time.Time
	b    *Batch
}

func newSlowScanner(data []byte, now time.Time, b *Batch) (*slowScanner, error) {
	b.Reset()
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	return &slowScanner{json: cursor{data: data}, now: now, b: b}, nil
}

// finish completes the batch, or empties it after an error.
func (s *slowScanner) finish(err error) error {
	if err != nil {
		s.b.Reset()
		return err
	}
	s.b.pointEntries()
	return nil
}

// bad puts the place that e leads to aside, or is the error of a strict scan.
func (s *slowScanner) bad(e MeasuresError, reason string) error {
	e.Reason = reason
	if !s.b.Lenient {
		return &e
	}
	if len(s.b.Bad) == MaxBad {
		e = s.b.Bad[0]
		return &e
	}
	s.b.Bad = append(s.b.Bad, e)
	return nil
}

// entry reads the value of the key that at leads to.
func (s *slowScanner) entry(at MeasuresError) error {
	id, err := ingest.ParseMetricID(at.Key)
	if err != nil {
		s.json.value()
		return s.bad(at, ReasonMetric)
	}
	at.Metric = id
	if s.json.next() != '[' {
		s.json.value()
		return s.bad(at, ReasonFormat)
	}
	return s.list(at)
}

// list reads the measures of the metric that at leads to.
func (s *slowScanner) list(at MeasuresError) error {
	start := len(s.b.measures)
	times := timeList{now: s.now}
	s.json.enter()
	for at.Measure = 0; s.json.more(); at.Measure++ {
		m, reason, field := s.measure(&times)
		if reason == "" {
			s.b.measures = append(s.b.measures, m)
			continue
		}
		at.Field = field
		if err := s.bad(at, reason); err != nil {
			return err
		}
	}
	s.b.Entries = append(s.b.Entries, ingest.Entry{Metric: at.Metric, Measures: s.b.measures[start:]})
	return nil
}

// measure reads a measure, or says for what reason it can't and which field is to blame.
func (s *slowScanner) measure(times *timeList) (m ingest.Measure, reason, field string) {
	if s.json.next() != '{' {
		s.json.value()
		return m, ReasonFormat, ""
	}
	var stamp, value []byte
	s.json.enter()
	for s.json.more() {
		switch s.json.text() {
		case "timestamp":
			stamp = s.json.value()
		case "value":
			value = s.json.value()
		default:
			s.json.value()
		}
	}
	text, ok := scalarText(stamp)
	if !ok {
		return m, ReasonFormat, "timestamp" // also when there is none
	}
	var err error
	switch m.Time, err = times.parse(text); err {
	case nil:
	case ErrEpoch:
		return m, ReasonEpoch, "timestamp"
	default:
		return m, ReasonTime, "timestamp"
	}
	if m.Value, ok = valueOf(value); !ok {
		return m, ReasonValue, "value"
	}
	return m, "", ""
}

// scalarText is the text of a string or a number, NaN and the infinities among them.
func scalarText(raw []byte) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch raw[0] {
	case '"':
		return unquote(raw), true
	case '{', '[', 't', 'f', 'n':
		return "", false
	}
	return string(raw), true
}

// valueOf is the value of a measure that a value of JSON stands for.
func valueOf(raw []byte) (float64, bool) {
	switch string(raw) {
	case "true":
		return 1, true
	case "false":
		return 0, true
	}
	text, ok := scalarText(raw)
	if !ok {
		return 0, false
	}
	return ParseFloat(text)
}
