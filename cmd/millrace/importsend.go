package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

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

// importClients is how many metrics are created or looked up at the same time.
const importClients = 8

// prepare creates the metrics that this import has not yet created, and asks how
// many measures have been late of those that it uses for the first time. Which
// names it is about to create is in the state before it does: should it not hear
// of the outcome, the next run looks for them first.
func (s *sender) prepare(ctx context.Context, names []string) error {
	var missing, fresh []string
	for _, name := range names {
		id, known := s.state.Metrics[name]
		if !known {
			missing = append(missing, name)
		}
		if _, used := s.late[id]; !known || !used {
			fresh = append(fresh, name)
		}
	}
	if len(missing) > 0 {
		doubtful := s.state.Creating
		s.state.Creating = missing
		if err := s.state.save(); err != nil {
			return err
		}
		ids := make([]string, len(missing))
		err := each(ctx, len(missing), func(ctx context.Context, i int) (err error) {
			ids[i], err = s.create(ctx, missing[i], slices.Contains(doubtful, missing[i]))
			return err
		})
		for i, id := range ids {
			if id != "" {
				s.state.Metrics[missing[i]] = id
			}
		}
		if err == nil {
			s.state.Creating = nil
		}
		if err := errors.Join(err, s.state.save()); err != nil {
			return err
		}
	}
	counts := make([]uint64, len(fresh))
	err := each(ctx, len(fresh), func(ctx context.Context, i int) (err error) {
		counts[i], err = s.lateOf(ctx, s.state.Metrics[fresh[i]])
		if isStatus(err, http.StatusNotFound) {
			err = fmt.Errorf("metric %s, which %s says was created, does not exist any more: choose another --state to begin anew", fresh[i], s.options.state)
		}
		return err
	})
	for i, name := range fresh {
		s.late[s.state.Metrics[name]] = counts[i]
	}
	return err
}

// each calls f for 0 to n-1, several at a time, and returns the first error.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(importClients)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// create creates a metric. A doubtful one may have been created before, by a request
// whose answer was not heard: one of its name that is empty is taken for it.
func (s *sender) create(ctx context.Context, name string, doubtful bool) (id string, err error) {
	in := map[string]string{"name": name}
	if s.options.policy != "" {
		in["archive_policy_name"] = s.options.policy
	}
	err = s.patiently(ctx, func() (err error) {
		if doubtful {
			if id, err = s.findEmpty(ctx, name); err != nil || id != "" {
				return err
			}
		}
		var made struct{ ID string }
		_, err = s.client.do(ctx, "POST", "/metric", nil, in, &made)
		id, doubtful = made.ID, err != nil
		return err
	})
	if err != nil {
		return "", fmt.Errorf("cannot create metric %s: %w", name, err)
	}
	return id, nil
}

// findEmpty returns the id of a metric of this name that has no measures, if any.
func (s *sender) findEmpty(ctx context.Context, name string) (string, error) {
	var metrics []struct{ ID string }
	if _, err := s.client.do(ctx, "GET", "/metric", url.Values{"name": {name}}, nil, &metrics); err != nil {
		return "", err
	}
	for _, m := range metrics {
		var rows []any
		if _, err := s.client.do(ctx, "GET", "/metric/"+m.ID+"/measures", url.Values{"refresh": {"true"}}, nil, &rows); err != nil {
			return "", err
		}
		if len(rows) == 0 {
			return m.ID, nil
		}
	}
	return "", nil
}

// lateOf asks how many measures of a metric have been dropped because they came too late.
func (s *sender) lateOf(ctx context.Context, id string) (late uint64, err error) {
	err = s.patiently(ctx, func() error {
		header, err := s.client.do(ctx, "GET", "/metric/"+url.PathEscape(id), nil, nil, nil)
		if err != nil {
			return err
		}
		late, _ = strconv.ParseUint(header.Get("Millrace-Late"), 10, 64)
		return nil
	})
	return late, err
}

// lateSince sums up how many measures of this run's metrics came too late since it began.
func (s *sender) lateSince(ctx context.Context) (uint64, error) {
	ids := slices.Sorted(maps.Keys(s.late))
	counts := make([]uint64, len(ids))
	err := each(ctx, len(ids), func(ctx context.Context, i int) (err error) {
		counts[i], err = s.lateOf(ctx, ids[i])
		return err
	})
	sum := uint64(0)
	for i, id := range ids {
		sum += counts[i] - min(counts[i], s.late[id])
	}
	return sum, err
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
