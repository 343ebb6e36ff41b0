package ingest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An assigning is an Assigner that does what a test says.
type assigning struct {
	mu        sync.Mutex
	held      func() []Claim
	assign    func(Assignment)
	ready     chan struct{}
	left      bool
	heldAtEnd []Claim // when the group was left
	confirm   error
	confirms  int
	applied   map[Sack]Offset
}

func newAssigning() *assigning {
	return &assigning{ready: make(chan struct{}), applied: make(map[Sack]Offset)}
}

func (a *assigning) Run(ctx context.Context, held func() []Claim, assign func(Assignment)) error {
	a.held, a.assign = held, assign
	close(a.ready)
	<-ctx.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left, a.heldAtEnd = true, held()
	return nil
}

func (a *assigning) Confirm(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.confirms++
	return a.confirm
}

func (a *assigning) Applied(sack Sack, at Watermark) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied[sack] = at.Offset
}

// give assigns sacks and lets the worker do what it does then.
func (a *assigning) give(generation int64, sacks ...Sack) {
	<-a.ready
	a.assign(Assignment{generation, sacks})
	synctest.Wait()
}

func (a *assigning) setConfirm(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.confirm = err
}

func onGroup(t *testing.T, config WorkerConfig, test func(t *testing.T, b *bench, a *assigning)) {
	t.Helper()
	onBench(t, config, func(t *testing.T, b *bench) {
		a := newAssigning()
		b.assigner = a
		b.run()
		test(t, b, a)
	})
}

func TestSacksComeAndGo(t *testing.T) {
	onGroup(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench, a *assigning) {
		b.write(0, 1)
		b.write(1, 2)
		if zero, one := b.driver.state(0).opened, b.driver.state(1).opened; zero != 0 || one != 0 {
			t.Fatalf("opened %d and %d times before anything was assigned", zero, one)
		}
		a.give(1, 0)
		a.give(2, 0, 1)
		if zero := b.driver.state(0); zero.opened != 1 || zero.flushed != 0 {
			t.Errorf("a sack that stays was opened %d times and flushed %d times", zero.opened, zero.flushed)
		}
		if claims := a.held(); len(claims) != 2 || claims[0].Epoch != 1 || claims[1].Epoch != 1 {
			t.Errorf("claims %+v", claims)
		}
		a.give(3, 1) // sack 0 goes: what it holds is flushed
		b.wantValues(0, 1)
		b.wantValues(1)
		if claims := a.held(); !slices.Equal(claims, []Claim{{1, 1}}) {
			t.Errorf("claims %+v, want sack 1's", claims)
		}
		if lag := b.lag(0); lag.Owned {
			t.Error("a sack that was given back counts as owned")
		}
		a.give(4, 0, 1)
		if n := b.driver.state(0).opened; n != 2 {
			t.Errorf("a sack that came back was opened %d times", n)
		}
		b.write(0, 3)
		b.stop()
		b.wantValues(0, 1, 3)
		b.wantValues(1, 2)
		if !a.left || len(a.heldAtEnd) != 0 {
			t.Errorf("left %v, still holding %v: others would wait for what is not flushed", a.left, a.heldAtEnd)
		}
		if a.applied[1] != 1 || a.applied[0] != 11 {
			t.Errorf("others were told %v", a.applied)
		}
	})
}

// Back before it has been given back: the new tenure waits for the old one's end.
func TestSackComesBackAtOnce(t *testing.T) {
	onGroup(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench, a *assigning) {
		b.driver.onFlush = func(context.Context, Sack) error { time.Sleep(3 * time.Second); return nil }
		a.give(1, 0)
		b.write(0, 1)
		a.give(2)
		a.give(3, 0)
		if n := b.driver.state(0).opened; n != 1 {
			t.Errorf("opened %d times while it is still flushing", n)
		}
		b.wait(4 * time.Second)
		if s := b.driver.state(0); s.opened != 2 || !slices.Equal(s.values, []float64{1}) {
			t.Errorf("opened %d times, with %v", s.opened, s.values)
		}
	})
}

// Who was fenced opens again only when the assignment has been confirmed since.
func TestFencedWaitsForConfirmation(t *testing.T) {
	onGroup(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench, a *assigning) {
		a.give(1, 0)
		a.setConfirm(errors.New("another generation"))
		b.write(0, 1)
		if _, _, err := b.driver.Open(t.Context(), 0); err != nil { // somebody else
			t.Fatal(err)
		}
		b.wait(time.Minute)
		if n := b.driver.state(0).opened; n != 2 {
			t.Errorf("opened %d times: they throw each other out", n)
		}
		a.setConfirm(nil)
		b.wait(5 * time.Second)
		if s := b.driver.state(0); s.opened != 3 || !slices.Equal(s.values, []float64{1}) {
			t.Errorf("opened %d times, with %v, once confirmed", s.opened, s.values)
		}
	})
}

// A record that the log has twice counts once, also for the next owner.
func TestRepeatedRecords(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		put := func(producer, sequence uint64, value float64) {
			now := time.Now()
			b.log.put(0, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: now, Producer: producer, Sequence: sequence,
				Entries: []Entry{{Policy: "low", Measures: []Measure{{now.UnixNano(), value}}}}}})
			synctest.Wait()
		}
		b.run()
		put(7, 1, 1)
		put(8, 5, 2)
		put(7, 2, 3)
		put(7, 1, 1) // its answer was lost, and it arrives behind a newer one
		b.wait(2 * time.Second)
		b.stop()
		b.wantValues(0, 1, 2, 3)
		b.run()
		put(7, 2, 3)
		put(8, 6, 4)
		put(0, 0, 5)
		put(0, 0, 5) // this producer never repeats itself
		b.wait(2 * time.Second)
		b.wantValues(0, 1, 2, 3, 4, 5, 5)
		b.wait(7 * time.Hour)
		put(9, 1, 6)
		b.wait(2 * time.Second)
		if at := b.driver.state(0).at; len(at.Producers) != 1 || at.Producers[0].ID != 9 {
			t.Errorf("producers of seven hours ago are remembered: %+v", at.Producers)
		}
	})
}

// A log that is another one than what was applied came from stops the sack; with a base
// above the watermark it is the next one.
func TestAnotherLog(t *testing.T) {
	old := Watermark{Offset: 500, Log: LogID{ID: "old", Base: 1}, Last: Fingerprint{499, 1, 2}}
	stored := func(b *bench) {
		b.driver.sack(0).watermark, b.driver.sack(0).at = 500, old
	}
	t.Run("below the watermark", func(t *testing.T) {
		onBench(t, WorkerConfig{}, func(t *testing.T, b *bench) {
			stored(b)
			b.log.id = LogID{ID: "new", Base: 499}
			b.run()
			b.wait(time.Minute)
			if lag := b.lag(0); !errors.Is(lag.Err, ErrForeign) || lag.Watermark != 0 {
				t.Errorf("lag %+v", lag)
			}
		})
	})
	t.Run("above it", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
			stored(b)
			b.log.id = LogID{ID: "new", Base: 1000}
			b.run()
			if lag := b.lag(0); lag.Err != nil || lag.Watermark != 1000 {
				t.Errorf("lag %+v", lag)
			}
			if slices.ContainsFunc(b.log.wasAsked(), func(at Watermark) bool {
				return at.Offset != 1000 ||
					at.Last != Fingerprint{}
			}) {
				t.Errorf("the log was asked about %+v", b.log.wasAsked())
			}
		})
	})
	t.Run("it has lost what was not applied", func(t *testing.T) {
		onBench(t, WorkerConfig{}, func(t *testing.T, b *bench) {
			stored(b)
			b.log.id, b.log.foreign = old.Log, ErrGone
			b.run()
			b.wait(time.Minute)
			if lag := b.lag(0); !errors.Is(lag.Err, ErrGone) {
				t.Errorf("lag %+v", lag)
			}
			if !slices.ContainsFunc(b.log.wasAsked(), func(at Watermark) bool {
				return at.Offset == 500 &&
					at.Last == old.Last
			}) {
				t.Errorf("the log was asked about %+v", b.log.wasAsked())
			}
		})
	})
}

// A record of a newer version is waited with; what came before it is applied.
func TestNewerRecordHolds(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		b.write(0, 1)
		b.log.put(0, Delivery{Err: ErrNewer, Raw: []byte("of tomorrow")})
		b.write(0, 2)
		b.run()
		b.wait(time.Minute)
		b.wantValues(0, 1)
		if lag := b.lag(0); !errors.Is(lag.Err, ErrNewer) || lag.Records != 2 {
			t.Errorf("lag %+v", lag)
		}
		if n := b.letters.Count(); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		if n := b.driver.state(0).opened; n != 1 {
			t.Errorf("opened %d times", n)
		}
	})
}

// An error of Apply that did no harm is tried again in the same tenure.
func TestApplyUnharmed(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		var tries atomic.Int32
		b.driver.onApply = func(context.Context, Sack) error {
			if tries.Add(1) < 4 {
				return Unharmed(RetryAfter(errBackEnd, 5*time.Second))
			}
			return nil
		}
		b.run()
		began := time.Now()
		b.write(0, 1)
		b.wait(14 * time.Second)
		if n := tries.Load(); n != 3 {
			t.Errorf("tried %d times in %s, want a pause of 5 s between two", n, time.Since(began))
		}
		b.wait(time.Minute)
		b.wantValues(0, 1)
		if n := b.driver.state(0).opened; n != 1 {
			t.Errorf("opened %d times", n)
		}
	})
}

// What all sacks hold together is bounded: the largest is flushed.
func TestTablesAreBounded(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: hour, TableBytes: 500}, func(t *testing.T, b *bench) {
		b.run()
		b.write(1, 1)
		for i := range 4 {
			b.write(0, float64(i)) // of 100 bytes each
		}
		b.wantValues(0)
		b.write(1, 2) // 600: beyond
		b.write(1, 3)
		b.wantValues(0, 0, 1, 2, 3)
		if n := b.driver.state(1).flushed; n != 0 {
			t.Error("the smaller one was flushed")
		}
	})
}

// The log may forget what was flushed when it has been retained, and read back after.
func TestConfirm(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, Retain: time.Minute, ConfirmEvery: 10 * time.Second},
		func(t *testing.T, b *bench) {
			b.run()
			first := b.write(0, 1)
			b.wait(50 * time.Second)
			if got := b.log.toldApplied(0); got != 0 {
				t.Errorf("the log was told to forget what is before %d too soon", got)
			}
			b.wait(30 * time.Second)
			if got := b.log.toldApplied(0); got != first {
				t.Errorf("the log was told %d, want %d", got, first)
			}
			b.write(0, 2)
			b.wait(50 * time.Second)
			b.driver.mu.Lock() // the back-end loses its tail, and nobody writes
			b.driver.sack(0).watermark, b.driver.sack(0).owner = 1, nil
			b.driver.sack(0).values = b.driver.sack(0).values[:1]
			b.driver.mu.Unlock()
			b.wait(40 * time.Second)
			b.wantValues(0, 1, 2)
		})
}

// Flushes that somebody in another process asks for are not more frequent than allowed.
func TestNudgeInterval(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: hour, NudgeInterval: time.Second}, func(t *testing.T, b *bench) {
		b.run()
		for range 20 {
			b.write(0, 1)
			b.log.put(0, Delivery{Record: Record{Kind: RecordNudge, AcceptedAt: time.Now()}})
			b.wait(250 * time.Millisecond)
		}
		if n := b.driver.state(0).flushed; n < 4 || n > 6 {
			t.Errorf("%d flushes in five seconds, want about five", n)
		}
	})
}
