package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

type fetched struct {
	records *Deliveries
	err     error
}

// fetch reads the log ahead of apply, two buffers deep. What passes is tried again
// here, so that it costs no tenure; what is gone, damaged or of another log is passed
// on and ends it.
func (t *tenure) fetch(ctx context.Context, at Watermark) {
	t.free <- new(Deliveries)
	t.free <- new(Deliveries)
	at.Producers = nil // not needed to find the place
	for {
		var buffer *Deliveries
		select {
		case buffer = <-t.free:
		case <-ctx.Done():
			return
		}
		err := t.fetchPatiently(ctx, &at, buffer)
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

// fetchPatiently fetches what follows at, and moves it. After an error it makes sure
// that the log still is the one that it was.
func (t *tenure) fetchPatiently(ctx context.Context, at *Watermark, buffer *Deliveries) error {
	pause := t.config.BackoffMin
	for {
		buffer.Limit = t.fetchLimit()
		err := t.fetchOnce(ctx, at, buffer)
		switch {
		case err == nil && len(buffer.List) > 0:
			t.progress.fetchedAgain(t.sack)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case isLost(err):
			return err
		}
		t.metrics.failed(ctx, err)
		t.progress.fetchStalled(t.sack, time.Now(), err)
		t.log.Warn("cannot fetch; trying again", "from", at.Offset, "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, t.config.BackoffMax)
		if err := t.source.Check(ctx, t.sack, *at); isLost(err) {
			return err
		}
	}
}

// isLost says whether trying again can't bring records back.
func isLost(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, ErrForeign) || errors.Is(err, ErrDamaged) || IsPermanent(err)
}

// fetchOnce waits for records, but not without looking now and then whether the log
// has any that it does not hand out. Behind a record of a newer version it waits for
// that version: what comes after must not overtake it.
func (t *tenure) fetchOnce(ctx context.Context, at *Watermark, buffer *Deliveries) error {
	wait, cancel := context.WithTimeout(ctx, t.config.FetchPatience)
	defer cancel()
	err := t.source.Fetch(wait, t.sack, at.Offset, buffer)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return t.watch(ctx, at)
	}
	if err != nil {
		return fmt.Errorf("cannot fetch sack %d: %w", t.sack, err)
	}
	for i := range buffer.List {
		d := &buffer.List[i]
		if errors.Is(d.Err, ErrNewer) {
			buffer.List = buffer.List[:i]
			if i == 0 {
				return fmt.Errorf("record at offset %d of sack %d: %w", d.Offset, t.sack, d.Err)
			}
			break
		}
	}
	if n := len(buffer.List); n > 0 {
		last := &buffer.List[n-1]
		at.Offset, at.Last = last.Offset+1, FingerprintOf(last)
	}
	return nil
}

// watch returns an error if the log has records that Fetch did not hand out in time.
func (t *tenure) watch(ctx context.Context, at *Watermark) error {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	backlog, err := t.source.Backlog(ctx, t.sack, at.Offset)
	if err != nil {
		return fmt.Errorf("cannot tell what waits in sack %d: %w", t.sack, err)
	}
	if backlog.Records > 0 {
		return fmt.Errorf("sack %d makes no progress: the log has %d records behind offset %d and has handed out none "+
			"for %s",
			t.sack, backlog.Records, at.Offset, t.config.FetchPatience)
	}
	return nil
}

// The bounds of what one Fetch brings, in bytes of payload.
const (
	minFetch = 64 << 10
	maxFetch = 1 << 20
)

// decodedSize is how many times its length a payload takes when it is decoded, itself and the
// room that lists have to grow included: of metrics with one measure each, which a fleet
// sends. Many measures of few take less than half of that.
const decodedSize = 6

// fetchLimit shares the memory for reading ahead between the sacks that are owned, each of
// which has two buffers.
func (t *tenure) fetchLimit() int {
	return int(min(max(t.config.FetchAhead/(2*decodedSize*int64(t.ownedSacks())), minFetch), maxFetch))
}

func (w *Worker) ownedSacks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(1, len(w.owned))
}
