package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"millrace/ingest"
)

// Errors of Decode, wrapped with what exactly is wrong.
var (
	// ErrVersion: the record was written in a format that this program doesn't know. If
	// the format is a newer one, the error is an ingest.ErrNewer too.
	ErrVersion = errors.New("unknown version")
	// ErrDamaged: the record's bytes are not what was written.
	ErrDamaged = errors.New("damaged record")
	// ErrMalformed: the checksum is right, but the record makes no sense.
	ErrMalformed = errors.New("malformed record")
)

// A Decoder decodes records. It remembers the names that keep occurring (archive
// policies, projects), so that a decoder which is kept allocates nothing. The
// zero value is ready; a Decoder is not for concurrent use.
type Decoder struct {
	names    map[string]string
	policies []string // of the record at hand
}

// maxNames bounds what a Decoder remembers, and maxName how long a name may be
// to be worth it.
const (
	maxNames = 4096
	maxName  = 256
)

// Decode appends the record in data to dst, as a delivery at offset. It keeps
// nothing of data. A record that can't be decoded is appended as well, with Err
// set and its bytes in Raw, and Err is returned: for the logs the delivery is
// what counts. Memory is bounded by len(data), whatever data says.
func (d *Decoder) Decode(dst *ingest.Deliveries, offset ingest.Offset, data []byte) error {
	entries, measures := len(dst.Entries), len(dst.Measures)
	p := parser{data: data}
	record := d.record(&p, dst)
	if p.err == nil {
		sum := binary.LittleEndian.Uint32(data[checksumAt:])
		dst.List = append(dst.List, ingest.Delivery{Offset: offset, Record: record, Checksum: sum})
		return nil
	}
	dst.Entries, dst.Measures = dst.Entries[:entries], dst.Measures[:measures]
	raw := len(dst.Bytes)
	dst.Bytes = append(dst.Bytes, data...)
	dst.List = append(dst.List, ingest.Delivery{
		Offset: offset, Err: p.err, Raw: dst.Bytes[raw:len(dst.Bytes):len(dst.Bytes)],
		Checksum: crc32.Checksum(data, castagnoli), // the one it carries may be what is damaged
	})
	return p.err
}

func (d *Decoder) record(p *parser, dst *ingest.Deliveries) (r ingest.Record) {
	accepted := p.head(&r)
	r.Producer, r.Sequence = p.uvarint("producer"), p.uvarint("sequence")
	r.Project = d.name(p.bytes("project"))
	r.Trace = string(p.bytes("trace"))
	switch r.Kind {
	case ingest.RecordMeasures:
		d.readPolicies(p)
		r.Entries = d.readEntries(p, dst, accepted)
	case ingest.RecordDelete:
		copy(r.Metric[:], p.take(idLen, "metric"))
	case ingest.RecordNudge:
	default:
		p.failf("unknown kind %d", r.Kind)
	}
	if len(p.data) > 0 {
		p.failf("%d bytes are left over", len(p.data))
	}
	return r
}

// name returns b as a string: the same one as last time, if it can.
func (d *Decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok { // Fast path.
		return s
	}
	s := string(b)
	if len(s) > maxName {
		return s
	}
	if len(d.names) >= maxNames {
		clear(d.names)
	}
	if d.names == nil {
		d.names = make(map[string]string)
	}
	d.names[s] = s
	return s
}

func (d *Decoder) readPolicies(p *parser) {
	n := p.count("archive policies", 1)
	d.policies = d.policies[:0]
	for range n {
		d.policies = append(d.policies, d.name(p.bytes("archive policy")))
	}
}

func (d *Decoder) readEntries(p *parser, dst *ingest.Deliveries, accepted int64) []ingest.Entry {
	n := p.count("entries", minEntryLen)
	left := p.count("measures", minMeasureLen)
	if n == 0 && left == 0 {
		return nil
	}
	first := len(dst.Entries)
	dst.Entries = slices.Grow(dst.Entries, n)
	dst.Measures = slices.Grow(dst.Measures, left)
	base := accepted
	for range n {
		var e ingest.Entry
		copy(e.Metric[:], p.take(idLen, "metric"))
		policy := p.uvarint("number of the archive policy")
		count := p.uvarint("count of measures")
		switch {
		case p.err != nil:
			return nil
		case policy >= uint64(len(d.policies)):
			p.failf("archive policy %d of %d", policy, len(d.policies))
			return nil
		case count > uint64(left):
			p.failf("%d measures of a metric, and %d are left of those that the record says it has", count, left)
			return nil
		}
		e.Policy = d.policies[policy]
		left -= int(count)
		if count > 0 {
			at := len(dst.Measures)
			dst.Measures = dst.Measures[:at+int(count)]
			e.Measures = dst.Measures[at : at+int(count) : at+int(count)]
			p.measures(e.Measures, base)
			base = e.Measures[0].Time
		}
		dst.Entries = append(dst.Entries, e)
	}
	if left != 0 {
		p.failf("%d measures fewer than the record says it has", left)
	}
	return dst.Entries[first:len(dst.Entries):len(dst.Entries)]
}

// A parser takes a record apart. After a first error everything is empty.
type parser struct {
	data []byte // what is not yet parsed
	err  error
}

func (p *parser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	p.data = nil
}

func (p *parser) head(r *ingest.Record) (accepted int64) {
	b := p.data
	p.data = nil
	switch {
	case len(b) == 0:
		p.err = fmt.Errorf("%w: it is empty", ErrDamaged)
		return 0
	case b[0] > Version:
		p.err = fmt.Errorf("%w %d: this program knows version %d: %w", ErrVersion, b[0], Version, ingest.ErrNewer)
		return 0
	case b[0] != Version:
		p.err = fmt.Errorf("%w %d: this program knows version %d", ErrVersion, b[0], Version)
		return 0
	case len(b) < headLen:
		p.err = fmt.Errorf("%w: %d bytes, and the head alone takes %d", ErrDamaged, len(b), headLen)
		return 0
	case len(b) > ingest.MaxRecord:
		p.err = fmt.Errorf("%w: %d bytes, the limit being %d", ErrDamaged, len(b), ingest.MaxRecord)
		return 0
	}
	if want, got := binary.LittleEndian.Uint32(b[checksumAt:]), checksum(b); want != got {
		p.err = fmt.Errorf("%w: checksum is %08x, and should be %08x", ErrDamaged, got, want)
		return 0
	}
	p.data = b[headLen:]
	r.Kind = ingest.RecordKind(b[kindAt])
	accepted = int64(binary.LittleEndian.Uint64(b[acceptedAtAt:]))
	if accepted != noTime {
		r.AcceptedAt = time.Unix(0, accepted).UTC()
	}
	return accepted
}

func (p *parser) take(n int, what string) []byte {
	if n > len(p.data) {
		p.failf("it ends inside a %s", what)
		return nil
	}
	b := p.data[:n]
	p.data = p.data[n:]
	return b
}

func (p *parser) uvarint(what string) uint64 {
	if len(p.data) > 0 && p.data[0] < 0x80 { // Fast path.
		v := uint64(p.data[0])
		p.data = p.data[1:]
		return v
	}
	v, n := binary.Uvarint(p.data)
	if n <= 0 {
		p.failf("%s: a number is cut off or too long", what)
		return 0
	}
	p.data = p.data[n:]
	return v
}

func (p *parser) bytes(what string) []byte {
	n := p.uvarint(what)
	if n > uint64(len(p.data)) {
		p.failf("%s of %d bytes, and %d are left", what, n, len(p.data))
		return nil
	}
	return p.take(int(n), what)
}

// count reads how many things of at least size bytes follow.
func (p *parser) count(what string, size int) int {
	n := p.uvarint(what)
	if n > uint64(len(p.data)/size) {
		p.failf("%d %s, and %d bytes are left", n, what, len(p.data))
		return 0
	}
	return int(n)
}

// measures fills dst, which is not empty.
func (p *parser) measures(dst []ingest.Measure, base int64) {
	data := p.data
	at, t, delta := 0, base, int64(0)
	for i := range dst {
		var u uint64
		if at < len(data) && data[at] < 0x80 { // Fast path.
			u = uint64(data[at])
			at++
		} else {
			v, n := binary.Uvarint(data[at:])
			if n <= 0 {
				p.failf("it ends inside a timestamp, or that is too long")
				return
			}
			u = v
			at += n
		}
		if i == 0 { // the first is relative to base, and has no step before it
			t += unzigzag(u)
		} else {
			delta += unzigzag(u)
			t += delta
		}
		dst[i].Time = t
	}
	if len(data)-at < valueLen*len(dst) {
		p.failf("it ends inside the values of a metric")
		return
	}
	values := data[at : at+valueLen*len(dst)]
	for i := range dst {
		dst[i].Value = math.Float64frombits(binary.LittleEndian.Uint64(values[valueLen*i:]))
	}
	p.data = data[at+len(values):]
}
