package ingest

import (
	"context"
	"sync"
	"time"
)

// Progress is how far each sack has been applied, as this process can tell: of the
// sacks that it owns the Worker says so, of the others a Follower. The API waits on
// it, and by waiting asks for hurry (a nudge). All methods may be called concurrently.
type Progress struct {
	started time.Time
	source  Source        // for Lag; may be nil
	waiting chan struct{} // capacity 1: somebody waits for a sack that isn't ours

	mu      sync.Mutex
	sacks   []sackProgress
	rejects rejectRing
}

type sackProgress struct {
	watermark Offset    // what every process can read
	live      Offset    // what can be read here; only of a sack that is owned
	known     bool      // watermark is what somebody has told
	owned     bool      // by the Worker of this process
	caughtUp  Offset    // where the log ended when the sack was opened
	oldest    time.Time // when the oldest record not yet applied was accepted; zero when none is known
	arrivals  arrivals  // what is known of when the records came; only while the sack isn't owned is it added to
	err       error     // why what was fetched stands still; nil when it doesn't
	fetchErr  error     // why the log hands out nothing
	since     time.Time // when the first of them came
	waiters   []sackWaiter
	nudged    bool          // by Nudge, since the worker looked
	wake      chan struct{} // capacity 1: the worker has something to look at
}

// readable is how far what was applied can be read in this process.
func (s *sackProgress) readable() Offset { return max(s.watermark, s.live) }

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

// NewProgress returns a Progress at the beginning of every sack. The source
// counts what is not yet applied; without one, Lag does not.
func NewProgress(sacks int, source Source) *Progress {
	p := &Progress{started: time.Now(), source: source, sacks: make([]sackProgress, sacks),
		waiting: make(chan struct{}, 1)}
	for s := range p.sacks {
		p.sacks[s].wake = make(chan struct{}, 1)
	}
	return p
}

// Wait returns nil when everything before position has been applied and can be
// read in this process, or ctx's error. It nudges the sacks that it waits for.
func (p *Progress) Wait(ctx context.Context, position Position) error {
	w := &waiter{done: make(chan struct{})}
	p.mu.Lock()
	foreign := false
	for s, need := range position {
		if s >= len(p.sacks) || need <= p.sacks[s].readable() {
			continue
		}
		sack := &p.sacks[s]
		sack.waiters = append(sack.waiters, sackWaiter{need, w})
		w.left++
		sack.rouse()
		foreign = foreign || !sack.owned
	}
	waiting := w.left > 0
	p.mu.Unlock()
	if !waiting {
		return nil
	}
	if foreign {
		notify(p.waiting)
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

func (s *sackProgress) rouse() { notify(s.wake) }

// notify leaves word in a channel of capacity 1: whoever looks sees all that was left.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Watermarks returns how far each sack can be read in this process.
func (p *Progress) Watermarks() Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := make(Position, len(p.sacks))
	for s := range p.sacks {
		at[s] = p.sacks[s].readable()
	}
	return at
}

// Reached says whether everything before position has been applied.
func (p *Progress) Reached(position Position) bool { return p.Watermarks().Reached(position) }

// CatchingUp returns where sacks of a position are to arrive that this process has
// opened and that have not yet come to where the log ended then; nil when all have.
// A plain read may wait for it, so that a restart makes nothing unreadable.
func (p *Progress) CatchingUp(position Position) Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at Position
	for s := range p.sacks {
		sack := &p.sacks[s]
		if s < len(position) && position[s] > 0 && sack.owned && sack.readable() < sack.caughtUp {
			if at == nil {
				at = make(Position, len(p.sacks))
			}
			at[s] = sack.caughtUp
		}
	}
	return at
}

// Rejects returns the measures of deleted metrics that this process has refused lately
// between the first and the last record of a ticket.
func (p *Progress) Rejects(t Ticket) []DeadLetter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rejects.of(t)
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

// opened says that this process owns the sack from now on and begins at watermark. It
// may be lower than before, when a back-end has lost its tail. What was pending still
// is, unless the log has nothing more.
func (p *Progress) opened(ctx context.Context, sack Sack, watermark Offset) {
	pending, end := false, watermark
	if p.source != nil {
		ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
		defer cancel()
		backlog, err := p.source.Backlog(ctx, sack, watermark)
		pending = err != nil || backlog.Records > 0
		if ends, err := p.source.End(ctx); err == nil {
			end = ends[sack]
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.watermark, s.live, s.owned, s.known, s.caughtUp = watermark, 0, true, true, end
	if !pending {
		s.oldest, s.err, s.fetchErr = time.Time{}, nil, nil
	}
	s.sweep()
}

// released says that this process no longer owns the sack. Whoever waits for it is
// served by what others flush.
func (p *Progress) released(sack Sack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.live, s.owned, s.oldest, s.err, s.fetchErr = 0, false, time.Time{}, nil, nil
	if len(s.waiters) > 0 {
		notify(p.waiting)
	}
}

// applied says that what is before offset can be read here, though it isn't flushed.
func (p *Progress) applied(sack Sack, offset Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.live, s.oldest, s.err = offset, time.Time{}, nil
	s.sweep()
}

// set says that the sack has been flushed up to watermark, which is all that was
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
	case !s.oldest.IsZero() && s.trouble() != nil: // it stood still before these came
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
	s.stands(now)
	s.err = err
}

// fetchStalled says that the log hands out nothing of the sack, and why.
func (p *Progress) fetchStalled(sack Sack, now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sacks[sack]
	s.stands(now)
	s.fetchErr = err
}

func (s *sackProgress) stands(now time.Time) {
	if s.trouble() == nil {
		s.since = now
	}
	if s.oldest.IsZero() {
		s.oldest = now
	}
}

// trouble is why the sack stands still; nil when it doesn't.
func (s *sackProgress) trouble() error {
	if s.err != nil {
		return s.err
	}
	return s.fetchErr
}

// fetchedAgain says that the log hands out records. What is not applied yet keeps its
// age.
func (p *Progress) fetchedAgain(sack Sack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sacks[sack].fetchErr = nil
}

// rejected remembers what became of measures of a deleted metric.
func (p *Progress) rejected(letter DeadLetter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rejects.add(letter)
}

// sweep lets go of the waiters that have what they need, or have gone.
func (s *sackProgress) sweep() {
	kept := s.waiters[:0]
	at := s.readable()
	for _, w := range s.waiters {
		switch {
		case w.wait.gone:
		case w.need <= at:
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

// A rejectRing keeps the last rejects, without their values.
type rejectRing struct {
	list []DeadLetter
	next int
}

const maxRingRejects = 4096

func (r *rejectRing) add(letter DeadLetter) {
	if len(r.list) < maxRingRejects {
		r.list = append(r.list, letter)
		return
	}
	r.list[r.next] = letter
	r.next = (r.next + 1) % maxRingRejects
}

func (r *rejectRing) of(t Ticket) []DeadLetter {
	var found []DeadLetter
	for _, l := range r.list {
		if s := int(l.Sack); s < len(t.Position) && t.First[s] <= l.Offset && l.Offset < t.Position[s] {
			found = append(found, l)
		}
	}
	return found
}
