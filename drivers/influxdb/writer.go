package influxdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"millrace/ingest"
)

// A writer keeps what was applied until it is flushed.
type writer struct {
	driver *Driver
	sack   ingest.Sack
	nonce  int64 // the nanosecond of the day at which this tenure writes its watermarks

	next     ingest.Offset                     // everything before it has been applied
	gone     map[ingest.MetricID]ingest.Offset // deleted metrics, by which record
	buffer   buffer
	buried   []tombstone // deleted since the last flush
	progress progress
	doubtful func() // tells that a write whose outcome isn't known has ended; nil: there is none
	follower *follower
	scratch  lookup

	maintaining sync.Mutex // held while Maintain follows

	mu      sync.Mutex // of what Maintain looks at
	closed  bool
	flushed ingest.Watermark // as written last
	wrote   int64            // the day of that
}

var errWriterClosed = errors.New("this writer of the InfluxDB driver is closed")

func newWriter(d *Driver, sack ingest.Sack, at ingest.Watermark, gone map[ingest.MetricID]ingest.Offset) *writer {
	return &writer{driver: d, sack: sack, nonce: newNonce(), next: at.Offset, gone: gone, flushed: at.Clone(),
		follower: newFollower(d, sack)}
}

// Apply copies records into the buffer; see ingest.SackWriter. Its errors leave the
// writer as it was.
func (w *writer) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	found, err := w.lookUp(ctx, records)
	if err != nil {
		return nil, ingest.Unharmed(err)
	}
	var rejects []ingest.Reject
	for i := range records {
		d := &records[i]
		if d.Offset < w.next {
			continue
		}
		if d.Err == nil {
			rejects = w.keep(d, found, rejects)
		}
		w.next = d.Offset + 1
	}
	return rejects, nil
}

// keep copies one record, without the entries that are refused. It takes what was found of
// its entries off the list.
func (w *writer) keep(d *ingest.Delivery, found *lookup, rejects []ingest.Reject) []ingest.Reject {
	b := &w.buffer
	if len(d.Record.Entries) > 0 {
		b.records = append(b.records, recordPart{d.Offset, d.Record.AcceptedAt, d.Record.Project})
		b.size += recordSize
	}
	for i := range d.Record.Entries {
		e := &d.Record.Entries[i]
		series, policy := found.next()
		of := &b.series[series]
		switch {
		case policy < 0:
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i,
				Reason: fmt.Sprintf("archive policy %q does not exist", e.Policy)})
		case len(e.Measures) == 0:
		case of.isGone && of.gone < d.Offset || of.text == "":
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i, Deleted: true,
				Reason: "metric was deleted before"})
		default:
			b.add(i, series, policy, e.Measures)
		}
	}
	if d.Record.Kind == ingest.RecordDelete {
		w.bury(tombstone{d.Record.Metric, d.Offset})
	}
	return rejects
}

// bury remembers that a metric was deleted. What is buffered of it isn't written.
func (w *writer) bury(t tombstone) {
	if _, again := w.gone[t.metric]; !again {
		w.gone[t.metric] = t.offset
	}
	if number, here := w.buffer.numbers[t.metric]; here {
		s := &w.buffer.series[number]
		s.gone, s.isGone = w.gone[t.metric], true
	}
	w.buried = append(w.buried, t)
	w.buffer.size += 64
}

// Confirm reads the watermark back; see ingest.SackWriter.
func (w *writer) Confirm(ctx context.Context) (ingest.Offset, error) {
	if err := w.usable(ctx); err != nil {
		return 0, err
	}
	marks, err := w.driver.readWatermarks(ctx, []ingest.Sack{w.sack})
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := marks[w.sack].Offset
	if at < w.flushed.Offset {
		w.driver.wentBack(w.sack, at)
		w.forget()
		return 0, fmt.Errorf("%w: sack %d was flushed up to %d, and InfluxDB has it up to %d", ingest.ErrWentBack, w.sack,
			w.flushed.Offset, at)
	}
	return at, nil
}

// Buffered is about what the buffer takes.
func (w *writer) Buffered() int64 { return w.buffer.size }

// Epoch is 0: nobody is fenced.
func (w *writer) Epoch() uint64 { return 0 }

// Maintain renews the watermark and says what metrics are called.
func (w *writer) Maintain(ctx context.Context) error {
	if err := w.usable(ctx); err != nil {
		return err
	}
	if err := w.renew(ctx); err != nil {
		return err
	}
	w.maintaining.Lock()
	defer w.maintaining.Unlock()
	return w.follower.follow(ctx)
}

// renew writes the watermark again once a day, so that the bucket's retention doesn't take
// it while nothing is written, and then forgets the old ones.
func (w *writer) renew(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	today := dayOf(time.Now())
	if w.closed || w.flushed.Offset == 0 || w.wrote >= today {
		return nil
	}
	if err := w.mark(ctx, &w.flushed); err != nil {
		return err
	}
	sack := fmt.Sprint(w.sack)
	err := w.driver.deleteRange(ctx, watermarks, "sack", sack, minTime, today-int64(7*day))
	if err == nil {
		err = w.driver.deleteRange(ctx, deletions, "sack", sack, minTime, today-int64(tombstoneAge))
	}
	if err != nil {
		return failed("forget old watermarks", err)
	}
	return nil
}

// mark writes a watermark. The caller holds mu.
func (w *writer) mark(ctx context.Context, at *ingest.Watermark) error {
	today := dayOf(time.Now())
	if err := w.driver.writeWatermark(ctx, w.sack, at, today+w.nonce); err != nil {
		return err
	}
	w.wrote = today
	return nil
}

// Close forgets what was not flushed.
func (w *writer) Close() error {
	w.maintaining.Lock()
	defer w.maintaining.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.forget()
		w.driver.released(w.sack)
	}
	return nil
}

// forget empties the buffer.
func (w *writer) forget() {
	if w.doubtful != nil {
		w.doubtful()
		w.doubtful = nil
	}
	w.buried, w.progress = nil, progress{}
	w.buffer.forget()
}

func (w *writer) usable(ctx context.Context) error {
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return errWriterClosed
	}
	return w.driver.usable(ctx)
}
