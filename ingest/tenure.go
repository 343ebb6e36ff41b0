package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// A tenure is one ownership of one sack. Three goroutines share it: fetch (fetch.go)
// reads ahead, apply (which owns every field that changes) applies and flushes,
// maintain (chores.go) does the housekeeping.
type tenure struct {
	*Worker
	sack   Sack
	writer SackWriter
	live   bool   // what is applied can be read here, without a flush
	sealer Sealer // the writer; nil: it doesn't aggregate later
	log    *slog.Logger

	at        Watermark // everything before it has been given to the writer
	flushed   Offset    // everything before it is durable in the back-end
	due       time.Time // when the next flush is, if anything waits for it
	last      time.Time // when the last flush ended
	wanted    Offset    // a nudge asks for the flush of everything before it
	urged     bool      // memory asks for a flush
	traces    traces
	counts    applyCounts // since the last flush
	unsettled []settling  // flushed, and not yet the log's to forget

	fetched     chan fetched
	free        chan *Deliveries
	flushedOnce chan struct{} // capacity 1: something was flushed since maintain looked
}

func newTenure(w *Worker, sack Sack, writer SackWriter, start Watermark) *tenure {
	_, live := w.driver.(LiveReader)
	sealer, _ := writer.(Sealer)
	return &tenure{
		sealer: sealer, traces: traces{tracer: w.tracer, sack: sack},
		Worker: w, sack: sack, writer: writer, live: live, log: w.log.With("sack", sack), at: start, flushed: start.Offset,
		fetched: make(chan fetched), free: make(chan *Deliveries, 2), flushedOnce: make(chan struct{}, 1),
	}
}

// apply gives what is fetched to the writer and flushes it when it is due: after
// the interval, at a size, or when somebody waits. When ctx ends it flushes once
// more.
func (t *tenure) apply(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	confirm, stopConfirming := t.confirmations()
	defer stopConfirming()
	urge := t.tables.urge(t.sack)
	for {
		if t.flushIsDue(ctx) {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		if t.at.Offset > t.flushed {
			timer.Reset(time.Until(t.nextLook()))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return t.flush(ctx)
		case <-timer.C:
		case <-confirm:
			if err := t.confirm(ctx); err != nil {
				return err
			}
		case <-urge:
			t.urged = true
		case <-t.progress.woken(t.sack):
			if t.progress.takeNudge(t.sack) { // what is here is what was meant
				t.wanted = max(t.wanted, t.at.Offset)
			}
		case f := <-t.fetched:
			if f.err != nil {
				if ctx.Err() != nil {
					return t.flush(ctx)
				}
				return f.err
			}
			if err := t.take(ctx, f.records); err != nil {
				return err
			}
			t.free <- f.records
		}
	}
}

// flushAfter is how long what a sack has from now on waits for its flush: half the interval
// at least, and the interval at most. While it flushes, a sack applies nothing, so the sacks
// take turns: each has a moment of the interval, which it comes to in two flushes at most.
// Else they would all flush at once, and all stand still until the last has got its share
// of the processors.
func flushAfter(interval time.Duration, now time.Time, sack, sacks int) time.Duration {
	moment := interval / time.Duration(sacks) * time.Duration(sack)
	past := time.Duration((now.UnixNano() - int64(moment)) % int64(interval))
	if past < 0 {
		past += interval
	}
	return interval - min(past, interval/2)
}

// nextLook is when flushIsDue may say something else although nothing has happened.
func (t *tenure) nextLook() time.Time {
	if nudge := t.last.Add(t.config.NudgeInterval); nudge.Before(t.due) && time.Now().Before(nudge) {
		return nudge
	}
	return t.due
}

func (t *tenure) flushIsDue(ctx context.Context) bool {
	if t.at.Offset <= t.flushed {
		t.urged = false
		return false
	}
	now := time.Now()
	if !now.Before(t.due) || t.writer.Buffered() >= t.config.FlushBytes || t.urged {
		return true
	}
	if now.Sub(t.last) < t.config.NudgeInterval {
		return false
	}
	return t.wanted > t.flushed && t.at.Offset >= t.wanted || t.flushIsAwaited(ctx)
}

// flushIsAwaited says whether somebody in this process waits for a flush of what is
// here. Those who wait for more are served by the same flush if the log has it; it
// need not: a token may name a place that the log has lost. Where what is applied can
// be read at once, nobody waits for a flush.
func (t *tenure) flushIsAwaited(ctx context.Context) bool {
	if t.live {
		return false
	}
	here, beyond := t.progress.awaited(t.sack, t.at.Offset)
	if here && beyond {
		ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
		defer cancel()
		more, err := t.source.Backlog(ctx, t.sack, t.at.Offset)
		return err != nil || more.Records == 0
	}
	return here
}

// take applies records, having put aside what can't be. Half-applied is worse than
// late: once begun, it is not given up when ctx ends.
func (t *tenure) take(ctx context.Context, records *Deliveries) error {
	if len(records.List) == 0 {
		return nil
	}
	t.tables.wait(ctx, t.sack)
	if t.live || t.at.Offset == t.flushed { // else older ones are waiting
		t.progress.pending(t.sack, acceptedAt(records.List), time.Now())
	}
	if t.at.Offset == t.flushed {
		now := time.Now()
		t.due = now.Add(flushAfter(t.config.FlushInterval, now, int(t.sack), len(t.progress.sacks)))
	}
	next := t.at.Clone()
	list := t.fresh(records.List, &next)
	var letters []DeadLetter
	for i := range list {
		letters = append(letters, t.look(&list[i])...)
	}
	rejects, err := t.applyPatiently(ctx, t.reaching(list, next.Offset))
	if err != nil {
		return err
	}
	if letters = append(letters, t.sort(list, rejects)...); len(letters) > 0 {
		if err := t.putAside(ctx, letters); err != nil { // before any flush can move the watermark past them
			return err
		}
	}
	t.counts.records += int64(len(list))
	t.at = next
	t.tables.set(t.sack, t.writer.Buffered())
	if t.live {
		t.progress.applied(t.sack, t.at.Offset)
	}
	return nil
}

// reaching adds a record that changes nothing to a list that doesn't go as far as it
// was taken from the log, because the last of it counts for nothing: what a driver shows
// live is at the position that it has been given.
func (t *tenure) reaching(list []Delivery, to Offset) []Delivery {
	if !t.live || to <= t.at.Offset || len(list) > 0 && list[len(list)-1].Offset+1 >= to {
		return list
	}
	return append(list[:len(list):len(list)], Delivery{Offset: to - 1, Record: Record{Kind: RecordNudge}})
}

// fresh moves at behind the deliveries and leaves out those that the log has twice.
func (t *tenure) fresh(list []Delivery, at *Watermark) []Delivery {
	kept := list[:0]
	for i := range list {
		if below := list[i].Offset < at.Offset; !at.Take(&list[i]) {
			if !below {
				t.counts.repeats++
			}
			continue
		}
		kept = append(kept, list[i])
	}
	return kept
}

// look counts what a record holds, and takes out of it what may not be applied.
func (t *tenure) look(d *Delivery) []DeadLetter {
	if d.Err != nil {
		return []DeadLetter{t.unreadable(d)}
	}
	letters := t.fromTheFuture(d)
	t.counts.measures += int64(measuresOf(d))
	if d.Record.Kind == RecordNudge {
		t.wanted = max(t.wanted, d.Offset+1)
	}
	t.traces.see(d)
	return letters
}

// applyPatiently gives records to the writer, again and again while that does no harm.
func (t *tenure) applyPatiently(ctx context.Context, list []Delivery) ([]Reject, error) {
	if len(list) == 0 {
		return nil, nil
	}
	backoff := t.newBackoff()
	for {
		work, cancel := t.patience(ctx)
		rejects, err := t.writer.Apply(work, list)
		cancel()
		if err == nil {
			return rejects, nil
		}
		err = fmt.Errorf("cannot apply records of sack %d from offset %d: %w", t.sack, list[0].Offset, err)
		if !IsUnharmed(err) {
			return nil, err
		}
		if err := t.hold(ctx, err, backoff); err != nil {
			return nil, err
		}
	}
}

// hold shows why the sack stands still and pauses before the next try; it returns
// err when ctx ends.
func (t *tenure) hold(ctx context.Context, err error, backoff *backoff) error {
	t.metrics.failed(ctx, err)
	t.progress.stalled(t.sack, time.Now(), err)
	// Sacks that fail for one reason, such as a disk that has room for one of them, must not
	// go on failing because they all try at the same moments.
	pause := backoff.next()
	wait := pause/2 + rand.N(pause/2+1)
	if after, ok := RetryAfterOf(err); ok {
		wait = max(wait, min(after, t.config.BackoffMax))
	}
	t.log.Error("the sack stands still; trying again", "err", err, "pause", wait)
	t.pauseAfter(ctx, err, wait)
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// flush makes what was applied durable and tells everybody. It is not given up
// when ctx ends.
func (t *tenure) flush(ctx context.Context) error {
	if t.at.Offset <= t.flushed {
		return nil
	}
	began := time.Now()
	bytes := t.writer.Buffered()
	work, cancel := t.patience(ctx)
	defer cancel()
	if err := t.persist(work); err != nil {
		return fmt.Errorf("cannot flush sack %d: %w", t.sack, err)
	}
	t.last = time.Now()
	t.flushed, t.urged = t.at.Offset, false
	t.metrics.flushed(ctx, t.counts, bytes, t.last.Sub(began))
	t.counts = applyCounts{}
	t.tables.set(t.sack, t.writer.Buffered())
	t.progress.set(t.sack, t.flushed)
	t.settle(t.flushed, t.last)
	t.assigner.Applied(t.sack, t.at)
	t.traces.flushed(t.sealer)
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
// good, and reading all of it from the log again costs more. What the back-end refuses
// is put aside before the flush that passes it.
func (t *tenure) persist(ctx context.Context) error {
	backoff := t.newBackoff()
	for {
		rejects, err := t.writer.Flush(ctx, t.at)
		switch {
		case err == nil && len(rejects) == 0:
			return nil
		case err == nil:
			if err := t.putAside(ctx, t.sort(nil, rejects)); err != nil {
				return err
			}
			continue
		case errors.Is(err, ErrFenced) || errors.Is(err, ErrWentBack) || IsPermanent(err):
			return err
		}
		if err := t.hold(ctx, fmt.Errorf("cannot flush: %w", err), backoff); err != nil {
			return err
		}
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
