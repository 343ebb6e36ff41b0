package gnocchi

import (
	"encoding/binary"
	"time"

	"millrace/ingest"
)

// ScanMeasures reads the measures of one metric, a list of {"timestamp": T,
// "value": V}, into b, which gets one entry, without measures when the list is
// empty. The stamps of a list are all of the kind of the first: see timeList.
//
// An error is a *[DecodeError] or a *[MeasuresError] and leaves b empty. In a
// lenient batch a measure that can't be understood goes to b.Bad instead. Nothing
// of data is kept, and nothing is allocated once b has grown to the size of the
// usual body.
func ScanMeasures(data []byte, now time.Time, b *Batch, id ingest.MetricID) error {
	b.Reset()
	s := scanner{data: data, measures: b.measures}
	i := blanks(data, 0)
	if i < len(data) && data[i] == '[' {
		i = s.list(i)
	} else {
		i = -1
	}
	b.measures = s.measures
	if !s.atEnd(i) {
		return slowMeasures(data, now, b, id)
	}
	b.Entries = append(b.Entries, ingest.Entry{Metric: id, Measures: b.measures[:len(b.measures):len(b.measures)]})
	return nil
}

// ScanBatch reads an object that maps metric ids to lists of measures into b, with
// an entry per key. A key that occurs twice has two entries. It answers as
// [ScanMeasures] does; in a lenient batch a key that is no UUID and a value that is
// no list put their whole entry aside.
func ScanBatch(data []byte, now time.Time, b *Batch) error {
	b.Reset()
	s := scanner{data: data, measures: b.measures}
	i := blanks(data, 0)
	if i < len(data) && data[i] == '{' {
		i = s.metrics(i, b)
	} else {
		i = -1
	}
	b.measures = s.measures
	if !s.atEnd(i) {
		return slowBatch(data, now, b)
	}
	b.pointEntries()
	return nil
}

// pointEntries points the entries at their measures, which may have moved while
// they were collected.
func (b *Batch) pointEntries() {
	start := 0
	for i := range b.Entries {
		end := start + len(b.Entries[i].Measures)
		b.Entries[i].Measures = b.measures[start:end:end]
		start = end
	}
}

// A scanner reads bodies of the usual shape, in one pass and straight into
// measures. Its methods take the place where something should begin and return
// where it ended, or -1 when they met something that they don't know. That may be a
// mistake or only uncommon: slow.go tells them apart, from the start of the body.
type scanner struct {
	data     []byte
	measures []ingest.Measure
	kind     timeKind // of the list's time stamps, once one was seen
}

// atEnd says whether nothing but blanks is left at i.
func (s *scanner) atEnd(i int) bool { return i >= 0 && blanks(s.data, i) == len(s.data) }

// metrics reads the object that opens at i.
func (s *scanner) metrics(i int, b *Batch) int {
	data := s.data
	if i = blanks(data, i+1); i < len(data) && data[i] == '}' {
		return i + 1
	}
	for {
		id, end := s.metricKey(i)
		if i = s.colon(end); i < 0 || i >= len(data) || data[i] != '[' {
			return -1
		}
		start := len(s.measures)
		if i = s.list(i); i < 0 {
			return -1
		}
		b.Entries = append(b.Entries, ingest.Entry{Metric: id, Measures: s.measures[start:]})
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

// metricKey reads the metric id in the string at i.
func (s *scanner) metricKey(i int) (ingest.MetricID, int) {
	end := i + 38 // the canonical form and two quotes
	if end > len(s.data) || s.data[end-1] != '"' || s.data[i] != '"' {
		if end = s.str(i); end < 0 {
			return ingest.MetricID{}, -1
		}
	}
	id, err := ingest.ParseMetricID(s.data[i+1 : end-1])
	if err != nil {
		return id, -1
	}
	return id, end
}

// list reads the list of measures that opens at i.
func (s *scanner) list(i int) int {
	data := s.data
	s.kind = noTime
	if i = blanks(data, i+1); i < len(data) && data[i] == ']' {
		return i + 1
	}
	for {
		if i = s.measure(i); i < 0 {
			return -1
		}
		if i = blanks(data, i); i >= len(data) {
			return -1
		}
		switch data[i] {
		case ',':
			i = blanks(data, i+1)
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}

// The keys of a measure with their quotes, little endian. The second word overlaps
// the first.
const (
	timestampKey8 = 0x617473656d697422 // `"timesta`
	timestampKey4 = 0x22706d61         // `amp"`
	valueKey4     = 0x6c617622         // `"val`
	valueKeyEnd4  = 0x2265756c         // `lue"`
)

// measure reads the object at i, whatever the order of its keys. Of a repeated key
// the last counts.
func (s *scanner) measure(i int) int {
	data := s.data
	if i >= len(data) || data[i] != '{' {
		return -1
	}
	var m ingest.Measure
	kind, hasValue := noTime, false
	for {
		i = blanks(data, i+1)
		if i+8 > len(data) {
			return -1
		}
		switch key := data[i:]; {
		case len(key) >= 11 && binary.LittleEndian.Uint64(key) == timestampKey8 &&
			binary.LittleEndian.Uint32(key[7:]) == timestampKey4:
			if i = s.colon(i + 11); i < 0 {
				return -1
			}
			m.Time, kind, i = s.time(i)
		case binary.LittleEndian.Uint32(key) == valueKey4 && binary.LittleEndian.Uint32(key[3:]) == valueKeyEnd4:
			if i = s.colon(i + 7); i < 0 {
				return -1
			}
			m.Value, i = s.value(i)
			hasValue = true
		default:
			if i = s.colon(s.str(i)); i < 0 {
				return -1
			}
			i = s.skip(i, 0)
		}
		if i < 0 {
			return -1
		}
		if i = blanks(data, i); i >= len(data) {
			return -1
		}
		if data[i] == '}' {
			break
		}
		if data[i] != ',' {
			return -1
		}
	}
	if s.kind == noTime {
		s.kind = kind
	}
	if kind == noTime || kind != s.kind || !hasValue {
		return -1
	}
	s.measures = append(s.measures, m)
	return i + 1
}

// colon passes over the colon and the blanks around it.
func (s *scanner) colon(i int) int {
	if i < 0 {
		return -1
	}
	if i = blanks(s.data, i); i >= len(s.data) || s.data[i] != ':' {
		return -1
	}
	return blanks(s.data, i+1)
}

// blanks passes over the blanks of JSON.
func blanks(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' && 1<<data[i]&(1<<' '|1<<'\t'|1<<'\n'|1<<'\r') != 0 {
		i++
	}
	return i
}
