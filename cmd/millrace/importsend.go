package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A sender fills batches with rows and sends them, one after the other, so that a
// metric's measures arrive in the order of their rows.
type sender struct {
	client  *client
	options importOptions
	state   *importState
	errOut  io.Writer

	entries map[target][]ingest.Measure // of the batch being filled
	order   []target                    // in the order of first occurrence
	filled  int

	resources map[target]*importResource // of this run, by targets without a metric
	refusals  map[target]error           // of names, by the server
	late      map[string]uint64          // of each metric of this run, by id: how many were late when it began
	positions map[target]string          // the position of its last batch
	shown     int                        // complaints printed
}

func newSender(c *client, o importOptions, state *importState, errOut io.Writer) sender {
	return sender{
		client: c, options: o, state: state, errOut: errOut,
		entries: make(map[target][]ingest.Measure), resources: make(map[target]*importResource),
		refusals: make(map[target]error),
		late:     make(map[string]uint64), positions: make(map[target]string),
	}
}

// add puts a row into the batch.
func (s *sender) add(row csvRow) {
	if _, ok := s.entries[row.target]; !ok {
		s.order = append(s.order, row.target)
	}
	s.entries[row.target] = append(s.entries[row.target], row.measure)
	s.filled++
}

// send posts the batch that has been filled, creating its metrics where they are
// new, and begins an empty one.
func (s *sender) send(ctx context.Context) (accepted, refused int64, err error) {
	if s.filled == 0 {
		return 0, 0, nil
	}
	if s.options.csv.resource == "" {
		err = s.prepare(ctx, s.order)
	} else {
		err = s.prepareResources(ctx, s.order)
	}
	if err != nil {
		return 0, 0, err
	}
	refused = s.dropRefused()
	if len(s.order) > 0 {
		var doc ingestDoc
		if err := s.post(ctx, &doc); err != nil {
			return 0, 0, err
		}
		accepted, refused = doc.Accepted, refused+doc.Refused
	}
	clear(s.entries)
	s.order, s.filled = s.order[:0], 0
	return accepted, refused, nil
}

// dropRefused takes the measures out of the batch whose names the server refuses.
func (s *sender) dropRefused() (refused int64) {
	s.order = slices.DeleteFunc(s.order, func(t target) bool {
		err := s.refusals[t]
		if err != nil {
			s.complain("%v: %d rows refused: %v", t, len(s.entries[t]), err)
			refused += int64(len(s.entries[t]))
		}
		return err != nil
	})
	return refused
}

// post sends the batch until the server has answered. Sending again what it may have
// is safe.
func (s *sender) post(ctx context.Context, doc *ingestDoc) error {
	path, body := "/batch/metrics/measures", s.body()
	if s.options.csv.resource != "" {
		path, body = "/batch/resources/metrics/measures?create_metrics=true", s.resourceBody()
	}
	var header http.Header
	err := s.patiently(ctx, func() (err error) {
		header, err = s.client.lenient(ctx, path, body, doc)
		return err
	})
	if err != nil {
		return err
	}
	names := make(map[string]target, len(doc.Rejects)) // by id
	for _, t := range s.order {
		s.positions[t] = header.Get("Millrace-Position")
		if id := s.state.Metrics[t.metric]; id != "" && t.resource == "" && len(doc.Rejects) > 0 {
			names[id] = t
		}
	}
	for _, r := range doc.Rejects {
		of := "metric " + r.Metric
		if t, ok := names[r.Metric]; ok {
			of = t.String()
		}
		s.complain("the server refuses a measure of %s: %s", of, r.Reason)
	}
	return nil
}

// body is the batch as JSON: measures by metric.
func (s *sender) body() []byte {
	body := []byte{'{'}
	for i, t := range s.order {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, '"'), s.state.Metrics[t.metric]...), `":`...)
		body = appendMeasures(body, s.entries[t])
	}
	return append(body, '}')
}

// appendMeasures appends measures as JSON.
func appendMeasures(dst []byte, measures []ingest.Measure) []byte {
	dst = append(dst, '[')
	for i, m := range measures {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"timestamp":"`...)
		dst = gnocchi.AppendTime(dst, m.Time)
		dst = append(dst, `","value":`...)
		dst = append(appendValue(dst, m.Value), '}')
	}
	return append(dst, ']')
}

// appendValue appends a value as the API reads it, which knows more than JSON does.
func appendValue(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// applied waits until everything that was sent has been applied, and returns how
// much of the last batches could not be.
func (s *sender) applied(ctx context.Context) (rejected int64, err error) {
	deadline := time.Now().Add(importPatience)
	for _, position := range slices.Compact(slices.Sorted(maps.Values(s.positions))) {
		for {
			var doc ingestDoc
			if err := s.patiently(ctx, func() error { return s.client.await(ctx, position, &doc) }); err != nil {
				return rejected, err
			}
			if doc.State != "queued" {
				rejected += doc.Rejected
				break
			}
			if time.Now().After(deadline) {
				return rejected, fmt.Errorf("after %s the server is still applying what it accepted: see millrace status",
					importPatience)
			}
		}
	}
	return rejected, nil
}

// ingestDoc is what the commands read of the answer to a write.
type ingestDoc struct {
	State    string `json:"state"`
	Accepted int64  `json:"accepted"`
	Refused  int64  `json:"refused"`
	Rejected int64  `json:"rejected"`
	Rejects  []struct {
		Metric string `json:"metric"`
		Reason string `json:"reason"`
	} `json:"rejects"`
}

// importPatience is how long an import goes on trying while the server says to
// come back later, or can't be reached.
const importPatience = 5 * time.Minute

// patiently calls until the server has answered with something else than to come
// back later. It may be called concurrently.
func (s *sender) patiently(ctx context.Context, call func() error) error {
	deadline := time.Now().Add(importPatience)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := call()
		refusal, answered := errors.AsType[*apiError](err)
		switch {
		case err == nil:
			return nil
		case answered && refusal.status != http.StatusServiceUnavailable && refusal.status != http.StatusTooManyRequests:
			return err
		case answered:
			pause = max(pause, refusal.retryAfter)
		case !isUnreachable(err):
			return err
		}
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// maxComplaints bounds the rows whose refusal is printed.
const maxComplaints = 20

func (s *sender) complain(format string, args ...any) {
	if s.shown++; s.shown <= maxComplaints {
		fmt.Fprintf(s.errOut, format+"\n", args...)
	} else if s.shown == maxComplaints+1 {
		fmt.Fprintln(s.errOut, "(further refused rows are only counted)")
	}
}
