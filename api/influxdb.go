package api

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/api/influx"
	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// headerResourceTag names the tag that names the resource.
const (
	headerResourceTag  = "X-Gnocchi-Influxdb-Tag-Resource-Id"
	defaultResourceTag = "host"
	defaultDatabase    = "influxdb"
)

// getInfluxPing answers GET /v1/influxdb/ping.
func (q *request) getInfluxPing() error {
	q.w.Header().Set("X-Influxdb-Version", "Gnocchi "+q.config.Version)
	return q.empty(http.StatusNoContent)
}

// createDatabase is the one statement of InfluxQL that is known.
var createDatabase = regexp.MustCompile(`(?is)^\s*create\s+database\s+(?:"((?:[^"\\]|\\.)*)"|([a-z_][a-z0-9_]*))`)

var unescapeQuoted = regexp.MustCompile(`(?s)\\(.)`)

// postInfluxQuery answers POST /v1/influxdb/query: a database is a resource type.
func (q *request) postInfluxQuery() error {
	statement, err := q.influxStatement()
	if err != nil || statement == "" {
		return q.nothing(err)
	}
	m := createDatabase.FindStringSubmatch(statement)
	if m == nil {
		return &failure{
			status:      http.StatusNotImplemented,
			description: cause{cause: "Not implemented error", detail: "q", reason: "Query not implemented"},
		}
	}
	name := unescapeQuoted.ReplaceAllString(m[1], "$1") + m[2]
	if err := text(new(string), maxName)(name); err != nil {
		return badArgument("q", err.Error())
	}
	return q.nothing(q.ensureType(&index.ResourceType{Name: name}))
}

// nothing answers 204, unless there is an error.
func (q *request) nothing(err error) error {
	if err != nil {
		return err
	}
	return q.empty(http.StatusNoContent)
}

// influxStatement is the parameter q, of the query string or of a form.
func (q *request) influxStatement() (string, error) {
	statement, given, err := scalar(q.r.URL.Query(), "q")
	if err != nil || given {
		return statement, err
	}
	kind, _, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return "", nil
	}
	b, err := q.readBody(smallBody)
	if err != nil {
		return "", err
	}
	defer b.release()
	form, err := url.ParseQuery(string(b.data))
	if err != nil {
		return "", badRequest("Unable to read the form: " + err.Error())
	}
	statement, _, err = scalar(form, "q")
	return statement, err
}

// ensureType makes sure that a resource type exists.
func (q *request) ensureType(t *index.ResourceType) error {
	_, err := q.index.ResourceType(q.ctx, t.Name)
	if !errors.Is(err, index.ErrNotFound) {
		return err
	}
	if !q.who.Permit(auth.CreateResourceType).For("", "") {
		return forbidden()
	}
	if err := q.index.CreateResourceType(q.ctx, t); err != nil && !errors.Is(err, index.ErrExists) {
		return err
	}
	return nil
}

// postInfluxWrite answers POST /v1/influxdb/write.
func (q *request) postInfluxWrite() error { return q.refused(q.acceptLines()) }

func (q *request) acceptLines() error {
	options, err := q.influxOptions()
	if err != nil {
		return err
	}
	p := q.preferences()
	b, err := q.readBody(q.config.MaxBody)
	if err != nil {
		return err
	}
	defer b.release()
	parser, _ := q.linesParsers.Get().(*influx.Parser)
	if parser == nil {
		parser = new(influx.Parser)
	}
	defer q.linesParsers.Put(parser)
	batch := &intake.Batch{CreateResources: true}
	if err := parser.Parse(b.data, options, batch); err != nil {
		return badLine(err)
	}
	result, err := q.takeIn(batch, p)
	if err != nil {
		return linesRefused(err, func(series int) int { return parser.Line(b.data, series) })
	}
	return q.accepted(http.StatusNoContent, result.Ticket, rejectsOf(batch, result), result.Future, p)
}

// influxOptions reads the parameters and headers of a write. As in Gnocchi there is
// no precision: timestamps are in nanoseconds.
func (q *request) influxOptions() (o influx.Options, err error) {
	database, given, err := scalar(q.r.URL.Query(), "db")
	if err != nil {
		return o, err
	}
	if !given {
		database = defaultDatabase
	}
	if _, err := q.index.ResourceType(q.ctx, database); err != nil {
		return o, err
	}
	o = influx.Options{
		Type: database, ResourceTag: q.r.Header.Get(headerResourceTag), Creator: q.who.Creator,
		Now: q.now().UnixNano(),
	}
	if o.ResourceTag == "" {
		o.ResourceTag = defaultResourceTag
	}
	return o, nil
}

// badLine is the 400 for a line that can't be taken.
func badLine(err error) error {
	e, ok := errors.AsType[*influx.Error](err)
	if !ok {
		return err
	}
	c := cause{
		cause: "Value error", detail: "line", reason: fmt.Sprintf("Unable to parse line %d", e.Line),
		more: gnocchi.Object{{Name: "error", Value: e.Reason}},
	}
	if e.Tag != "" {
		c = cause{
			cause: "Value error", detail: "key", reason: "Unable to find key `" + e.Tag + "' in tags",
			more: gnocchi.Object{{Name: "line", Value: e.Line}},
		}
	}
	return badRequest(c)
}

// linesRefused names the line of what the intake does not take.
func linesRefused(err error, line func(series int) int) error {
	series, reason := -1, ""
	if e, ok := errors.AsType[*intake.NameError](err); ok {
		series, reason = e.Series, e.Reason
	}
	if e, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		series, reason = e.Entry, e.Reason
	}
	if series < 0 {
		return err
	}
	at := line(series)
	return badRequest(
		cause{
			cause: "Value error", detail: "line",
			reason: fmt.Sprintf("Unable to take line %d: %s", at, strings.TrimSpace(reason)),
			more:   gnocchi.Object{{Name: "line", Value: at}},
		},
	)
}
