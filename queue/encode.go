package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"millrace/ingest"
)

// AppendRecord appends the encoded record to dst: at most r.Size() bytes. A record
// that would be longer than ingest.MaxRecord is ingest.ErrTooLarge, and dst comes
// back as it was. It keeps nothing of r.
func AppendRecord(dst []byte, r *ingest.Record) ([]byte, error) {
	accepted := int64(noTime)
	if !r.AcceptedAt.IsZero() {
		if r.AcceptedAt.Before(minTime) || r.AcceptedAt.After(maxTime) {
			return dst, fmt.Errorf("cannot encode record: nanoseconds can't say %s", r.AcceptedAt)
		}
		accepted = r.AcceptedAt.UnixNano()
	}
	size := r.Size()
	if size > ingest.MaxRecord {
		if least := leastSize(r); least > ingest.MaxRecord {
			return dst, tooLarge(least)
		}
	}
	start := len(dst)
	b := append(slices.Grow(dst, size), make([]byte, headLen)...)
	b[start] = Version
	b[start+kindAt] = byte(r.Kind)
	binary.LittleEndian.PutUint64(b[start+acceptedAtAt:], uint64(accepted))
	b = binary.AppendUvarint(b, r.Producer)
	b = binary.AppendUvarint(b, r.Sequence)
	b = appendString(b, r.Project)
	b = appendString(b, r.Trace)
	switch r.Kind {
	case ingest.RecordMeasures:
		b = appendEntries(b, r.Entries, accepted)
	case ingest.RecordDelete:
		b = append(b, r.Metric[:]...)
	case ingest.RecordNudge:
	default:
		return dst, fmt.Errorf("cannot encode record: unknown kind %d", r.Kind)
	}
	record := b[start:]
	if len(record) > ingest.MaxRecord {
		return dst, tooLarge(len(record))
	}
	binary.LittleEndian.PutUint32(record[checksumAt:], checksum(record))
	return b, nil
}

func tooLarge(size int) error {
	return fmt.Errorf("cannot encode record of %d bytes or more, the limit being %d: %w", size, ingest.MaxRecord,
		ingest.ErrTooLarge)
}

// leastSize is a lower bound of the record's encoded length.
func leastSize(r *ingest.Record) int {
	n := headLen + len(r.Project) + len(r.Trace)
	for i := range r.Entries {
		n += minEntryLen + minMeasureLen*len(r.Entries[i].Measures)
	}
	return n
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendEntries needs the room of Record.Size behind b.
func appendEntries(b []byte, entries []ingest.Entry, accepted int64) []byte {
	var table policyTable
	measures := 0
	for i := range entries {
		table.index(entries[i].Policy)
		measures += len(entries[i].Measures)
	}
	b = binary.AppendUvarint(b, uint64(table.len))
	for i := range table.len {
		b = appendString(b, table.name(i))
	}
	b = binary.AppendUvarint(b, uint64(len(entries)))
	b = binary.AppendUvarint(b, uint64(measures))
	base := accepted
	for i := range entries {
		e := &entries[i]
		b = append(b, e.Metric[:]...)
		b = binary.AppendUvarint(b, uint64(table.index(e.Policy)))
		b = binary.AppendUvarint(b, uint64(len(e.Measures)))
		if len(e.Measures) > 0 {
			b = appendMeasures(b, e.Measures, base)
			base = e.Measures[0].Time
		}
	}
	return b
}

// appendMeasures appends the timestamps, then the values. The arithmetic wraps
// around, and back in the decoder: every int64 is a timestamp.
func appendMeasures(b []byte, measures []ingest.Measure, base int64) []byte {
	n := len(b)
	b = b[:n+ingest.MeasureOverhead*len(measures)]
	prev, delta := measures[0].Time, int64(0)
	n += binary.PutUvarint(b[n:], zigzag(prev-base))
	for i := 1; i < len(measures); i++ {
		t := measures[i].Time
		u := zigzag(t - prev - delta)
		prev, delta = t, t-prev
		if u < 0x80 { // Fast path.
			b[n] = byte(u)
			n++
			continue
		}
		n += binary.PutUvarint(b[n:], u)
	}
	for i := range measures {
		binary.LittleEndian.PutUint64(b[n:], math.Float64bits(measures[i].Value))
		n += valueLen
	}
	return b[:n]
}

// A policyTable numbers the archive policies of a record in the order of their
// first occurrence. Few records have more than some, so those take no memory.
type policyTable struct {
	few  [16]string
	len  int
	last int            // the one looked up last
	many []string       // those that few has no room for
	all  map[string]int // used when few is full
}

func (t *policyTable) name(i int) string {
	if i < len(t.few) {
		return t.few[i]
	}
	return t.many[i-len(t.few)]
}

// index returns the number of a policy, giving it one if it has none.
func (t *policyTable) index(name string) int {
	if t.last < t.len && t.name(t.last) == name { // Fast path.
		return t.last
	}
	i := t.find(name)
	if i < 0 {
		i = t.add(name)
	}
	t.last = i
	return i
}

func (t *policyTable) find(name string) int {
	if t.all == nil {
		return slices.Index(t.few[:t.len], name)
	}
	if i, ok := t.all[name]; ok {
		return i
	}
	return -1
}

func (t *policyTable) add(name string) int {
	i := t.len
	t.len++
	if i < len(t.few) {
		t.few[i] = name
		return i
	}
	if t.all == nil {
		t.all = make(map[string]int, 2*len(t.few))
		for j, n := range t.few {
			t.all[n] = j
		}
	}
	t.many = append(t.many, name)
	t.all[name] = i
	return i
}
