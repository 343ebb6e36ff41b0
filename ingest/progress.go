package ingest

import (
	"context"
	"sync"
	"time"
)

// Progress is how far each sack has been applied. The Worker moves it; the API
// waits on it, and by waiting asks the Worker to hurry (a nudge). All methods may
// be called concurrently.
type Progress struct {
	started time.Time
	source  Source // for Lag; may be nil

	mu    sync.Mutex
	sacks []sackProgress
}

type sackProgress struct {
	watermark Offset
	oldest    time.Time // when the oldest record not yet applied was accepted; zero when none is known
	err       error     // why the sack stands still; nil when it doesn't
	waiters   []sackWaiter
	nudged    bool          // by Nudge, since the worker looked
	wake      chan struct{} // capacity 1: the worker has something to look at
}

// A sackWaiter is one sack's part of a Wait.
type sackWaiter struct {
	need Offset
	wait *waiter
}

type waiter struct {
	left int           // sacks not yet there; guarded by Progress.mu
	done chan struct{} // closed when left is 0
	gone bool          // nobody waits any more
}

// A SackLag says how far one sack is behind.
type SackLag struct {
	Sack      Sack
	Watermark Offset
	Records   int64         // in the log and not yet applied
	Bytes     int64         // of those records
	Age       time.Duration // since the oldest of them was accepted, or since the start if that is later
	Err       error         // why the sack stands still, when it does
}

// NewProgress returns a Progress at the beginning of every sack. The source
// counts what is not yet applied; without one, Lag does not.
func NewProgress(sacks int, source Source) *Progress {
	p := &Progress{started: time.Now(), source: source, sacks: make([]sackProgress, sacks)}
	for s := range p.sacks {
		p.sacks[s].wake = make(chan struct{}, 1)
	}
	return p
}

// Wait returns nil when everything before position has been applied and can be
// read, or ctx's error. It nudges the sacks that it waits for.
func (p *Progress) Wait(ctx context.Context, position Position) error {
	w := &waiter{done: make(chan struct{})}
	p.mu.Lock()
	for s, need := range position {
		if s >= len(p.sacks) || need <= p.sacks[s].watermark {
			continue
		}
		sack := &p.sacks[s]
		sack.waiters = append(sack.waiters, sackWaiter{need, w})
		w.left++
		sack.rouse()
	}
	waiting := w.left > 0
	p.mu.Unlock()
	if !waiting {
		return nil
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.left == 0 {
			return nil
		}
		w.gone = true
		for s := range p.sacks {
			p.sacks[s].sweep()
		}
		return ctx.Err()
	}
}

// Nudge asks for a flush of a sack, as a nudge record does.
func (p *Progress) Nudge(sack Sack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sacks[sack].nudged = true
	p.sacks[sack].rouse()
}

func (s *sackProgress) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look, and see us too
	}
}

// Watermarks returns how far each sack has been applied.
func (p *Progress) Watermarks() Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := make(Position, len(p.sacks))
	for s := range p.sacks {
		at[s] = p.sacks[s].watermark
	}
	return at
}

// Reached says whether everything before position has been applied.
func (p *Progress) Reached(position Position) bool { return p.Watermarks().Reached(position) }

// Lag returns the state of every sack.
func (p *Progress) Lag() []SackLag {
	now := time.Now()
	p.mu.Lock()
	lags := make([]SackLag, len(p.sacks))
	for s := range p.sacks {
		sack := &p.sacks[s]
		lags[s] = SackLag{Sack: Sack(s), Watermark: sack.watermark, Age: p.age(sack, now), Err: sack.err}
	}
	p.mu.Unlock()
	if p.source != nil {
		for s := range lags {
			lags[s].Records, lags[s].Bytes = p.source.Backlog(Sack(s), lags[s].Watermark)
		}
	}
	return lags
}

// Age is how long the oldest record that is not yet applied has been waiting.
func (p *Progress) Age() time.Duration {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest time.Duration
	for s := range p.sacks {
		oldest = max(oldest, p.age(&p.sacks[s], now))
	}
	return oldest
}

// age counts from the start of the process at the earliest: what waited while
// nothing ran is about to be applied, and no reason to refuse anything.
func (p *Progress) age(sack *sackProgress, now time.Time) time.Duration {
	if sack.oldest.IsZero() {
		return 0
	}
	since := sack.oldest
	if since.Before(p.started) {
		since = p.started
	}
	return max(0, now.Sub(since))
}

// woken is where the worker of a sack hears that somebody waits or nudges.
func (p *Progress) woken(sack Sack) <-chan struct{} { return p.sacks[sack].wake }

// takeNudge says whether Nudge has been called since the last takeNudge.
func (p *Progress) takeNudge(sack Sack) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	nudged := p.sacks[sack].nudged
	p.sacks[sack].nudged = false
	return nudged
}

// awaited says whether somebody waits for a flush of what is before next, and
// whether somebody waits for more than that.
func (p *Progress) awaited(sack Sack, next Offset) (here, beyond bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.sacks[sack].waiters {
		switch {
		case w.wait.gone:
		case w.need <= next:
			here = true
		default:
			beyond = true
		}
	}
	return here, beyond
}

// opened says that a new owner of the sack begins at watermark. It may be lower
// than before, when a back-end has lost its tail. What was pending still is, unless
// the log has nothing more.
func (p *Progress) opened(sack Sack, watermark Offset) {
	pending := false
	if p.source != nil {
		records, _ := p.source.Backlog(sack, watermark)
		pending = records > 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.watermark = watermark
	if !pending {
		s.oldest, s.err = time.Time{}, nil
	}
	s.sweep()
}

// set says that the sack has been applied up to watermark, which is all that was
// taken from the log.
func (p *Progress) set(sack Sack, watermark Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.watermark, s.oldest, s.err = watermark, time.Time{}, nil
	s.sweep()
}

// pending says that the oldest record not yet applied was accepted then; a zero
// time that it can't be told.
func (p *Progress) pending(sack Sack, accepted, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	switch {
	case !accepted.IsZero():
		s.oldest = accepted
	case s.oldest.IsZero():
		s.oldest = now
	}
}

// stalled says that the sack stands still, and why.
func (p *Progress) stalled(sack Sack, now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.err = err
	if s.oldest.IsZero() {
		s.oldest = now
	}
}

// sweep lets go of the waiters that have what they need, or have gone.
func (s *sackProgress) sweep() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		switch {
		case w.wait.gone:
		case w.need <= s.watermark:
			if w.wait.left--; w.wait.left == 0 {
				close(w.wait.done)
			}
		default:
			kept = append(kept, w)
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
}
