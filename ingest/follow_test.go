package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watermarks is a back-end that somebody else moves.
type watermarks struct {
	mu    sync.Mutex
	at    Position
	asked int
	fail  error
}

func (w *watermarks) Watermarks(_ context.Context, sacks []Sack, dst []Offset) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	for i, s := range sacks {
		dst[i] = w.at[s]
	}
	return w.fail
}

func (w *watermarks) set(sack Sack, at Offset, fail error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[sack], w.fail = at, fail
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(2)
		p := NewProgress(2, log)
		backend := &watermarks{at: make(Position, 2)}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		follower := NewFollower(p, backend, nil, log, FollowConfig{Busy: time.Second, Idle: time.Second}, slog.New(slog.DiscardHandler))
		go func() { follower.Run(ctx); close(done) }()

		ticket, _, err := NewAcceptor(log, p, 2, AcceptConfig{MaxFuture: -1}).Accept(ctx, batchOf(20, 1), false)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if p.Reached(ticket.Position) {
			t.Error("nobody has applied anything, and all is there")
		}
		if age := p.Age(); age < 58*time.Second || age > time.Minute {
			t.Errorf("the oldest has been waiting for %s, want about a minute", age)
		}
		go func() {
			time.Sleep(10 * time.Second)
			for s, end := range ticket.Position {
				backend.set(Sack(s), end, nil)
			}
		}()
		began := time.Now()
		if err := p.Wait(ctx, ticket.Position); err != nil || time.Since(began) > 12*time.Second {
			t.Errorf("waited for %s: %v", time.Since(began), err)
		}
		if age := p.Age(); age != 0 {
			t.Errorf("all is applied, and the oldest has been waiting for %s", age)
		}

		backend.set(0, 0, errors.New("the back-end is away"))
		time.Sleep(2 * time.Second)
		if lag := p.Lag(ctx)[0]; lag.Err == nil || lag.Watermark != ticket.Position[0] {
			t.Errorf("lag %+v", lag)
		}
		backend.set(0, ticket.Position[0], nil)
		time.Sleep(2 * time.Second)
		if lag := p.Lag(ctx)[0]; lag.Err != nil {
			t.Errorf("lag %+v", lag)
		}
		stop()
		<-done
	})
}
