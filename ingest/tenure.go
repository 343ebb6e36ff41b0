package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// A tenure is one ownership of one sack. Three goroutines share it: fetch reads
// ahead, apply (which owns every field that changes) applies and flushes, maintain
// does the housekeeping.
type tenure struct {
	*Worker
	sack   Sack
	writer SackWriter
	log    *slog.Logger

	next    Offset // everything before it has been given to the writer
	flushed Offset // everything before it is durable
	due     time.Time
	wanted  Offset // a nudge asks for the flush of everything before it
	traces  []tracedRecord
	counts  applyCounts // since the last flush

	fetched     chan fetched
	free        chan *Deliveries
	flushedOnce chan struct{} // capacity 1: something was flushed since maintain looked
}

type fetched struct {
	records *Deliveries
	err     error
}

// fetch reads the log ahead of apply, two buffers deep.
func (t *tenure) fetch(ctx context.Context, from Offset) {
	t.free <- new(Deliveries)
	t.free <- new(Deliveries)
	for {
		var buffer *Deliveries
		select {
		case buffer = <-t.free:
		case <-ctx.Done():
			return
		}
		err := t.source.Fetch(ctx, t.sack, from, buffer)
		if n := len(buffer.List); err == nil && n > 0 {
			from = buffer.List[n-1].Offset + 1
		}
		select {
		case t.fetched <- fetched{buffer, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// apply gives what is fetched to the writer and flushes it when it is due: after
// the interval, at a size, or when somebody waits. When ctx ends it flushes once
// more.
func (t *tenure) apply(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if t.flushIsDue() {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		if t.next > t.flushed {
			timer.Reset(time.Until(t.due))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return t.flush(ctx)
		case <-timer.C:
		case <-t.progress.woken(t.sack):
			if t.progress.takeNudge(t.sack) { // what is here is what was meant
				t.wanted = max(t.wanted, t.next)
			}
		case f := <-t.fetched:
			if f.err != nil {
				if ctx.Err() != nil {
					return t.flush(ctx)
				}
				return fmt.Errorf("cannot fetch sack %d: %w", t.sack, f.err)
			}
			if err := t.take(ctx, f.records); err != nil {
				return err
			}
			t.free <- f.records
		}
	}
}

func (t *tenure) flushIsDue() bool {
	if t.next <= t.flushed {
		return false
	}
	return !time.Now().Before(t.due) || t.wanted > t.flushed && t.next >= t.wanted ||
		t.writer.Buffered() >= t.config.FlushBytes || t.flushIsAwaited()
}

// flushIsAwaited says whether somebody waits for what is here. Those who wait for
// more are served by the same flush if the log has it; it need not: a token may
// name a place that the log has lost.
func (t *tenure) flushIsAwaited() bool {
	here, beyond := t.progress.awaited(t.sack, t.next)
	if here && beyond {
		more, _ := t.source.Backlog(t.sack, t.next)
		return more == 0
	}
	return here
}

// take applies records, having put aside what can't be. Half-applied is worse than
// late: once begun, it is not given up when ctx ends.
func (t *tenure) take(ctx context.Context, records *Deliveries) error {
	list := records.List
	if len(list) == 0 {
		return nil
	}
	if t.next == t.flushed {
		t.due = time.Now().Add(t.config.FlushInterval)
		t.progress.pending(t.sack, acceptedAt(list), time.Now())
	}
	var letters []DeadLetter
	for i := range list {
		d := &list[i]
		if d.Err != nil {
			letters = append(letters, t.unreadable(d))
			continue
		}
		letters = append(letters, t.fromTheFuture(d)...)
		t.counts.measures += int64(measuresOf(d))
		if d.Record.Kind == RecordNudge {
			t.wanted = max(t.wanted, d.Offset+1)
		}
		if d.Record.Trace != "" && len(t.traces) < maxTraces {
			t.traces = append(t.traces, tracedRecord{d.Record.Trace, d.Record.AcceptedAt})
		}
	}
	work, cancel := t.patience(ctx)
	defer cancel()
	rejects, err := t.writer.Apply(work, list)
	if err != nil {
		return fmt.Errorf("cannot apply records of sack %d from offset %d: %w", t.sack, list[0].Offset, err)
	}
	for _, r := range rejects {
		letters = append(letters, t.rejected(list, r))
	}
	// Before any flush can move the watermark past them.
	if len(letters) > 0 {
		if err := t.letters.Add(work, letters); err != nil {
			return fmt.Errorf("cannot put aside %d dead letters of sack %d: %w", len(letters), t.sack, err)
		}
		t.counts.letters += int64(len(letters))
		t.log.Warn("put aside what could not be applied", "dead_letters", len(letters), "first", letters[0].ID, "reason", letters[0].Reason)
	}
	t.counts.records += int64(len(list))
	t.next = list[len(list)-1].Offset + 1
	return nil
}

// flush makes what was applied durable and tells everybody. It is not given up
// when ctx ends.
func (t *tenure) flush(ctx context.Context) error {
	if t.next <= t.flushed {
		return nil
	}
	began := time.Now()
	bytes := t.writer.Buffered()
	work, cancel := t.patience(ctx)
	defer cancel()
	watermark, err := t.persist(work)
	if err != nil {
		return fmt.Errorf("cannot flush sack %d: %w", t.sack, err)
	}
	t.flushed = watermark
	t.progress.set(t.sack, watermark)
	t.source.Applied(t.sack, watermark)
	t.metrics.flushed(work, t.counts, bytes, time.Since(began))
	t.trace()
	t.counts = applyCounts{}
	select {
	case t.flushedOnce <- struct{}{}:
	default:
	}
	return nil
}

// stopTimeout bounds what a worker that is told to stop may still do: the log has
// whatever it does not get done.
const stopTimeout = 10 * time.Second

// patience returns a context for work that is not given up when ctx ends, not at
// once: it has until FlushTimeout, or until stopTimeout after ctx's end.
func (t *tenure) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.config.FlushTimeout)
	done := context.AfterFunc(ctx, func() {
		hurry := time.AfterFunc(stopTimeout, cancel)
		context.AfterFunc(work, func() { hurry.Stop() })
	})
	return work, func() { done(); cancel() }
}

// persist tries a flush again while its outcome is unknown: the buffer is still
// good, and reading all of it from the log again costs more.
func (t *tenure) persist(ctx context.Context) (Offset, error) {
	pause := t.config.BackoffMin
	for {
		watermark, err := t.writer.Flush(ctx)
		if err == nil || errors.Is(err, ErrFenced) || IsPermanent(err) {
			return watermark, err
		}
		t.metrics.failed(ctx, err)
		t.progress.stalled(t.sack, time.Now(), err)
		t.log.Error("cannot flush; trying again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(pause):
		}
		pause = min(2*pause, t.config.BackoffMax)
	}
}

// maintain does the back-end's housekeeping after flushes, and now and then. It
// returns an error only when the tenure is over: fenced.
func (t *tenure) maintain(ctx context.Context) error {
	pause := t.config.BackoffMin
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.flushedOnce:
		case <-time.After(t.config.MaintainEvery):
		}
		if t.chores.Acquire(ctx, 1) != nil {
			return nil
		}
		began := time.Now()
		err := t.writer.Maintain(ctx)
		t.chores.Release(1)
		switch {
		case err == nil:
			t.metrics.maintained(ctx, time.Since(began))
			pause = t.config.BackoffMin
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrFenced):
			return fmt.Errorf("cannot maintain sack %d: %w", t.sack, err)
		}
		t.metrics.failed(ctx, err)
		t.log.Error("cannot do the housekeeping; trying again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, t.config.BackoffMax)
		select {
		case t.flushedOnce <- struct{}{}:
		default:
		}
	}
}

// unreadable makes the letter of a record whose bytes make no sense.
func (t *tenure) unreadable(d *Delivery) DeadLetter {
	return DeadLetter{
		ID: DeadLetterID(t.sack, d.Offset, 0), Sack: t.sack, Offset: d.Offset, RejectedAt: time.Now().UTC(),
		Reason: "record can't be decoded: " + d.Err.Error(), Raw: append([]byte(nil), d.Raw...),
	}
}

// futureEntry keeps the ids of letters for measures from the future apart from
// those of the same entry's refusal by the driver. It is above any entry's index.
const futureEntry = 1 << 20

// fromTheFuture takes measures out of a record that are too far ahead of its
// acceptance, whoever wrote it: one such measure would make everything true that
// follows late.
func (t *tenure) fromTheFuture(d *Delivery) []DeadLetter {
	r := &d.Record
	if t.config.MaxFuture < 0 || r.Kind != RecordMeasures || r.AcceptedAt.IsZero() { // nobody can say ahead of what
		return nil
	}
	limit := r.AcceptedAt.UnixNano() + int64(t.config.MaxFuture)
	var letters []DeadLetter
	for i := range r.Entries {
		e := &r.Entries[i]
		if !anyAfter(e.Measures, limit) { // Fast path.
			continue
		}
		letter := t.letter(d, i)
		letter.ID = DeadLetterID(t.sack, d.Offset, futureEntry+i)
		letter.Reason = fmt.Sprintf("timestamp is more than %s after the record was accepted", t.config.MaxFuture)
		kept := e.Measures[:0]
		for _, m := range e.Measures {
			if m.Time > limit {
				letter.Measures = append(letter.Measures, m)
			} else {
				kept = append(kept, m)
			}
		}
		e.Measures = kept
		letters = append(letters, letter)
	}
	return letters
}

// rejected makes the letter of an entry that the driver refused.
func (t *tenure) rejected(list []Delivery, r Reject) DeadLetter {
	for i := range list {
		if list[i].Offset == r.Offset {
			letter := t.letter(&list[i], r.Entry)
			letter.Reason = r.Reason
			letter.Measures = append(letter.Measures, list[i].Record.Entries[r.Entry].Measures...)
			return letter
		}
	}
	panic(fmt.Sprintf("BUG: driver rejects a record at %d that it was not given", r.Offset))
}

// letter addresses a letter for one entry, without its reason and measures.
func (t *tenure) letter(d *Delivery, entry int) DeadLetter {
	e := &d.Record.Entries[entry]
	return DeadLetter{
		ID: DeadLetterID(t.sack, d.Offset, entry), Sack: t.sack, Offset: d.Offset,
		AcceptedAt: d.Record.AcceptedAt, RejectedAt: time.Now().UTC(),
		Project: d.Record.Project, Metric: e.Metric, Policy: e.Policy,
	}
}

// acceptedAt is when the first of the records was accepted that can be read; zero
// when none can.
func acceptedAt(list []Delivery) time.Time {
	for i := range list {
		if list[i].Err == nil {
			return list[i].Record.AcceptedAt
		}
	}
	return time.Time{}
}

func measuresOf(d *Delivery) int {
	n := 0
	for i := range d.Record.Entries {
		n += len(d.Record.Entries[i].Measures)
	}
	return n
}
