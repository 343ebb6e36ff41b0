// Package api speaks Gnocchi's v1 REST API, and what Millrace adds to it, over
// HTTP. It holds no state of its own.
//
// routes.go has every route on one screen; the other files are one per resource
// of the API. A request passes, in this order: its route (404, 405), the look-up
// that belongs to the route (404), content negotiation (406), authentication
// (401), the route's rule (403), and then its handler. Handlers return errors;
// errors.go has the one map from errors to statuses, and the shapes in which they
// are written.
//
// # What Millrace adds
//
// A 202 carries Millrace-Position, an opaque token, and a Location below
// /v1/ingest/ where the fate of the measures can be read. A read with
// Millrace-Position, or refresh=true, waits. "Prefer: wait=N" makes a write wait
// for its own measures, "Prefer: handling=lenient" takes what is good of a batch
// and lists the rest (RFC 7240). GET of a metric says in Millrace-Late how many of
// its measures came too late. /v1/dead-letters is for what could not be applied,
// /readyz says whether the worker gets on.
package api

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"millrace/api/auth"
	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// Deps is what an API stands on. All are required but Auth, which is auth.Basic
// where it isn't given, and Policies.
type Deps struct {
	Index    *index.Index
	Acceptor Acceptor
	Log      Ender
	Progress *ingest.Progress
	Driver   Reader // an ingest.LateReader too, where measures can be late
	Letters  ingest.DeadLetters
	Auth     auth.Authenticator
	Policies *auth.Policies // nil: the v1 API's own

	Deployment Deployment // nil: nothing is told of it
}

// An Acceptor takes batches in; see ingest.Acceptor, which is one.
type Acceptor interface {
	Accept(ctx context.Context, b *ingest.Batch, strict bool) (ingest.Ticket, []ingest.Refusal, error)
	intake.Acceptor
	Delete(ctx context.Context, id ingest.MetricID) (ingest.Sack, ingest.Offset, error)
}

// An Ender knows where the log ends; see ingest.Appender.
type Ender interface {
	End(ctx context.Context) (ingest.Position, error)
}

// A Reader reads aggregated series; see ingest.Driver.
type Reader interface {
	Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure, at ingest.Position) (ingest.Position, error)
}

// Config tunes an API. The zero value of a field means its default.
type Config struct {
	Prefix            string            // path below which everything is mounted, "/gnocchi"; none
	MaxLimit          int               // largest page, and the default one; 1000
	MaxBody           int64             // bytes of a request body, decompressed; 64 MiB
	MaxReads          int               // reads being computed at one time; one for each processor
	MaxReadBytes      int64             // bytes of rows of all reads in memory at one time; 256 MiB
	MaxPoints         int               // values that a question across metrics may hold in memory; 2^24
	MaxBodies         int64             // bytes of all bodies being read at one time; 256 MiB
	DefaultMethods    *ingest.MethodSet // of archive policies that name none; ingest.DefaultMethods
	AllowedOrigins    []string          // CORS; "*" is any; none
	TrustProxyHeaders bool              // believe Forwarded and X-Forwarded-*
	WaitCap           time.Duration     // longest wait for measures to be applied; 4 s
	Timeout           time.Duration     // longest time to an answer, once the body has been read; 5 s
	ReadyLag          time.Duration     // age of the oldest unapplied record that makes us not ready; 5 min
	ReadyGrace        time.Duration     // how long a sack may stand still before that makes us not ready; 30 s
	Version           string            // what GET / says: clients need a Gnocchi 4.x; "4.7.0"
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxLimit, 1000)
	setDefault(&c.MaxBody, 64<<20)
	setDefault(&c.MaxBodies, max(256<<20, c.MaxBody))
	setDefault(&c.MaxReads, defaultReads())
	setDefault(&c.MaxReadBytes, 256<<20)
	setDefault(&c.MaxPoints, 1<<24)
	setDefault(&c.WaitCap, 4*time.Second)
	setDefault(&c.Timeout, 5*time.Second)
	setDefault(&c.ReadyLag, 5*time.Minute)
	setDefault(&c.ReadyGrace, 30*time.Second)
	setDefault(&c.Version, "4.7.0")
	if c.DefaultMethods == nil {
		methods := ingest.DefaultMethods()
		c.DefaultMethods = &methods
	}
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix != "" {
		c.Prefix = "/" + c.Prefix
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Bounds for the http.Server around an API, against clients that are slow. They
// allow a body of MaxBody at about 10 Mbit/s.
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = time.Minute
	WriteTimeout      = 2 * time.Minute // net/http counts it from the header on
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 64 << 10
)

// An API answers requests. It is an http.Handler.
type API struct {
	index    *index.Index
	acceptor Acceptor
	intake   *intake.Intake
	ender    Ender
	progress *ingest.Progress
	driver   Reader
	late     ingest.LateReader // nil where nothing is late
	letters  ingest.DeadLetters
	auth     auth.Authenticator
	policies *auth.Policies

	deployment Deployment

	config  Config
	sacks   int
	router  *router
	log     *slog.Logger
	metrics *apiMetrics
	tracer  trace.Tracer
	now     func() time.Time

	bodies  atomic.Int64 // bytes of bodies in memory
	reading *reading
	buffers sync.Pool // of *[]byte
	scans   sync.Pool // of *scan

	linesParsers  sync.Pool // of *influx.Parser
	remoteParsers sync.Pool // of *prometheus.Parser
	namedScans    sync.Pool // of *namedScan
}

// New returns an API.
func New(deps Deps, config Config, log *slog.Logger, meter metric.Meter, tracer trace.Tracer) (*API, error) {
	a := &API{
		index: deps.Index, acceptor: deps.Acceptor, ender: deps.Log, progress: deps.Progress,
		driver: deps.Driver, letters: deps.Letters, auth: deps.Auth, policies: deps.Policies,
		deployment: deps.Deployment,
		config:     config.withDefaults(), sacks: len(deps.Progress.Watermarks()),
		log: log, tracer: tracer, now: time.Now,
	}
	a.intake = intake.New(deps.Index, deps.Acceptor, log)
	if a.deployment == nil {
		a.deployment = untold{a.sacks}
	}
	if a.auth == nil {
		a.auth = auth.Basic{}
	}
	a.reading = newReading(a.config.MaxReads)
	a.late, _ = deps.Driver.(ingest.LateReader)
	var err error
	if a.metrics, err = newAPIMetrics(meter); err != nil {
		return nil, err
	}
	a.router = newRouter(a.config.Prefix, a.routes(), a.metrics)
	return a, nil
}
