package ingest

import (
	"context"
	"time"
)

// Follow moves the progress by what a back-end says, for a process in which no
// Worker does: it asks about every sack at every interval, and returns when ctx
// ends. A sack that can't be asked about shows in the lag.
func (p *Progress) Follow(ctx context.Context, from Watermarker, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		for s := range p.sacks {
			watermark, err := from.Watermark(ctx, Sack(s))
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				p.stalled(Sack(s), time.Now(), err)
			default:
				p.follow(Sack(s), watermark, time.Now())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// follow says how far somebody else has applied the sack. When the oldest record
// behind that was accepted is not known here: its age counts from when it was
// first seen waiting.
func (p *Progress) follow(sack Sack, watermark Offset, now time.Time) {
	waiting := int64(0)
	if p.source != nil {
		waiting, _ = p.source.Backlog(sack, watermark)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	if waiting == 0 || watermark != s.watermark {
		s.oldest = time.Time{}
	}
	if waiting > 0 && s.oldest.IsZero() {
		s.oldest = now
	}
	s.watermark, s.err = watermark, nil
	s.sweep()
}
