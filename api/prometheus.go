package api

import (
	"errors"
	"mime"
	"net/http"

	"github.com/klauspost/compress/snappy"

	"millrace/api/gnocchi"
	"millrace/api/prometheus"
	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// prometheusType is the resource type of what Prometheus sends.
func prometheusType() *index.ResourceType {
	attribute := func(name string) index.Attribute {
		return index.Attribute{
			Name: name, Type: index.AttributeString, Required: true, MinLength: 1, MaxLength: prometheus.MaxAttribute,
		}
	}
	return &index.ResourceType{
		Name: prometheus.ResourceType, Attributes: []index.Attribute{attribute("job"), attribute("instance")},
	}
}

// postPrometheusWrite answers POST /v1/prometheus/write: remote write 1.0.
func (q *request) postPrometheusWrite() error { return q.refused(q.acceptRemoteWrite()) }

func (q *request) acceptRemoteWrite() error {
	// A sender of version 2.0 goes back to 1.0 when it meets 415.
	_, parameters, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if proto := parameters["proto"]; err == nil && proto != "" && proto != "prometheus.WriteRequest" {
		return &failure{
			status:      http.StatusUnsupportedMediaType,
			description: "Only prometheus.WriteRequest (remote write 1.0) is understood",
		}
	}
	p := q.preferences()
	packed, err := q.readRaw(q.config.MaxBody)
	if err != nil {
		return err
	}
	defer packed.release()
	b, err := q.unsnap(packed.data)
	if err != nil {
		return err
	}
	defer b.release()
	packed.release()
	parser, _ := q.remoteParsers.Get().(*prometheus.Parser)
	if parser == nil {
		parser = new(prometheus.Parser)
	}
	defer q.remoteParsers.Put(parser)
	batch := &intake.Batch{CreateResources: true}
	if err := parser.Parse(b.data, q.who.Creator, batch); err != nil {
		return badSeries(err)
	}
	if len(batch.Series) > 0 {
		if err := q.ensureType(prometheusType()); err != nil {
			return err
		}
	}
	result, err := q.takeIn(batch, p)
	if err != nil {
		return seriesRefused(batch, err)
	}
	return q.accepted(http.StatusAccepted, result.Ticket, rejectsOf(batch, result), result.Future, p)
}

// unsnap decompresses a body, Snappy's block format, whose size is known beforehand.
func (q *request) unsnap(packed []byte) (body, error) {
	size, err := snappy.DecodedLen(packed)
	if err != nil {
		return body{}, notSnappy(err)
	}
	if int64(size) > q.config.MaxBody {
		return body{}, tooLarge(q.config.MaxBody)
	}
	b := q.newBody()
	if size > cap(b.data) {
		if err := b.hold(int64(size), q.config.MaxBodies); err != nil {
			b.release()
			return body{}, err
		}
		b.data = make([]byte, size)
	}
	if b.data, err = snappy.Decode(b.data[:cap(b.data)], packed); err != nil {
		b.release()
		return body{}, notSnappy(err)
	}
	return b, nil
}

func notSnappy(err error) error {
	return badRequest(
		cause{cause: "Unable to decode body", reason: "not in Snappy's block format: " + err.Error(), detail: []any{}},
	)
}

// badSeries is the 400 for a series that can't be taken.
func badSeries(err error) error {
	e, ok := errors.AsType[*prometheus.Error](err)
	if !ok {
		return err
	}
	if e.Series < 0 {
		return badRequest(cause{cause: "Unable to decode body", reason: e.Reason, detail: []any{}})
	}
	return badRequest(
		cause{
			cause: "Value error", detail: "series", reason: e.Error(),
			more: gnocchi.Object{{Name: "series", Value: e.Series}},
		},
	)
}

// seriesRefused names the series of what the intake does not take.
func seriesRefused(batch *intake.Batch, err error) error {
	if e, ok := errors.AsType[*intake.NameError](err); ok {
		return badRequest(
			cause{cause: "Value error", detail: "series", reason: nameOf(batch, e.Series) + ": " + e.Reason},
		)
	}
	if e, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		return badRequest(cause{cause: "Value error", detail: "series", reason: nameOf(batch, e.Entry) + ": " + e.Reason})
	}
	return err
}
