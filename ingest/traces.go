package ingest

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A tracedRecord is a record whose request is being traced.
type tracedRecord struct {
	parent string // W3C traceparent
	offset Offset
	since  time.Time // of the span to come: when it was accepted, then when it was flushed
}

// maxTraces bounds the spans that one flush makes, and those that wait for a seal.
const maxTraces = 100

// traces tell the story of traced requests behind their acknowledgement, below the
// request's own span: from acceptance to the flush that carried it, and, where the
// back-end aggregates later, from there to when it did. What waits for that is in memory
// only: a sack that gets another owner meanwhile ends the story at the flush.
type traces struct {
	tracer trace.Tracer
	sack   Sack
	fresh  []tracedRecord // since the last flush: the goroutine's that applies

	mu       sync.Mutex
	unsealed []tracedRecord
}

// see notes a record that has been applied.
func (t *traces) see(d *Delivery) {
	if d.Record.Trace != "" && len(t.fresh) < maxTraces {
		t.fresh = append(t.fresh, tracedRecord{d.Record.Trace, d.Offset, d.Record.AcceptedAt})
	}
}

// flushed ends the spans of what has become durable.
func (t *traces) flushed(sealer Sealer) {
	if len(t.fresh) == 0 {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.fresh {
		t.span("millrace.apply", r, now)
		if r.since = now; sealer != nil && len(t.unsealed) < maxTraces {
			t.unsealed = append(t.unsealed, r)
		}
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
}

// sealed ends the spans of what a seal has gone through.
func (t *traces) sealed(sealer Sealer) {
	if sealer == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unsealed) == 0 {
		return
	}
	now, below := time.Now(), sealer.Sealed()
	n := 0
	for n < len(t.unsealed) && t.unsealed[n].offset < below {
		t.span("millrace.seal", t.unsealed[n], now)
		n++
	}
	t.unsealed = append(t.unsealed[:0], t.unsealed[n:]...)
}

func (t *traces) span(name string, r tracedRecord, end time.Time) {
	carrier := propagation.MapCarrier{"traceparent": r.parent}
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(r.since), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.Int("millrace.sack", int(t.sack))))
	span.End(trace.WithTimestamp(end))
}
