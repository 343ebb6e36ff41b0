package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A traced request is one trace, from the client's span through the API's to the worker's
// flush, although they are processes of their own and Kafka is between them.
func TestClusterTrace(t *testing.T) {
	otlp := newCollector(t)
	c := newCluster(t, "MILLRACE_TELEMETRY_OTLP_ENDPOINT="+otlp.URL, "MILLRACE_TELEMETRY_TRACE_RATIO=1",
		"MILLRACE_TELEMETRY_OTLP_HEADERS=authorization=Bearer hunter2")
	api, worker := c.start("api"), c.start("worker")
	id := c.metric(api)
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	at := time.Unix(1_700_000_000, 0).UTC().Format(time.RFC3339)
	a := api.ask(t, "POST", "/metric/"+id+"/measures", fmt.Sprintf(`[{"timestamp": %q, "value": 1}]`, at),
		"Traceparent: 00-"+trace+"-"+parent+"-01")
	if a.status != 202 {
		t.Fatalf("status %d: %s\n%s", a.status, a.body, api.log)
	}
	if got := c.count(api, id, a.header.Get("Millrace-Position")); got != 1 {
		t.Errorf("%d measures can be read", got)
	}
	c.ends(worker, api) // they export what they have
	spans := otlp.spansOf(t, trace)
	request, apply := spans["POST /v1/metric/{id}/measures"], spans["millrace.apply"]
	if request == nil || apply == nil {
		t.Fatalf("the trace has the spans %v", slices.Collect(maps.Keys(spans)))
	}
	if got := fmt.Sprintf("%x", request.ParentSpanId); got != parent {
		t.Errorf("the request's span is below %s, want the client's, %s", got, parent)
	}
	if !bytes.Equal(apply.ParentSpanId, request.SpanId) {
		t.Errorf("the flush's span is below %x, want the request's, %x", apply.ParentSpanId, request.SpanId)
	}
	if apply.EndTimeUnixNano < request.StartTimeUnixNano {
		t.Errorf("the flush ended before the request began")
	}
}

// spansOf are the spans of one trace that were exported, by name.
func (c *collector) spansOf(t *testing.T, trace string) map[string]*tracepb.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	// Exports that follow each other are one message: repeated fields are concatenated.
	var all tracepb.TracesData
	if err := proto.Unmarshal(c.bodies["/v1/traces"], &all); err != nil {
		t.Fatal(err)
	}
	spans := make(map[string]*tracepb.Span)
	for _, resource := range all.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if fmt.Sprintf("%x", span.TraceId) == trace {
					spans[span.Name] = span
				}
			}
		}
	}
	return spans
}
