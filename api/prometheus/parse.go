// Package prometheus reads Prometheus' remote write requests, version 1.0, as
// Gnocchi's v1 API understands them: the labels job and instance name a resource,
// JOB@INSTANCE, and the label __name__ names its metric. All other labels are
// ignored. Where several series of a request have the same name and resource, the
// last one that has samples counts.
//
// The message is prometheus.WriteRequest. It is read field by field with the wire
// format's own functions (protowire): generated code would make objects of every
// label and sample first.
package prometheus

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// ResourceType is what the resources are of. It has the attributes job and instance,
// texts of 1 to MaxAttribute characters.
const (
	ResourceType = "prometheus"
	MaxAttribute = 512
)

// An Error says which series of a request can't be taken, and why.
type Error struct {
	Series int    // counted from 0; -1: the request itself
	Name   string // of the series' metric, where it is known
	Reason string
}

func (e *Error) Error() string {
	switch {
	case e.Series < 0:
		return e.Reason
	case e.Name != "":
		return fmt.Sprintf("series %d (%s): %s", e.Series, e.Name, e.Reason)
	}
	return fmt.Sprintf("series %d: %s", e.Series, e.Reason)
}

// A Parser reads requests, one after the other. It keeps its memory.
type Parser struct {
	creator   string
	into      *intake.Batch
	homes     map[home]int // places of resources in the batch
	byID      map[index.ResourceID]int
	places    map[metric]int // places of series in the batch
	measures  []ingest.Measure
	spans     []span // of the measures, per series in the batch
	labels    []label
	job, inst []byte // of the series at hand
	name      []byte
}

type home struct{ job, instance string }

type metric struct {
	resource int
	name     string
}

type span struct{ from, to int }

type label struct{ name, value []byte }

// Parse appends what a request, decompressed, says to a batch, which has to be
// empty. creator is who sends it: see intake.ResourceID. An *Error names the first
// series that can't be taken. What is in the batch points into body, and is valid
// until the next Parse.
func (p *Parser) Parse(body []byte, creator string, into *intake.Batch) error {
	p.reset(creator, into)
	for n := 0; len(body) > 0; {
		number, kind, size := protowire.ConsumeTag(body)
		if size < 0 {
			return malformed(size)
		}
		body = body[size:]
		if number != 1 || kind != protowire.BytesType { // metadata, and what may come
			if size = protowire.ConsumeFieldValue(number, kind, body); size < 0 {
				return malformed(size)
			}
			body = body[size:]
			continue
		}
		series, size := protowire.ConsumeBytes(body)
		if size < 0 {
			return malformed(size)
		}
		if err := p.series(series); err != nil {
			return &Error{n, string(p.name), err.Error()}
		}
		body = body[size:]
		n++
	}
	for i := range into.Series {
		s := p.spans[i]
		into.Series[i].Measures = p.measures[s.from:s.to:s.to]
	}
	p.into = nil
	return nil
}

func malformed(size int) error {
	return &Error{-1, "", "not a WriteRequest: " + protowire.ParseError(size).Error()}
}

func (p *Parser) reset(creator string, into *intake.Batch) {
	p.creator, p.into = creator, into
	if p.homes == nil {
		p.homes, p.byID, p.places = make(map[home]int), make(map[index.ResourceID]int), make(map[metric]int)
	}
	clear(p.homes)
	clear(p.byID)
	clear(p.places)
	p.measures, p.spans = p.measures[:0], p.spans[:0]
}

// series reads one TimeSeries.
func (p *Parser) series(message []byte) error {
	p.labels, p.name = p.labels[:0], nil
	from := len(p.measures)
	err := fields(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			return p.label(value)
		case 2:
			return p.sample(value)
		case 4:
			return errors.New("native histograms are not supported (send_native_histograms)")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.known(); err != nil {
		return err
	}
	if len(p.measures) == from {
		return nil
	}
	return p.place(span{from, len(p.measures)})
}

// fields visits the fields of a message that have a length.
func fields(message []byte, visit func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(number, kind, message); size < 0 {
				return protowire.ParseError(size)
			}
			message = message[size:]
			continue
		}
		value, size := protowire.ConsumeBytes(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := visit(number, value); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}

func (p *Parser) label(message []byte) error {
	var l label
	err := fields(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			l.name = value
		case 2:
			l.value = value
		}
		return nil
	})
	p.labels = append(p.labels, l)
	return err
}

// staleMarker is the NaN by which Prometheus says that a series has ended. It is not
// a sample.
const staleMarker = 0x7ff0000000000002

func (p *Parser) sample(message []byte) error {
	var value uint64
	var at int64
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		switch {
		case number == 1 && kind == protowire.Fixed64Type:
			value, size = protowire.ConsumeFixed64(message)
		case number == 2 && kind == protowire.VarintType:
			var v uint64
			v, size = protowire.ConsumeVarint(message)
			at = int64(v)
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
	}
	switch {
	case value == staleMarker:
		return nil
	case at < 0:
		return fmt.Errorf("the timestamp %d is before 1970", at)
	case at > math.MaxInt64/int64(time.Millisecond):
		return fmt.Errorf("the timestamp %d is out of range", at)
	}
	p.measures = append(
		p.measures, ingest.Measure{Time: at * int64(time.Millisecond), Value: math.Float64frombits(value)},
	)
	return nil
}

var none = []byte("none")

// known checks the labels and takes out those that matter.
func (p *Parser) known() error {
	p.job, p.inst = none, none
	sorted := true // as they ought to be
	for i, l := range p.labels {
		sorted = sorted && (i == 0 || bytes.Compare(p.labels[i-1].name, l.name) < 0)
		switch string(l.name) {
		case "__name__":
			p.name = l.value
		case "job":
			p.job = l.value
		case "instance":
			p.inst = l.value
		}
	}
	if !sorted {
		slices.SortFunc(p.labels, func(a, b label) int { return bytes.Compare(a.name, b.name) })
		for i := 1; i < len(p.labels); i++ {
			if bytes.Equal(p.labels[i-1].name, p.labels[i].name) {
				return fmt.Errorf("label %q is there twice", p.labels[i].name)
			}
		}
	}
	if len(p.name) == 0 {
		return errors.New("there is no label __name__")
	}
	return nil
}

// place puts the samples of the series at hand into the batch.
func (p *Parser) place(samples span) error {
	at, seen := p.homes[home{string(p.job), string(p.inst)}]
	if !seen {
		var err error
		if at, err = p.resource(); err != nil {
			return err
		}
	}
	if i, again := p.places[metric{at, string(p.name)}]; again {
		p.spans[i] = samples
		return nil
	}
	p.places[metric{at, string(p.name)}] = len(p.into.Series)
	name := p.name
	if bytes.IndexByte(name, '/') >= 0 {
		name = bytes.ReplaceAll(name, []byte("/"), []byte("_"))
	}
	p.into.Series = append(p.into.Series, intake.Series{Resource: at, Name: name})
	p.spans = append(p.spans, samples)
	return nil
}

// resource puts the resource of the series at hand into the batch.
func (p *Parser) resource() (int, error) {
	h := home{string(p.job), string(p.inst)}
	attributes := []intake.Attribute{{Name: "job", Value: h.job}, {Name: "instance", Value: h.instance}}
	for _, a := range attributes {
		n, text := utf8.RuneCountInString(a.Value), utf8.ValidString(a.Value) && !strings.Contains(a.Value, "\x00")
		if n < 1 || n > MaxAttribute || !text {
			return 0, fmt.Errorf("label %s is not a text of 1 to %d characters", a.Name, MaxAttribute)
		}
	}
	original := strings.ReplaceAll(h.job+"@"+h.instance, "/", "_")
	id, err := intake.ResourceID(original, p.creator)
	if err != nil {
		return 0, err
	}
	at, seen := p.byID[id]
	if !seen {
		at = len(p.into.Resources)
		p.into.Resources = append(
			p.into.Resources, intake.Resource{ID: id, Original: original, Type: ResourceType, Attributes: attributes},
		)
		p.byID[id] = at
	}
	p.homes[h] = at
	return at, nil
}
