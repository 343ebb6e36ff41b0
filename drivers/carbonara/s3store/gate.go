package s3store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A gate lets so many requests through at once as the server seems to bear: each answer
// opens it a little, up to a limit, each 503 SlowDown or 429 halves it and closes it for a
// moment, which grows as long as nothing else is answered. (Additive increase,
// multiplicative decrease, as in TCP.) It repeats nothing.
type gate struct {
	limit float64

	mu      sync.Mutex
	window  float64 // how many may be under way
	inside  int
	waiting []chan struct{} // closed when let in
	shut    time.Time       // until then nobody enters
	pause   time.Duration   // the next one, before luck
	refusal error           // the last one, while nothing else was answered
	timer   *time.Timer     // opens it when shut is over
}

// The pauses after a refusal.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

func newGate(limit int) *gate {
	return &gate{limit: float64(limit), window: float64(limit), pause: firstPause}
}

// enter waits until a request may be made. Its maker calls done with the outcome, once.
func (g *gate) enter(ctx context.Context) (done func(error), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	if len(g.waiting) == 0 && g.openLocked() {
		g.inside++
		g.mu.Unlock()
		return g.leave, nil
	}
	in := make(chan struct{})
	g.waiting = append(g.waiting, in)
	g.admitLocked()
	g.mu.Unlock()
	select {
	case <-in:
		return g.leave, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		for i, other := range g.waiting {
			if other == in {
				g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
				return nil, g.gaveUpLocked(ctx.Err())
			}
		}
		g.inside-- // let in at the same moment
		g.admitLocked()
		return nil, g.gaveUpLocked(ctx.Err())
	}
}

// gaveUpLocked says why somebody had to wait longer than its context.
func (g *gate) gaveUpLocked(err error) error {
	if g.refusal == nil {
		return err
	}
	return fmt.Errorf("%w, waiting since the server asks for fewer requests: %w", err, g.refusal)
}

func (g *gate) leave(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	switch {
	case err != nil && throttled(err):
		g.refusal = err
		if now := time.Now(); !now.Before(g.shut) { // not once for each of those that were under way
			g.window = max(1, g.window/2)
			g.shut = now.Add(g.pause/2 + rand.N(g.pause))
			g.pause = min(2*g.pause, lastPause)
		}
	case err == nil || statusOf(err) != 0: // any other answer
		g.window = min(g.limit, g.window+1/g.window)
		g.pause, g.refusal = firstPause, nil
	}
	g.admitLocked()
}

func (g *gate) openLocked() bool {
	return float64(g.inside) < max(1, g.window) && !time.Now().Before(g.shut)
}

// admitLocked lets in who waits, and comes back when a pause is over.
func (g *gate) admitLocked() {
	for len(g.waiting) > 0 && g.openLocked() {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.inside++
	}
	wait := time.Until(g.shut)
	if len(g.waiting) == 0 || wait <= 0 || g.timer != nil {
		return
	}
	g.timer = time.AfterFunc(wait, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.timer = nil
		g.admitLocked()
	})
}
