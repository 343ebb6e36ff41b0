package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maintain does the back-end's housekeeping after flushes, and now and then. It
// returns an error only when the tenure is over.
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
		t.traces.sealed(t.sealer)
		switch {
		case err == nil:
			t.metrics.maintained(ctx, time.Since(began))
			pause = t.config.BackoffMin
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrFenced) || errors.Is(err, ErrWentBack):
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

// A settling is a watermark that was flushed then. The log may forget what is before
// it when Retain has passed; where the back-end may lose its tail, only when the
// watermark was read back after that.
type settling struct {
	offset Offset
	since  time.Time
}

// confirmations ticks when the watermark is to be read back, or when what was flushed
// has been retained for long enough; never where neither is asked for.
func (t *tenure) confirmations() (<-chan time.Time, func()) {
	every := t.config.ConfirmEvery
	if every <= 0 && t.config.Retain > 0 {
		every = max(t.config.Retain/4, time.Second)
	}
	if every <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(every)
	return ticker.C, ticker.Stop
}

// settle tells the log what it may forget, or remembers to do so.
func (t *tenure) settle(flushed Offset, now time.Time) {
	if t.config.Retain <= 0 && t.config.ConfirmEvery <= 0 {
		t.source.Applied(t.sack, flushed)
		return
	}
	// One watermark a second is precise enough, and few even for a long Retain.
	if n := len(t.unsettled); n > 1 && now.Sub(t.unsettled[n-2].since) < time.Second {
		t.unsettled[n-1].offset = flushed
		t.unsettled[n-1].since = now
		return
	}
	t.unsettled = append(t.unsettled, settling{flushed, now})
}

// confirm reads the watermark back and tells the log what it may forget.
func (t *tenure) confirm(ctx context.Context) error {
	now := time.Now()
	stored := t.flushed
	if t.config.ConfirmEvery > 0 {
		work, cancel := context.WithTimeout(ctx, t.config.FlushTimeout)
		defer cancel()
		var err error
		stored, err = t.writer.Confirm(work)
		switch {
		case errors.Is(err, ErrFenced) || errors.Is(err, ErrWentBack):
			return fmt.Errorf("cannot confirm the watermark of sack %d: %w", t.sack, err)
		case err != nil:
			t.metrics.failed(ctx, err)
			t.log.Warn("cannot read the watermark back; trying again later", "err", err)
			return nil
		}
	}
	t.confirmed(stored, now)
	return nil
}

// confirmed tells the log to forget what was flushed Retain ago and still is there.
func (t *tenure) confirmed(stored Offset, now time.Time) {
	n := 0
	for n < len(t.unsettled) && now.Sub(t.unsettled[n].since) >= t.config.Retain && t.unsettled[n].offset <= stored {
		n++
	}
	if n > 0 {
		t.source.Applied(t.sack, t.unsettled[n-1].offset)
		t.unsettled = t.unsettled[n:]
	}
}
