// Package intake takes in measures of metrics that are known by resource and name,
// whichever protocol has brought them, and creates resources and metrics on the way
// where that is wanted. A parser fills a [Batch]; an [Intake] finds the metrics,
// asks whether the caller may, has the batch admitted, creates what is missing, and
// puts the measures into the log: in this order, so that a batch that is refused
// leaves nothing behind.
//
// What belongs to a protocol stays out of here: what its bytes mean, how its errors
// read, and how an answer looks.
package intake

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"unicode/utf8"

	"millrace/index"
	"millrace/ingest"
)

// A Resource is what metrics belong to.
type Resource struct {
	ID         index.ResourceID // see ResourceID
	Original   string           // its id as the client wrote it
	Type       string           // what it has to be a resource of; "": of any type
	Attributes []Attribute      // of its type, for one that is created
}

// An Attribute is the value of an attribute that is a text.
type Attribute struct{ Name, Value string }

// A Series is what a batch says about one metric. A metric may have several series:
// they count as one, in order.
type Series struct {
	Resource int    // index in Batch.Resources
	Name     []byte // the metric's
	Policy   string // archive policy of a metric that is created; "": as the rules say
	Unit     string // of a metric that is created; "": none
	Measures []ingest.Measure
}

// A Batch is one request. Its texts may point into memory that the caller uses again
// when Accept has returned; whoever keeps one clones it.
type Batch struct {
	Resources       []Resource // distinct
	Series          []Series
	CreateResources bool // those that don't exist; with their metrics
	CreateMetrics   bool // those that don't exist, of resources that do
}

// A Permit says whether a caller may do something to an object of that creator, in
// a resource of that project ("": none).
type Permit func(creator, project string) bool

// A Caller is who sends a batch.
type Caller struct {
	Creator string // of what is created
	Account string // who is charged, and sees the dead letters
	Trace   string // W3C traceparent, or empty

	PostMeasures, CreateMetric, CreateResource, UpdateResource Permit
}

// Handling says what becomes of a batch of which a part can't be taken.
type Handling int

const (
	Default Handling = iota // refused, but for measures too far ahead of the clock: those are left out
	Lenient                 // what is bad is left out
	Strict                  // refused
)

// Created counts what was created for a batch.
type Created struct{ Resources, Metrics int }

// A Result is what became of a batch that was accepted.
type Result struct {
	Ticket  ingest.Ticket // Refused counts all measures left out
	Created Created
	Rejects []Reject // what was left out: the first MaxRejects
	Future  int      // measures left out because they are too far ahead of the clock
}

// MaxRejects bounds what is listed.
const MaxRejects = 1000

// A Reject is a part of a batch that was left out.
type Reject struct {
	Series  int // index in Batch.Series
	Measure int // index in the series' measures; -1: all of them
	Reason  string
}

// An Acceptor lets batches in; see [ingest.Acceptor].
type Acceptor interface {
	Admit(b *ingest.Batch, strict bool) (*ingest.Admission, []ingest.Refusal, error)
}

// An Intake takes batches in. Its methods may be called concurrently.
type Intake struct {
	index    *index.Index
	acceptor Acceptor
	log      *slog.Logger
	works    sync.Pool // of *work
}

// New returns an Intake that finds and creates metrics in an index.
func New(x *index.Index, acceptor Acceptor, log *slog.Logger) *Intake {
	return &Intake{index: x, acceptor: acceptor, log: log, works: sync.Pool{New: func() any { return new(work) }}}
}

// Accept puts a batch into the log and returns when it is durable. The batch is the
// caller's again when it returns; what was left out may be missing from it.
//
// UnknownMetricsError, UnknownResourcesError, NameError, NoRuleError, ConflictError
// and ErrForbidden blame the batch; so do ingest.BadMeasureError, which counts in
// b.Series, and ingest.ErrNoPolicy. With them, and with ingest.RefusedError, nothing
// has been created or written; nor with errors of the index, which blame nobody. An
// UnfinishedError comes from the log.
func (t *Intake) Accept(ctx context.Context, who *Caller, b *Batch, handling Handling) (*Result, error) {
	w := t.works.Get().(*work)
	defer func() {
		w.reset()
		t.works.Put(w)
	}()
	w.Intake, w.who, w.batch, w.lenient = t, who, b, handling == Lenient
	w.result = new(Result)
	missing, err := w.find(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.plan(ctx, missing); err != nil {
		return nil, err
	}
	admission, refusals, err := t.acceptor.Admit(&w.entries, handling == Strict)
	if bad, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		bad.Entry = w.series[bad.Entry]
	}
	if err != nil {
		return nil, err
	}
	defer admission.Release()
	for i := range refusals {
		w.reject(Reject{w.series[refusals[i].Entry], refusals[i].Measure, refusals[i].Reason}, 1)
	}
	w.result.Future = len(refusals)
	if err := w.create(ctx); err != nil {
		return nil, err
	}
	newest, refused := w.newest(), w.result.Ticket.Refused
	w.result.Ticket, err = admission.Append(ctx)
	w.result.Ticket.Refused = refused
	if err != nil {
		return nil, &UnfinishedError{w.result.Created, err}
	}
	if len(newest) > 0 {
		if err := t.index.Revive(ctx, newest); err != nil { // what is accepted is accepted
			t.log.Warn("cannot revive resources that have ended", "err", err)
		}
	}
	return w.result, nil
}

// maxName bounds a metric's name, in characters.
const maxName = 255

// checkName says what is wrong with the name of a metric that is to be created.
func checkName(name string) string {
	switch {
	case strings.Contains(name, "/"):
		return "'/' is not supported in metric name"
	case !utf8.ValidString(name) || strings.Contains(name, "\x00"):
		return "metric name is not UTF-8 text"
	case utf8.RuneCountInString(name) > maxName:
		return "metric name is longer than 255 characters"
	}
	return ""
}
