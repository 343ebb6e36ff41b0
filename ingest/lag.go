package ingest

import (
	"context"
	"time"
)

// backlogTimeout bounds a question to the log about what it holds.
const backlogTimeout = 2 * time.Second

// A SackLag says how far one sack is behind.
type SackLag struct {
	Sack      Sack
	Watermark Offset        // what can be read in this process
	Owned     bool          // by this process
	Records   int64         // in the log and not yet applied
	Bytes     int64         // of those records
	Age       time.Duration // since the oldest of them was accepted, or since the start if that is later
	Known     bool          // it has been opened by this process, or heard of
	Err       error         // why the sack stands still, when it does
	Standing  time.Duration // for how long it has
}

// Lag returns the state of every sack.
func (p *Progress) Lag(ctx context.Context) []SackLag {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	now := time.Now()
	p.mu.Lock()
	lags := make([]SackLag, len(p.sacks))
	for s := range p.sacks {
		sack := &p.sacks[s]
		lags[s] = SackLag{Sack: Sack(s), Watermark: sack.readable(), Owned: sack.owned, Known: sack.known,
			Age: p.age(sack, now), Err: sack.trouble()}
		if lags[s].Err != nil {
			lags[s].Standing = now.Sub(sack.since)
		}
	}
	p.mu.Unlock()
	if p.source == nil {
		return lags
	}
	for s := range lags {
		l := &lags[s]
		backlog, err := p.source.Backlog(ctx, l.Sack, l.Watermark)
		if err != nil {
			if l.Err == nil {
				l.Err = err
			}
			continue
		}
		l.Records, l.Bytes = backlog.Records, backlog.Bytes
		if !l.Owned && backlog.Records > 0 && !backlog.Oldest.IsZero() {
			l.Age = p.ageSince(l, &backlog, now)
		}
	}
	return lags
}

// Age is how long the oldest record of any sack has been waiting to be applied.
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

// AgeOf is how long the oldest record of a sack has been waiting to be applied.
func (p *Progress) AgeOf(sack Sack) time.Duration {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.age(&p.sacks[sack], now)
}

// ageSince is the age of the oldest of what waits behind the watermark of a sack of
// somebody else. Of what comes from a clock that is ahead, and was never seen to
// come, it is the age that was known before.
func (p *Progress) ageSince(l *SackLag, waits *Backlog, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.sacks[l.Sack].arrivals.clamp(max(l.Watermark, waits.From), waits.Oldest)
	if since.After(now) {
		return l.Age
	}
	return now.Sub(since)
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
