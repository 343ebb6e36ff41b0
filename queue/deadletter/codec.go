package deadletter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"millrace/ingest"
)

// errMalformed: the checksum is right, but the payload makes no sense.
var errMalformed = errors.New("malformed")

const measureLen = 16

// appendLetter appends the payload of a letter's frame.
func appendLetter(b []byte, l *ingest.DeadLetter) []byte {
	b = appendString(b, l.ID)
	b = binary.AppendVarint(b, int64(l.Sack))
	b = binary.AppendVarint(b, int64(l.Offset))
	b = appendTime(b, l.AcceptedAt)
	b = appendTime(b, l.RejectedAt)
	b = append(b, l.Metric[:]...)
	b = appendString(b, l.Project)
	b = appendString(b, l.Policy)
	b = appendString(b, l.Reason)
	b = binary.AppendUvarint(b, uint64(len(l.Measures)))
	for _, m := range l.Measures {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(m.Value))
	}
	b = binary.AppendUvarint(b, uint64(len(l.Raw)))
	return append(b, l.Raw...)
}

// appendIDs appends the payload of a frame of removed ids.
func appendIDs(b []byte, ids []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = appendString(b, id)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendTime appends seconds and nanoseconds: unlike nanoseconds alone these can
// say every time, the zero one too.
func appendTime(b []byte, t time.Time) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

// parseLetter is the inverse of appendLetter. It keeps nothing of b.
func parseLetter(b []byte) (ingest.DeadLetter, error) {
	p := parser{data: b}
	l := ingest.DeadLetter{ID: p.string("id"), Sack: ingest.Sack(p.varint("sack")), Offset: ingest.Offset(p.varint("offset"))}
	l.AcceptedAt, l.RejectedAt = p.time(), p.time()
	copy(l.Metric[:], p.take(len(l.Metric), "metric"))
	l.Project, l.Policy, l.Reason = p.string("project"), p.string("archive policy"), p.string("reason")
	if n := p.count("measures", measureLen); n > 0 {
		l.Measures = make([]ingest.Measure, n)
	}
	for i := range l.Measures {
		m := p.take(measureLen, "measure")
		l.Measures[i] = ingest.Measure{
			Time: int64(binary.LittleEndian.Uint64(m)), Value: math.Float64frombits(binary.LittleEndian.Uint64(m[8:]))}
	}
	l.Raw = append(l.Raw, p.bytes("raw record")...)
	if n := len(l.ID); n == 0 || n > maxID {
		p.failf("an id of %d bytes", n)
	}
	return l, p.end()
}

// parseIDs is the inverse of appendIDs.
func parseIDs(b []byte) ([]string, error) {
	p := parser{data: b}
	ids := make([]string, p.count("ids", 1))
	for i := range ids {
		ids[i] = p.string("id")
	}
	return ids, p.end()
}

// A parser takes a payload apart. After a first error everything is empty.
type parser struct {
	data []byte // what is not yet parsed
	err  error
}

func (p *parser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
	}
	p.data = nil
}

func (p *parser) end() error {
	if len(p.data) > 0 {
		p.failf("%d bytes are left over", len(p.data))
	}
	return p.err
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
	v, n := binary.Uvarint(p.data)
	if n <= 0 {
		p.failf("%s: a number is cut off or too long", what)
		return 0
	}
	p.data = p.data[n:]
	return v
}

func (p *parser) varint(what string) int64 {
	v, n := binary.Varint(p.data)
	if n <= 0 {
		p.failf("%s: a number is cut off or too long", what)
		return 0
	}
	p.data = p.data[n:]
	return v
}

func (p *parser) bytes(what string) []byte { return p.take(p.count(what, 1), what) }

func (p *parser) string(what string) string { return string(p.bytes(what)) }

// count reads how many things of at least size bytes follow.
func (p *parser) count(what string, size int) int {
	n := p.uvarint(what)
	if n > uint64(len(p.data)/size) {
		p.failf("%s: %d, and %d bytes are left", what, n, len(p.data))
		return 0
	}
	return int(n)
}

func (p *parser) time() time.Time {
	b := p.take(12, "time")
	if b == nil {
		return time.Time{}
	}
	nanos := binary.LittleEndian.Uint32(b[8:])
	if nanos >= 1e9 {
		p.failf("a second of more than %d nanoseconds", nanos)
	}
	return time.Unix(int64(binary.LittleEndian.Uint64(b)), int64(nanos)).UTC()
}
