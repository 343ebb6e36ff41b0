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
	entries  entryList
	arena    []ingest.Measure // what the entries' measures are cut from
	buried   []tombstone      // deleted since the last flush
	buffered int64
	progress progress
	follower *follower

	maintaining sync.Mutex // held while Maintain follows

	mu      sync.Mutex // of what Maintain looks at
	closed  bool
	flushed ingest.Watermark // as written last
	wrote   int64            // the day of that
}

// An entry is a copy of an entry of a record.
type entry struct {
	record   *recordPart
	index    int // in the record's entries
	policy   string
	metric   ingest.MetricID
	series   string // what begins its lines
	measures []ingest.Measure
}

// A recordPart is what a record's entries have in common.
type recordPart struct {
	offset     ingest.Offset
	acceptedAt time.Time
	project    string
}

// An entryList keeps entries in chunks, which nothing has to be copied for as it grows. The
// chunks that a flush has filled serve the next; after a smaller one, the others are let go.
type entryList struct {
	chunks []*[entriesPerChunk]entry
	n      int
}

const entriesPerChunk = 256

func (l *entryList) add(e entry) {
	if l.n == len(l.chunks)*entriesPerChunk {
		l.chunks = append(l.chunks, new([entriesPerChunk]entry))
	}
	*l.at(l.n) = e
	l.n++
}

func (l *entryList) at(i int) *entry { return &l.chunks[i/entriesPerChunk][i%entriesPerChunk] }

func (l *entryList) forget() {
	used := (l.n + entriesPerChunk - 1) / entriesPerChunk
	for _, chunk := range l.chunks[:used] {
		clear(chunk[:])
	}
	clear(l.chunks[used:])
	l.chunks, l.n = l.chunks[:used], 0
}

var errWriterClosed = errors.New("this writer of the InfluxDB driver is closed")

func newWriter(d *Driver, sack ingest.Sack, at ingest.Watermark, gone map[ingest.MetricID]ingest.Offset) *writer {
	return &writer{driver: d, sack: sack, nonce: newNonce(), next: at.Offset, gone: gone, flushed: at.Clone(),
		follower: newFollower(d)}
}

// Apply copies records into the buffer; see ingest.SackWriter. Its errors leave the
// writer as it was.
func (w *writer) Apply(ctx context.Context, records []ingest.Delivery) ([]ingest.Reject, error) {
	if err := w.usable(ctx); err != nil {
		return nil, err
	}
	series := make(map[ingest.MetricID]string)
	unknown := make(map[string]bool) // policies, and whether each is missing
	for i := range records {
		d := &records[i]
		if d.Offset < w.next || d.Err != nil {
			continue
		}
		for j := range d.Record.Entries {
			e := &d.Record.Entries[j]
			series[e.Metric] = ""
			unknown[e.Policy] = false
		}
	}
	for name := range unknown {
		_, err := w.driver.policies.Policy(ctx, name)
		if unknown[name] = errors.Is(err, ingest.ErrNoPolicy); err != nil && !unknown[name] {
			return nil, ingest.Unharmed(fmt.Errorf("cannot look up archive policy %q: %w", name, err))
		}
	}
	if err := w.driver.series.find(ctx, series); err != nil {
		return nil, ingest.Unharmed(err)
	}
	w.follower.saw(series)
	var rejects []ingest.Reject
	for i := range records {
		d := &records[i]
		if d.Offset < w.next {
			continue
		}
		if d.Err == nil {
			rejects = w.keep(d, series, unknown, rejects)
		}
		w.next = d.Offset + 1
	}
	return rejects, nil
}

// keep copies one record, without the entries that are refused.
func (w *writer) keep(d *ingest.Delivery, series map[ingest.MetricID]string, unknown map[string]bool,
	rejects []ingest.Reject) []ingest.Reject {
	record := &recordPart{d.Offset, d.Record.AcceptedAt, d.Record.Project}
	for i := range d.Record.Entries {
		e := &d.Record.Entries[i]
		by, gone := w.gone[e.Metric]
		switch gone = gone && by < d.Offset; {
		case unknown[e.Policy]:
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i,
				Reason: fmt.Sprintf("archive policy %q does not exist", e.Policy)})
		case len(e.Measures) == 0:
		case gone || series[e.Metric] == "":
			rejects = append(rejects, ingest.Reject{Offset: d.Offset, Entry: i, Deleted: true,
				Reason: "metric was deleted before"})
		default:
			w.entries.add(entry{record, i, e.Policy, e.Metric, series[e.Metric], w.copied(e.Measures)})
			w.buffered += 128 + 16*int64(len(e.Measures))
		}
	}
	if d.Record.Kind == ingest.RecordDelete {
		w.bury(tombstone{d.Record.Metric, d.Offset})
	}
	return rejects
}

// arenaSize is how many measures are made room for at once.
const arenaSize = 4096

// copied copies measures into the arena.
func (w *writer) copied(list []ingest.Measure) []ingest.Measure {
	if len(list) > cap(w.arena)-len(w.arena) {
		w.arena = make([]ingest.Measure, 0, max(arenaSize, len(list)))
	}
	from := len(w.arena)
	w.arena = append(w.arena, list...)
	return w.arena[from:len(w.arena):len(w.arena)]
}

// bury remembers that a metric was deleted. What is buffered of it isn't written.
func (w *writer) bury(t tombstone) {
	if _, again := w.gone[t.metric]; !again {
		w.gone[t.metric] = t.offset
	}
	w.buried = append(w.buried, t)
	w.buffered += 64
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
func (w *writer) Buffered() int64 { return w.buffered }

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
	w.arena, w.buried, w.buffered, w.progress = nil, nil, 0, progress{}
	w.entries.forget()
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
