package influxdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
)

// A place names a measure of the buffer: an entry, and which of its measures.
type place struct{ entry, measure int }

// progress is how far the flush of a buffer has come, over several tries.
type progress struct {
	at      place            // everything before it is durable, or refused
	refused map[place]string // why, since rejects were handed over last
	passed  map[place]bool   // refused before that
}

// Flush writes the buffer and then the watermark; see ingest.SackWriter.
func (w *writer) Flush(ctx context.Context, to ingest.Watermark) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	if err := w.writeEntries(ctx); err != nil {
		return nil, err
	}
	if rejects := w.takeRejects(); len(rejects) > 0 {
		return rejects, nil
	}
	if err := w.deleteBuried(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if to.Offset > w.flushed.Offset {
		if err := pause(ctx, w.driver.config.FsyncDelay); err != nil {
			return nil, err
		}
		if err := w.mark(ctx, &to); err != nil {
			return nil, err
		}
		w.flushed = to.Clone()
	}
	w.forget()
	return nil, nil
}

// pause waits for a time.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A batch is some lines, and which measure is in which.
type batch struct {
	text  []byte
	ends  []int // of lines, in text
	which []place

	special bool // there is a value that InfluxDB has no number for
}

// lines returns the text of some lines.
func (b *batch) lines(from, to int) []byte {
	start := 0
	if from > 0 {
		start = b.ends[from-1]
	}
	return b.text[start:b.ends[to-1]]
}

// writeEntries writes what has not been written yet, batch by batch.
func (w *writer) writeEntries(ctx context.Context) error {
	for w.progress.at.entry < w.buffer.entries.n {
		if err := w.writeBatch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// writeBatch writes the next batch, when it is its turn: there are only so many batches, of
// all sacks.
func (w *writer) writeBatch(ctx context.Context) (err error) {
	var b *batch
	select {
	case b = <-w.driver.batches:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { w.driver.batches <- b }()
	next := w.fill(b)
	if b.special {
		ended := w.driver.writesSpecials(w.sack)
		defer func() { w.ended(ended, err) }()
	}
	if len(b.ends) > 0 {
		if err := w.send(ctx, b, 0, len(b.ends)); err != nil {
			return err
		}
	}
	w.progress.at = next
	return nil
}

// ended tells of the end of a write of values there is no number for. One that has failed may
// happen yet: it hasn't ended until the buffer is durable.
func (w *writer) ended(tell func(), err error) {
	if err != nil && w.doubtful == nil {
		w.doubtful = tell
		return
	}
	tell()
}

// fill encodes the next batch, and returns the place behind it.
func (w *writer) fill(b *batch) place {
	b.text, b.ends, b.which, b.special = b.text[:0], b.ends[:0], b.which[:0], false
	at, size := w.progress.at, w.driver.batchBytes()
	for ; at.entry < w.buffer.entries.n; at = (place{at.entry + 1, 0}) {
		e := w.buffer.entries.at(at.entry)
		series, measures := &w.buffer.series[e.series], w.buffer.of(e)
		if series.isGone && series.gone > w.buffer.records[e.record].offset {
			continue
		}
		for ; at.measure < len(measures); at.measure++ {
			if len(b.ends) >= w.driver.config.BatchLines || len(b.text) >= size {
				return at
			}
			m := measures[at.measure]
			if m.Time < minTime || m.Time > maxTime {
				w.refuse(at, "InfluxDB can't store this time")
			}
			if w.progress.passed[at] || w.progress.refused[at] != "" {
				continue
			}
			b.special = b.special || specialOf(m.Value) != specialNone
			b.text = AppendMeasure(b.text, series.text, m)
			b.ends, b.which = append(b.ends, len(b.text)), append(b.which, at)
		}
	}
	return at
}

// send writes some lines of a batch. Those that are refused for good it finds, by
// halving where the server doesn't name them, and writes the others: a line that is
// written twice is the same point.
func (w *writer) send(ctx context.Context, b *batch, from, to int) error {
	err := w.driver.writeLines(ctx, b.lines(from, to))
	if err == nil {
		w.driver.metrics.written.Add(ctx, int64(to-from))
		return nil
	}
	e, ok := errors.AsType[*statusError](err)
	if !ok || !e.blamesLines() {
		return failed(fmt.Sprintf("write %d points of sack %d", to-from, w.sack), err)
	}
	if e.status == http.StatusRequestEntityTooLarge {
		w.driver.tooLarge(len(b.lines(from, to)))
	}
	switch {
	case to-from == 1 || e.dropped() == to-from:
		for i := from; i < to; i++ {
			w.refuse(b.which[i], "InfluxDB refuses it: "+e.message)
		}
		return nil
	case e.line > 0 && e.line <= to-from:
		return w.sendAround(ctx, b, from, from+e.line-1, to)
	}
	return w.sendAround(ctx, b, from, from, to)
}

// batchBytes is how many bytes to put into one write, roughly.
func (d *Driver) batchBytes() int {
	if fewer := int(d.fewer.Load()); fewer > 0 {
		return min(fewer, d.config.BatchBytes)
	}
	return d.config.BatchBytes
}

// tooLarge remembers that the server has found a write too large.
func (d *Driver) tooLarge(size int) {
	if half := size / 2; half < d.batchBytes() {
		d.fewer.Store(int64(max(half, 1)))
	}
}

// sendAround writes the line that the server blames alone, and the others without it;
// or two halves, where it blames the first or none.
func (w *writer) sendAround(ctx context.Context, b *batch, from, blamed, to int) error {
	cuts := []int{from, blamed, blamed + 1, to}
	if blamed == from {
		cuts = []int{from, from + (to-from)/2, to}
	}
	for i := range len(cuts) - 1 {
		if cuts[i] == cuts[i+1] {
			continue
		}
		if err := w.send(ctx, b, cuts[i], cuts[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// blamesLines says whether some of the lines are to blame, and not the server's state.
func (e *statusError) blamesLines() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return !strings.Contains(e.message, "limit exceeded") && !strings.Contains(e.message, "is required")
	case http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

var droppedCount = regexp.MustCompile(`partial write: .* dropped=(\d+)$`)

// dropped is how many points of a write the server says it has dropped, the others being
// stored; 0: it doesn't say.
func (e *statusError) dropped() int {
	found := droppedCount.FindStringSubmatch(e.message)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return 0
	}
	return n
}

// refuse puts a measure among the rejects.
func (w *writer) refuse(at place, reason string) {
	if w.progress.passed[at] {
		return
	}
	if w.progress.refused == nil {
		w.progress.refused = make(map[place]string)
	}
	w.progress.refused[at] = reason
}

// takeRejects returns what was refused, in the order of the log: a reject for each entry
// and reason.
func (w *writer) takeRejects() []ingest.Reject {
	places := make([]place, 0, len(w.progress.refused))
	for at := range w.progress.refused {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.entry != b.entry {
			return a.entry - b.entry
		}
		return a.measure - b.measure
	})
	var rejects []ingest.Reject
	for i, at := range places {
		e, reason := w.buffer.entries.at(at.entry), w.progress.refused[at]
		if i == 0 || places[i-1].entry != at.entry || rejects[len(rejects)-1].Reason != reason {
			record := &w.buffer.records[e.record]
			rejects = append(rejects, ingest.Reject{Offset: record.offset, Entry: int(e.index), Reason: reason,
				Part: &ingest.RejectedPart{
					AcceptedAt: record.acceptedAt, Project: record.project, Metric: w.buffer.series[e.series].metric,
					Policy: w.buffer.policies[e.policy],
				}})
		}
		part := rejects[len(rejects)-1].Part
		part.Measures = append(part.Measures, w.buffer.of(e)[at.measure])
		if w.progress.passed == nil {
			w.progress.passed = make(map[place]bool)
		}
		w.progress.passed[at] = true
	}
	w.progress.refused = nil
	w.driver.metrics.refused.Add(context.Background(), int64(len(places)))
	return rejects
}

// deletesAtOnce is how many metrics are deleted at the same time.
const deletesAtOnce = 4

// deleteBuried deletes the metrics that were deleted since the last flush. What has been
// done needn't be again when the flush is tried again.
func (w *writer) deleteBuried(ctx context.Context) error {
	if len(w.buried) == 0 {
		return nil
	}
	if err := w.driver.writeTombstones(ctx, w.sack, w.buried, time.Now().UnixNano()); err != nil {
		return err
	}
	defer w.follower.forget(w.buried)()
	for len(w.buried) > 0 {
		some := w.buried[:min(deletesAtOnce, len(w.buried))]
		group, ctx := errgroup.WithContext(ctx)
		for _, t := range some {
			group.Go(func() error { return w.driver.deleteMetric(ctx, t.metric) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		w.buried = w.buried[len(some):]
	}
	return nil
}
