package gnocchi

import (
	"time"
	"unsafe"

	"millrace/ingest"
)

// A NamedBatch holds the measures of a body that names metrics by resource and name.
// What it has of the body's texts are views of the body: who keeps one clones it.
type NamedBatch struct {
	// Batch has an entry per metric, whose Metric is zero.
	Batch
	// Resources are the keys of the body, in its order; one may be there twice.
	Resources []string
	// Metrics says what the entries are the measures of.
	Metrics []NamedMetric
}

// A NamedMetric is what a body says about a metric.
type NamedMetric struct {
	Resource     int // index in NamedBatch.Resources
	Name         []byte
	Policy, Unit string // for a metric that has yet to be created; "": not said
}

// Reset empties the batch and keeps its memory.
func (b *NamedBatch) Reset() {
	b.Batch.Reset()
	clear(b.Resources)
	clear(b.Metrics)
	b.Resources, b.Metrics = b.Resources[:0], b.Metrics[:0]
}

// The reasons of a MeasuresError of a NamedBatch, beside those of any.
const (
	ReasonText     = "expected str"
	ReasonExtra    = "extra keys not allowed"
	ReasonRequired = "required key not provided"
)

// ScanNamed reads an object that maps resource ids to objects, which map names of
// metrics to lists of measures or to
//
//	{"measures": […], "archive_policy_name": "low", "unit": "B"}
//
// of which only the measures must be there. It answers as [ScanBatch] does. It says
// nothing of whether ids, names and units are good ones.
func ScanNamed(data []byte, now time.Time, b *NamedBatch) error {
	b.Reset()
	s := scanner{data: data, measures: b.measures}
	i := blanks(data, 0)
	if i < len(data) && data[i] == '{' {
		i = s.resources(i, b)
	} else {
		i = -1
	}
	b.measures = s.measures
	if !s.atEnd(i) {
		return slowNamed(data, now, b)
	}
	b.pointEntries()
	return nil
}

// resources reads the object that opens at i.
func (s *scanner) resources(i int, b *NamedBatch) int {
	return s.members(i, func(key []byte, i int) int {
		b.Resources = append(b.Resources, view(key))
		if i >= len(s.data) || s.data[i] != '{' {
			return -1
		}
		return s.members(i, func(name []byte, i int) int { return s.named(name, i, b) })
	})
}

// members reads the object that opens at i: member is given every key and the place
// of its value.
func (s *scanner) members(i int, member func(key []byte, i int) int) int {
	data := s.data
	if i = blanks(data, i+1); i < len(data) && data[i] == '}' {
		return i + 1
	}
	for {
		end := s.str(i)
		if end < 0 {
			return -1
		}
		key := data[i+1 : end-1]
		if i = s.colon(end); i < 0 {
			return -1
		}
		if i = member(key, i); i < 0 {
			return -1
		}
		if i = blanks(data, i); i >= len(data) {
			return -1
		}
		switch data[i] {
		case ',':
			i = blanks(data, i+1)
		case '}':
			return i + 1
		default:
			return -1
		}
	}
}

// named reads the value at i of a metric of the last resource.
func (s *scanner) named(name []byte, i int, b *NamedBatch) int {
	if i >= len(s.data) {
		return -1
	}
	m := NamedMetric{Resource: len(b.Resources) - 1, Name: name}
	start, lists := len(s.measures), 1
	switch s.data[i] {
	case '[':
		i = s.list(i)
	case '{':
		lists = 0
		i = s.members(i, func(key []byte, i int) int {
			switch string(key) {
			case "measures":
				if lists++; i >= len(s.data) || s.data[i] != '[' {
					return -1
				}
				return s.list(i)
			case "archive_policy_name":
				return s.text(i, &m.Policy)
			case "unit":
				return s.text(i, &m.Unit)
			}
			return -1
		})
	default:
		return -1
	}
	if i < 0 || lists != 1 {
		return -1
	}
	b.Metrics = append(b.Metrics, m)
	b.Entries = append(b.Entries, ingest.Entry{Measures: s.measures[start:]})
	return i
}

// text reads the string at i.
func (s *scanner) text(i int, into *string) int {
	end := s.str(i)
	if end > 0 {
		*into = view(s.data[i+1 : end-1])
	}
	return end
}

// view is a text without a copy of it.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// slowNamed is ScanNamed for any body.
func slowNamed(data []byte, now time.Time, b *NamedBatch) error {
	b.Reset()
	s, err := newSlowScanner(data, now, &b.Batch)
	if err != nil {
		return err
	}
	err = s.resources(b)
	if err = s.finish(err); err != nil {
		b.Reset()
	}
	return err
}

func (s *slowScanner) resources(b *NamedBatch) error {
	if s.json.next() != '{' {
		return &MeasuresError{Reason: ReasonNotObject, Entry: -1, Measure: -1}
	}
	s.json.enter()
	for s.json.more() {
		key := s.json.text()
		b.Resources = append(b.Resources, key)
		at := MeasuresError{Key: key, Entry: len(b.Entries), Measure: -1, Keyed: true}
		if s.json.next() != '{' {
			s.json.value()
			if err := s.bad(at, ReasonNotObject); err != nil {
				return err
			}
			continue
		}
		s.json.enter()
		for s.json.more() {
			at.Name, at.Named, at.Entry = s.json.text(), true, len(b.Entries)
			if err := s.named(at, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// named reads the value of a metric, or puts it aside.
func (s *slowScanner) named(at MeasuresError, b *NamedBatch) error {
	m := NamedMetric{Resource: len(b.Resources) - 1, Name: []byte(at.Name)}
	list := s.json
	switch s.json.next() {
	case '[':
		s.json.value()
	case '{':
		var reason string
		if list, reason = s.specification(&m, &at); reason != "" {
			return s.bad(at, reason)
		}
	default:
		s.json.value()
		return s.bad(at, ReasonFormat)
	}
	after := s.json
	s.json = list
	err := s.list(at)
	s.json = after
	if err == nil {
		b.Metrics = append(b.Metrics, m)
	}
	return err
}

// specification reads a metric's object, to its end, and returns where its list of
// measures is, or what is wrong with it, and in at, where.
func (s *slowScanner) specification(m *NamedMetric, at *MeasuresError) (list cursor, reason string) {
	found := false
	wrong := func(field, why string) {
		if reason == "" {
			at.Field, reason = field, why
		}
	}
	text := func(field string, into *string) {
		switch raw := s.json.value(); raw[0] {
		case '"':
			*into = unquote(raw)
		case 'n':
			*into = ""
		default:
			wrong(field, ReasonText)
		}
	}
	s.json.enter()
	for s.json.more() {
		switch key := s.json.text(); key {
		case "measures":
			list, found = s.json, true
			if s.json.next() != '[' {
				wrong("", ReasonFormat)
			}
			s.json.value()
		case "archive_policy_name", "unit":
			into := &m.Policy
			if key == "unit" {
				into = &m.Unit
			}
			text(key, into)
		default:
			s.json.value()
			wrong(key, ReasonExtra)
		}
	}
	if !found {
		wrong("measures", ReasonRequired)
	}
	return list, reason
}
