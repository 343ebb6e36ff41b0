package ingest

import "time"

// An Offset is a place in a sack's part of the log. Offsets grow from record to
// record, not necessarily by one. As a watermark it is exclusive: everything
// before it has been applied.
type Offset int64

// A RecordKind says what a record asks for. The numbers are part of the record format.
type RecordKind uint8

const (
	// RecordMeasures carries measures of metrics of one sack.
	RecordMeasures RecordKind = iota + 1
	// RecordDelete asks to forget one metric.
	RecordDelete
	// RecordNudge asks the worker, wherever it runs, to flush the sack.
	RecordNudge
)

// A Record is what one request says to one sack. An encoded record is at most
// MaxRecord bytes long. A metric may occur in several entries: they count as
// one, in order. The log's order of records, and inside a record the payload's
// order, decides which of two equal timestamps stays: the later.
type Record struct {
	Kind       RecordKind
	AcceptedAt time.Time // UTC, nanoseconds
	Project    string
	Trace      string
	// Producer and Sequence are the log's own, set by an Appender whose writes may
	// arrive twice: of one producer's records in a sack only those count whose sequence
	// is above every earlier one's. Producer 0 never repeats itself.
	Producer uint64
	Sequence uint64
	Entries  []Entry  // RecordMeasures
	Metric   MetricID // RecordDelete
}

// MaxRecord bounds an encoded record, in bytes.
const MaxRecord = 1_000_000

// Upper bounds of what the parts of a record take when encoded, for those who
// cut batches into records. A codec must not exceed them.
const (
	RecordOverhead  = 256 // plus the lengths of project, trace and policy names
	EntryOverhead   = 32  // per entry
	MeasureOverhead = 18  // per measure: a 10-byte varint and a float64
)

// Size is an upper bound of the record's encoded length in bytes.
func (r *Record) Size() int {
	n := RecordOverhead + len(r.Project) + len(r.Trace)
	policy := ""
	for i := range r.Entries {
		e := &r.Entries[i]
		n += EntryOverhead + MeasureOverhead*len(e.Measures)
		if e.Policy != policy {
			policy = e.Policy
			n += len(policy) + 2
		}
	}
	return n
}

// A Delivery is a record as it comes out of the log.
type Delivery struct {
	Offset   Offset
	Record   Record
	Checksum uint32 // of the record's bytes, as the format has it
	// Err is set when the record's bytes could not be decoded: the record is then
	// empty, and Raw holds the bytes. It is the worker's to put them aside; but one
	// that is ErrNewer is only to be waited with.
	Err error
	Raw []byte
}

// Deliveries is a reusable buffer for Source.Fetch: a list and the arenas that
// the entries and measures in it point into.
type Deliveries struct {
	List     []Delivery
	Entries  []Entry
	Measures []Measure
	Bytes    []byte
	// Limit is how many bytes of records to fetch, roughly, but at least one record;
	// 0: as many as the log finds sensible.
	Limit int
}

// Reset empties the buffer and keeps its memory.
func (d *Deliveries) Reset() {
	clear(d.List) // drop the strings and slices of old records
	d.List, d.Entries, d.Measures, d.Bytes = d.List[:0], d.Entries[:0], d.Measures[:0], d.Bytes[:0]
}
