// Package influx reads InfluxDB's line protocol as Gnocchi's v1 API understands it:
//
//	measurement[,tag=value …] field=value[,field=value …] [timestamp]
//
// The value of one tag names the resource. Each field whose value is a number or a
// boolean is a measure of the metric measurement.field@tag=value,… of that resource,
// with the remaining tags in the order of their names. The syntax is read by
// InfluxData's own decoder.
package influx

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// Options say how lines are to be understood.
type Options struct {
	Type        string // of the resources
	ResourceTag string // the tag that names the resource
	Creator     string // who sends the lines: see intake.ResourceID
	Now         int64  // of lines without a timestamp, in nanoseconds since 1970
	Unit        int64  // of timestamps, in nanoseconds; 0: 1
}

// A Parser reads bodies, one after the other. It keeps its memory.
type Parser struct {
	options  Options
	into     *intake.Batch
	places   map[string]int // of resources in the batch, by the tag's value
	byID     map[index.ResourceID]int
	last     string           // the tag's value in the line before
	lastAt   int              // its place; -1: none yet
	measures []ingest.Measure // one per series
	names    []byte           // of the series, one after the other
	ends     []int            // where each of them ends
	entries  []int            // per series: which entry of the body it is of
	at       int              // the entry at hand
	line     entry
}

// An entry is one line, as far as it has been read.
type entry struct {
	text     []byte // what the spans point into
	name     span
	tags     []tag
	resource int
	suffix   []byte // "@tag=value,…" of all of its metrics
}

type span struct{ from, to int }

type tag struct{ key, value span }

// Parse appends what the lines of body say to a batch, which has to be empty and
// keeps nothing of body. An *Error names the first line that can't be taken. What is in
// the batch is valid until the next Parse.
func (p *Parser) Parse(body []byte, options Options, into *intake.Batch) error {
	p.reset(options, into)
	d := lineprotocol.NewDecoderWithBytes(body)
	for p.at = 0; d.Next(); p.at++ {
		if err := p.entry(d); err != nil {
			return numbered(err, body, p.at)
		}
	}
	p.finish()
	return nil
}

// Line returns the number of the line that a series of the last Parse, of this body,
// comes from; 1 is the first.
func (p *Parser) Line(body []byte, series int) int { return lineOf(body, p.entries[series]) }

func (p *Parser) reset(options Options, into *intake.Batch) {
	if options.Unit == 0 {
		options.Unit = 1
	}
	p.options, p.into = options, into
	if p.places == nil {
		p.places, p.byID = make(map[string]int), make(map[index.ResourceID]int)
	}
	clear(p.places)
	clear(p.byID)
	p.last, p.lastAt = "", -1
	p.measures, p.names, p.ends, p.entries = p.measures[:0], p.names[:0], p.ends[:0], p.entries[:0]
}

// finish gives the series their names and measures, which lie in one piece each.
func (p *Parser) finish() {
	from := 0
	for i := range p.into.Series {
		s := &p.into.Series[i]
		s.Name, from = p.names[from:p.ends[i]:p.ends[i]], p.ends[i]
		s.Measures = p.measures[i : i+1 : i+1]
	}
	p.into = nil
}

func (p *Parser) entry(d *lineprotocol.Decoder) error {
	e := &p.line
	e.text, e.tags = e.text[:0], e.tags[:0]
	measurement, err := d.Measurement()
	if err != nil {
		return err
	}
	e.name = e.keep(measurement)
	for {
		key, value, err := d.NextTag()
		if err != nil {
			return err
		}
		if key == nil {
			break
		}
		e.tags = append(e.tags, tag{e.keep(key), e.keep(value)})
	}
	first := len(p.measures)
	if err := p.fields(d); err != nil {
		return err
	}
	t, err := p.time(d)
	if err != nil {
		return err
	}
	for i := first; i < len(p.measures); i++ {
		p.measures[i].Time = t
	}
	return nil
}

func (e *entry) keep(b []byte) span {
	from := len(e.text)
	e.text = append(e.text, b...)
	return span{from, len(e.text)}
}

func (e *entry) of(s span) []byte { return e.text[s.from:s.to] }

// fields makes a series of each field that is a measure.
func (p *Parser) fields(d *lineprotocol.Decoder) error {
	e := &p.line
	ready := false
	for {
		key, kind, text, err := d.NextFieldBytes()
		if err != nil {
			return err
		}
		if key == nil {
			return nil
		}
		if kind == lineprotocol.String {
			continue
		}
		value, err := number(kind, text)
		if err != nil {
			return &Error{Reason: fmt.Sprintf("field %q: %v", key, err)}
		}
		if !ready {
			if err := p.place(); err != nil {
				return err
			}
			ready = true
		}
		from := len(p.names)
		p.names = append(p.names, e.of(e.name)...)
		p.names = append(p.names, '.')
		p.names = append(p.names, key...)
		p.names = append(p.names, e.suffix...)
		underscore(p.names[from:])
		p.ends = append(p.ends, len(p.names))
		p.entries = append(p.entries, p.at)
		p.measures = append(p.measures, ingest.Measure{Value: value})
		p.into.Series = append(p.into.Series, intake.Series{Resource: e.resource})
	}
}

// number is what a field's value is as a measure. Floats have the grammar of the line
// protocol and of JSON, not Go's with its underscores and hexadecimals.
func number(kind lineprotocol.ValueKind, text []byte) (float64, error) {
	if kind == lineprotocol.Float {
		for _, c := range text {
			if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
				return 0, fmt.Errorf("%q is not a number", text)
			}
		}
	}
	v, err := lineprotocol.NewValueFromBytes(kind, text)
	if err != nil {
		return 0, err
	}
	switch kind {
	case lineprotocol.Int:
		return float64(v.IntV()), nil
	case lineprotocol.Uint:
		return float64(v.UintV()), nil
	case lineprotocol.Bool:
		if v.BoolV() {
			return 1, nil
		}
		return 0, nil
	}
	return v.FloatV(), nil
}

// underscore replaces what no name may have.
func underscore(name []byte) {
	for {
		i := bytes.IndexByte(name, '/')
		if i < 0 {
			return
		}
		name[i] = '_'
		name = name[i+1:]
	}
}

// place finds the line's resource, and what its metrics' names end in.
func (p *Parser) place() error {
	e := &p.line
	slices.SortStableFunc(e.tags, func(a, b tag) int { return bytes.Compare(e.of(a.key), e.of(b.key)) })
	for i := 1; i < len(e.tags); i++ {
		if key := e.of(e.tags[i].key); bytes.Equal(key, e.of(e.tags[i-1].key)) { // as InfluxDB
			return &Error{Reason: fmt.Sprintf("tag %q is there twice", key)}
		}
	}
	at := slices.IndexFunc(e.tags, func(t tag) bool { return string(e.of(t.key)) == p.options.ResourceTag })
	if at < 0 {
		return &Error{Tag: p.options.ResourceTag, Reason: "the tag is missing"}
	}
	id := e.of(e.tags[at].value)
	if p.lastAt < 0 || p.last != string(id) {
		if err := p.resource(id); err != nil {
			return err
		}
	}
	e.resource = p.lastAt
	e.suffix = e.suffix[:0]
	for i, t := range e.tags {
		if i == at {
			continue
		}
		separator := byte(',')
		if len(e.suffix) == 0 {
			separator = '@'
		}
		e.suffix = append(e.suffix, separator)
		e.suffix = append(append(append(e.suffix, e.of(t.key)...), '='), e.of(t.value)...)
	}
	return nil
}

// resource makes a resource the last one, and puts it into the batch if it is new.
func (p *Parser) resource(original []byte) error {
	p.last = string(original)
	at, seen := p.places[p.last]
	if !seen {
		id, err := intake.ResourceID(p.last, p.options.Creator)
		if err != nil {
			return &Error{Reason: err.Error()}
		}
		if at, seen = p.byID[id]; !seen { // two texts may be the same UUID
			at = len(p.into.Resources)
			p.into.Resources = append(p.into.Resources, intake.Resource{ID: id, Original: p.last, Type: p.options.Type})
			p.byID[id] = at
		}
		p.places[p.last] = at
	}
	p.lastAt = at
	return nil
}

// time reads a line's timestamp.
func (p *Parser) time(d *lineprotocol.Decoder) (int64, error) {
	text, err := d.TimeBytes()
	if err != nil {
		return 0, err
	}
	if text == nil {
		return p.options.Now, nil
	}
	t, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil, t > math.MaxInt64/p.options.Unit:
		return 0, &Error{Reason: "the timestamp is out of range"}
	case t < 0:
		return 0, &Error{Reason: "the timestamp is before 1970"}
	}
	return t * p.options.Unit, nil
}
