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

	entries map[string][]ingest.Measure // by metric name, of the batch being filled
	order   []string                    // the names, in the order of first occurrence
	filled  int

	late      map[string]uint64 // of each metric of this run, by id: how many were late when it began
	positions map[string]string // by id: the position of its last batch
	shown     int               // complaints printed
}

func newSender(c *client, o importOptions, state *importState, errOut io.Writer) sender {
	return sender{
		client: c, options: o, state: state, errOut: errOut,
		entries: make(map[string][]ingest.Measure), late: make(map[string]uint64), positions: make(map[string]string),
	}
}

// add puts a row into the batch.
func (s *sender) add(row csvRow) {
	if _, ok := s.entries[row.metric]; !ok {
		s.order = append(s.order, row.metric)
	}
	s.entries[row.metric] = append(s.entries[row.metric], row.measure)
	s.filled++
}

// send posts the batch that has been filled, creating its metrics where they are
// new, and begins an empty one.
func (s *sender) send(ctx context.Context) (accepted, refused int64, err error) {
	if s.filled == 0 {
		return 0, 0, nil
	}
	if err := s.prepare(ctx, s.order); err != nil {
		return 0, 0, err
	}
	body := s.body()
	var doc ingestDoc
	var header http.Header
	err = s.patiently(ctx, func() (err error) { // sending again what the server may have is safe
		header, err = s.client.lenient(ctx, "/batch/metrics/measures", body, &doc)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	names := make(map[string]string, len(doc.Rejects)) // by id
	for _, name := range s.order {
		id := s.state.Metrics[name]
		s.positions[id] = header.Get("Millrace-Position")
		if len(doc.Rejects) > 0 {
			names[id] = name
		}
	}
	for _, r := range doc.Rejects {
		s.complain("the server refuses a measure of metric %s: %s", names[r.Metric], r.Reason)
	}
	clear(s.entries)
	s.order, s.filled = s.order[:0], 0
	return doc.Accepted, doc.Refused, nil
}

// body is the batch as JSON.
func (s *sender) body() []byte {
	body := []byte{'{'}
	for i, name := range s.order {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, '"'), s.state.Metrics[name]...), `":[`...)
		for j, m := range s.entries[name] {
			if j > 0 {
				body = append(body, ',')
			}
			body = append(body, `{"timestamp":"`...)
			body = gnocchi.AppendTime(body, m.Time)
			body = append(body, `","value":`...)
			body = append(appendValue(body, m.Value), '}')
		}
		body = append(body, ']')
	}
	return append(body, '}')
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

// applied waits until everything that was sent has been applied.
func (s *sender) applied(ctx context.Context) error {
	deadline := time.Now().Add(importPatience)
	for _, position := range slices.Compact(slices.Sorted(maps.Values(s.positions))) {
		for {
			var doc ingestDoc
			if err := s.patiently(ctx, func() error { return s.client.await(ctx, position, &doc) }); err != nil {
				return err
			}
			if doc.State != "queued" {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("after %s the server is still applying what it accepted: see millrace status", importPatience)
			}
		}
	}
	return nil
}

// ingestDoc is what the commands read of the answer to a write.
type ingestDoc struct {
	State    string `json:"state"`
	Accepted int64  `json:"accepted"`
	Refused  int64  `json:"refused"`
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
