package naive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millrace/ingest"
)

// A writer holds what was applied as it came; all that it means is worked out
// when it is flushed, in the order of the log.
type writer struct {
	driver *Driver
	sack   *sack
	epoch  uint64
	closed bool
	next   ingest.Offset // everything before it has been applied
	buffer []record
	gone   map[ingest.MetricID]bool // deleted by a record of the buffer
}

// A record is a copy of what matters of an ingest.Record.
type record struct {
	kind    ingest.RecordKind
	entries []entry
	metric  ingest.MetricID // to delete
}

type entry struct {
	metric   ingest.MetricID
	policy   *ingest.ArchivePolicy
	measures []ingest.Measure
}

var errWriterClosed = errors.New("writer of the naive driver is closed")

// Apply copies records into the buffer; see ingest.SackWriter.
func (w *writer) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	var rejects []ingest.Reject
	for i := range records {
		d := &records[i]
		if d.Offset < w.next {
			continue
		}
		if d.Err == nil {
			refused, err := w.keep(ctx, d)
			if err != nil {
				return nil, err
			}
			rejects = append(rejects, refused...)
		}
		w.next = d.Offset + 1
	}
	return rejects, nil
}

// keep copies one record, without the entries whose policy does not exist.
func (w *writer) keep(ctx context.Context, d *ingest.Delivery) ([]ingest.Reject, error) {
	r := record{kind: d.Record.Kind, metric: d.Record.Metric}
	var rejects []ingest.Reject
	for i, e := range d.Record.Entries {
		policy, err := w.driver.policies.Policy(ctx, e.Policy)
		switch {
		case errors.Is(err, ingest.ErrNoPolicy):
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i,
				Reason: fmt.Sprintf("archive policy %q does not exist", e.Policy)})
		case err != nil:
			return nil, fmt.Errorf("cannot look up archive policy %q: %w", e.Policy, err)
		case len(e.Measures) > 0 && w.isDeleted(e.Metric):
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i, Deleted: true,
				Reason: "metric was deleted before"})
		default:
			r.entries = append(r.entries, entry{e.Metric, policy, slices.Clone(e.Measures)})
		}
	}
	if r.kind == ingest.RecordDelete {
		w.gone[r.metric] = true
	}
	w.buffer = append(w.buffer, r)
	return rejects, nil
}

// isDeleted says whether a record before this one has deleted a metric.
func (w *writer) isDeleted(id ingest.MetricID) bool {
	w.driver.mu.RLock()
	defer w.driver.mu.RUnlock()
	h := w.driver.metrics[id]
	return w.gone[id] || h != nil && h.deleted
}

// Flush records what was applied; see ingest.SackWriter.
func (w *writer) Flush(ctx context.Context, to ingest.Watermark) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	d := w.driver
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.sack.owner != w {
		w.buffer = nil
		return nil, ingest.ErrFenced
	}
	for _, r := range w.buffer {
		switch r.kind {
		case ingest.RecordMeasures:
			d.record(r.entries)
		case ingest.RecordDelete:
			*d.history(r.metric) = history{deleted: true}
		}
	}
	w.buffer = nil
	if to.Offset > w.sack.applied.Offset {
		w.sack.applied = to.Clone()
	}
	return nil, nil
}

// Confirm returns the watermark; see ingest.SackWriter.
func (w *writer) Confirm(ctx context.Context) (ingest.Offset, error) {
	w.driver.mu.RLock()
	defer w.driver.mu.RUnlock()
	if err := w.driver.usable(ctx); err != nil {
		return 0, err
	}
	if w.sack.owner != w {
		return 0, ingest.ErrFenced
	}
	return w.sack.applied.Offset, nil
}

// Epoch counts the sack's owners.
func (w *writer) Epoch() uint64 { return w.epoch }

// record judges all entries of one record against the state before it, and only
// then changes it. The caller holds mu.
func (d *Driver) record(entries []entry) {
	horizons := make([]int64, len(entries))
	for i, e := range entries {
		horizons[i] = ingest.MinTime // the first record of a metric drops nothing
		if newest, ok := d.history(e.metric).newest(); ok {
			horizons[i] = e.policy.Horizon(newest)
		}
	}
	for i, e := range entries {
		h := d.history(e.metric)
		if h.deleted {
			continue
		}
		for _, m := range e.measures {
			if m.Time < horizons[i] {
				h.late++
			} else {
				h.put(m)
			}
		}
	}
}

// Buffered guesses at the memory that the buffer takes.
func (w *writer) Buffered() int64 {
	n := int64(0)
	for _, r := range w.buffer {
		n += 64
		for _, e := range r.entries {
			n += 32 + 16*int64(len(e.measures))
		}
	}
	return n
}

// Maintain has nothing to do.
func (w *writer) Maintain(ctx context.Context) error {
	w.driver.mu.RLock()
	defer w.driver.mu.RUnlock()
	if w.closed {
		return errWriterClosed
	}
	if w.sack.owner != w {
		return ingest.ErrFenced
	}
	return ctx.Err()
}

// Close forgets what was not flushed.
func (w *writer) Close() error {
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	w.closed, w.buffer = true, nil
	return nil
}

func (w *writer) usable(ctx context.Context) error {
	w.driver.mu.RLock()
	defer w.driver.mu.RUnlock()
	if w.closed {
		return errWriterClosed
	}
	return w.driver.usable(ctx)
}
