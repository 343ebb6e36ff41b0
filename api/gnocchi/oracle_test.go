package gnocchi

import (
	"bytes"
	"encoding/json"
	"time"

	"millrace/ingest"
)

// The oracle reads measures in the most obvious way, token by token, with the
// decoder of encoding/json. Both the fast path and the slow path must agree with it.

// oracleMeasures is ScanMeasures for any body.
func oracleMeasures(data []byte, now time.Time, b *Batch, id ingest.MetricID) error {
	return oracleScan(data, now, b, func(s *oracle) error {
		if tok := s.token(); tok != json.Delim('[') {
			return &MeasuresError{Reason: ReasonFormat, Entry: -1, Measure: -1}
		}
		return s.list(MeasuresError{Metric: id})
	})
}

// oracleBatch is ScanBatch for any body.
func oracleBatch(data []byte, now time.Time, b *Batch) error {
	return oracleScan(data, now, b, func(s *oracle) error {
		if tok := s.token(); tok != json.Delim('{') {
			return &MeasuresError{Reason: ReasonNotObject, Entry: -1, Measure: -1}
		}
		for entry := 0; s.dec.More(); entry++ {
			key, _ := s.token().(string)
			if err := s.entry(MeasuresError{Key: key, Entry: entry, Measure: -1}); err != nil {
				return err
			}
		}
		return nil
	})
}

func oracleScan(data []byte, now time.Time, b *Batch, scan func(*oracle) error) error {
	b.Reset()
	if err := checkJSON(data); err != nil {
		return err
	}
	plain, _ := quoteConstants(data)
	s := oracle{dec: json.NewDecoder(bytes.NewReader(plain)), now: now, b: b}
	s.dec.UseNumber()
	if err := scan(&s); err != nil {
		b.Reset()
		return err
	}
	b.pointEntries()
	return nil
}

type oracle struct {
	dec *json.Decoder // over JSON that is known to be valid
	now time.Time
	b   *Batch
}

// token returns the next string, json.Number, bool or nil, or the json.Delim that
// opens an object or a list.
func (s *oracle) token() any {
	tok, err := s.dec.Token()
	if err != nil {
		panic("BUG: encoding/json refuses a token of what it found valid: " + err.Error())
	}
	return tok
}

// scalar returns the next value; of an object or a list only the json.Delim that
// opened it.
func (s *oracle) scalar() any {
	tok := s.token()
	s.leave(tok)
	return tok
}

// leave passes over the rest of the object or list that tok opened.
func (s *oracle) leave(tok any) {
	for depth := nesting(tok); depth > 0; {
		depth += nesting(s.token())
	}
}

func nesting(tok any) int {
	switch tok {
	case json.Delim('{'), json.Delim('['):
		return 1
	case json.Delim('}'), json.Delim(']'):
		return -1
	}
	return 0
}

// bad puts the place that e leads to aside, or is the error of a strict scan.
func (s *oracle) bad(e MeasuresError, reason string) error {
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
func (s *oracle) entry(at MeasuresError) error {
	id, err := ingest.ParseMetricID(at.Key)
	if err != nil {
		s.scalar()
		return s.bad(at, ReasonMetric)
	}
	at.Metric = id
	tok := s.token()
	if tok != json.Delim('[') {
		s.leave(tok)
		return s.bad(at, ReasonFormat)
	}
	return s.list(at)
}

// list reads the measures of the metric that at leads to, up to the end of the list.
func (s *oracle) list(at MeasuresError) error {
	start := len(s.b.measures)
	times := timeList{now: s.now}
	for at.Measure = 0; s.dec.More(); at.Measure++ {
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
	s.token() // the closing bracket
	s.b.Entries = append(s.b.Entries, ingest.Entry{Metric: at.Metric, Measures: s.b.measures[start:]})
	return nil
}

// measure reads a measure, or says for what reason it can't and which field is to blame.
func (s *oracle) measure(times *timeList) (m ingest.Measure, reason, field string) {
	tok := s.token()
	if tok != json.Delim('{') {
		s.leave(tok)
		return m, ReasonFormat, ""
	}
	var stamp, value any
	for s.dec.More() {
		key := s.token()
		switch v := s.scalar(); key {
		case "timestamp":
			stamp = v
		case "value":
			value = v
		}
	}
	s.token() // the closing brace
	var err error
	switch stamp.(type) {
	case string, json.Number:
		m.Time, err = times.read(stamp)
	default: // also when there is none
		return m, ReasonFormat, "timestamp"
	}
	switch err {
	case nil:
	case ErrEpoch:
		return m, ReasonEpoch, "timestamp"
	default:
		return m, ReasonTime, "timestamp"
	}
	var ok bool
	if m.Value, ok = oracleValue(value); !ok {
		return m, ReasonValue, "value"
	}
	return m, "", ""
}

// oracleValue is the value that a scalar of JSON stands for.
func oracleValue(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		return ParseFloat(string(v))
	case string:
		return ParseFloat(v)
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}
