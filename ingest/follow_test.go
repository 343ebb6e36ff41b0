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

// count is how often it was asked.
func (w *watermarks) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
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
		follower := NewFollower(p, backend, nil, log, FollowConfig{Busy: time.Second, Idle: time.Second},
			slog.New(slog.DiscardHandler))
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
		if age := p.Age(); age > 12*time.Second { // the nudge of who waited is still there
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

// hints are what the owners of sacks tell.
type hints struct {
	mu    sync.Mutex
	at    Position
	asked int
}

func (h *hints) Hints(_ context.Context, dst []Offset) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	copy(dst, h.at)
	return nil
}

func (h *hints) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// A wait costs hints, one nudge in the log, and one look at the back-end when the
// owner has said that it has come that far.
func TestFollowByHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(2)
		p := NewProgress(2, log)
		backend, told := &watermarks{at: make(Position, 2)}, &hints{at: make(Position, 2)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		follower := NewFollower(p, backend, told, log, FollowConfig{}, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { follower.Run(ctx); close(done) }()
		synctest.Wait()
		idle := backend.count()
		time.Sleep(time.Minute)
		if n := backend.count() - idle; n > 13 || told.count() > 0 {
			t.Errorf("in a minute with nobody waiting the back-end was asked %d times, and for hints %d times", n, told.count())
		}

		at := log.put(0, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: time.Now()}})
		asked, began := backend.count(), time.Now()
		for range 5 { // those who come meanwhile are served by the same nudge
			go func() { _ = p.Wait(ctx, Position{at, 0}) }()
		}
		go func() { // the owner flushes after 300 ms
			time.Sleep(300 * time.Millisecond)
			end, _ := log.End(ctx)
			backend.set(0, end[0], nil)
			told.mu.Lock()
			defer told.mu.Unlock()
			told.at[0] = end[0]
		}()
		if err := p.Wait(ctx, Position{at, 0}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 300*time.Millisecond || took > 350*time.Millisecond {
			t.Errorf("the wait ended after %s, want soon after the flush", took)
		}
		nudges := 0
		log.mu.Lock()
		for _, d := range log.sacks[0] {
			if d.Record.Kind == RecordNudge {
				nudges++
			}
		}
		log.mu.Unlock()
		if n := backend.count() - asked; nudges != 1 || n > 2 {
			t.Errorf("%d nudges were written, and the back-end was asked %d times; want one, and two at the most", nudges, n)
		}

		// Without a hint the back-end is asked once a second.
		at = log.put(1, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: time.Now()}})
		asked, began = backend.count(), time.Now()
		go func() { time.Sleep(2500 * time.Millisecond); backend.set(1, at, nil) }()
		if err := p.Wait(ctx, Position{0, at}); err != nil || time.Since(began) > 4*time.Second {
			t.Errorf("waited for %s: %v", time.Since(began), err)
		}
		if n := backend.count() - asked; n > 6 {
			t.Errorf("the back-end was asked %d times", n)
		}
		stop()
		<-done
	})
}

// What waits in a sack of somebody else has the age that the log tells, also after hours
// without a record, and also where the clock of the process that accepted it is wrong.
func TestFollowAge(t *testing.T) {
	for _, off := range []time.Duration{0, -time.Hour, time.Hour} {
		testFollowAge(t, off, 0, 0)
		testFollowAge(t, off, 1_000_000, 0)       // of which nothing has been applied yet
		testFollowAge(t, off, 1_000_000, 999_000) // after another log
	}
}

func testFollowAge(t *testing.T, off time.Duration, base, applied Offset) {
	synctest.Test(t, func(t *testing.T) {
		log := agedLog{newMemoryLog(1), base}
		p := NewProgress(1, log)
		follower := NewFollower(p, &watermarks{at: Position{applied}}, nil, nil, FollowConfig{},
			slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { follower.Run(ctx); close(done) }()
		time.Sleep(3 * time.Hour) // idle
		log.put(0, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: time.Now().Add(off)}})
		time.Sleep(time.Minute)
		lag := p.Lag(ctx)[0]
		for _, age := range []time.Duration{p.AgeOf(0), lag.Age} {
			if age < 55*time.Second || age > 65*time.Second {
				t.Errorf("a sack that was idle for hours is %s behind, by a clock that is %s off, with base %d", age, off, base)
			}
		}
		if lag.Records != 1 {
			t.Errorf("lag %+v", lag)
		}
		stop()
		<-done
	})
}

// A sack of somebody else that is never empty, two minutes behind, is two minutes behind
// whatever the clock of the process that accepts says: nothing is refused for an age that
// only that clock knows, and no lag is hidden.
func TestFollowAgeNeverEmpty(t *testing.T) {
	for _, off := range []time.Duration{0, -time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			log := &steadyLog{memoryLog: newMemoryLog(1), began: time.Now(), off: off}
			marks := &watermarks{at: make(Position, 1)}
			p := NewProgress(1, log)
			follower := NewFollower(p, marks, nil, nil, FollowConfig{}, slog.New(slog.DiscardHandler))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { follower.Run(ctx); close(done) }()
			const behind = 120
			for second := range Offset(3600) {
				time.Sleep(time.Second)
				marks.set(0, max(0, second-behind), nil)
				if second < 2*behind || second%60 != 0 {
					continue
				}
				time.Sleep(100 * time.Millisecond)
				for _, age := range []time.Duration{p.AgeOf(0), p.Lag(ctx)[0].Age} {
					if age < (behind-15)*time.Second || age > (behind+15)*time.Second {
						t.Errorf("after %d s it is %s behind by a clock that is %s off, want 2 minutes", second, age, off)
					}
				}
			}
			stop()
			<-done
		})
	}
}

// A steadyLog takes a record each second, by a clock that is off.
type steadyLog struct {
	*memoryLog
	began time.Time
	off   time.Duration
}

func (l *steadyLog) Backlog(_ context.Context, _ Sack, from Offset) (Backlog, error) {
	end := Offset(time.Since(l.began) / time.Second)
	if from >= end {
		return Backlog{End: from}, nil
	}
	return Backlog{Records: int64(end - from), End: end, Oldest: l.began.Add(time.Duration(from+1)*time.Second + l.off)}, nil
}

// An agedLog knows when the first waiting record was accepted, and counts from a base.
type agedLog struct {
	*memoryLog
	base Offset
}

func (l agedLog) Backlog(ctx context.Context, sack Sack, from Offset) (Backlog, error) {
	from = max(from, l.base)
	own := from - l.base
	b, err := l.memoryLog.Backlog(ctx, sack, own)
	b.From, b.End = from, b.End+l.base
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.sacks[sack] {
		if d.Offset >= own {
			b.Oldest = d.Record.AcceptedAt
			break
		}
	}
	return b, err
}
