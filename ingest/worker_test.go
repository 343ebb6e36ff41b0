package ingest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const hour = time.Hour // longer than any test

func TestFlushAfterInterval(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		b.run()
		b.write(0, 1)
		b.wait(600 * time.Millisecond)
		second := b.write(0, 2)
		b.wait(399 * time.Millisecond)
		b.wantValues(0)
		b.wantWatermark(0, 0)
		b.wait(time.Millisecond) // a second after the first, not after the last
		b.wantValues(0, 1, 2)
		b.wantWatermark(0, second)
		if got := b.log.applied[0]; got != second {
			t.Errorf("the log was told %d, want %d", got, second)
		}
		b.wait(hour)
		if n := b.driver.state(0).flushed; n != 1 {
			t.Errorf("%d flushes, want 1: there was nothing to flush", n)
		}
	})
}

func TestFlushAtSize(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: hour, FlushBytes: 300}, func(t *testing.T, b *bench) {
		b.run()
		b.write(0, 1)
		b.write(0, 2)
		b.wantValues(0)
		b.write(0, 3)
		b.wantValues(0, 1, 2, 3)
	})
}

func TestNudges(t *testing.T) {
	t.Run("Wait", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			began := time.Now()
			at := b.write(0, 1)
			other := b.write(1, 2)
			if err := b.progress.Wait(t.Context(), Position{at, 0}); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) != 0 {
				t.Errorf("waited for %s, want a flush at once", time.Since(began))
			}
			b.wantValues(0, 1)
			b.wantValues(1) // nobody asked
			if err := b.progress.Wait(t.Context(), Position{at, other}); err != nil {
				t.Fatal(err)
			}
			b.wantValues(1, 2)
		})
	})
	t.Run("before the record", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			done := make(chan error)
			go func() { done <- b.progress.Wait(t.Context(), Position{11, 0}) }()
			synctest.Wait()
			b.write(0, 1) // up to 1
			b.wantValues(0)
			b.write(0, 2) // up to 11
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			b.wantValues(0, 1, 2)
		})
	})
	t.Run("coalesce", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.driver.onFlush = func(context.Context, Sack) error { time.Sleep(100 * time.Millisecond); return nil }
			b.run()
			var group sync.WaitGroup
			for i := range 40 {
				at := b.write(0, float64(i))
				group.Go(func() {
					if err := b.progress.Wait(t.Context(), Position{at, 0}); err != nil {
						t.Error(err)
					}
				})
				b.wait(2 * time.Millisecond)
			}
			group.Wait()
			b.wait(time.Second)
			if n := b.driver.state(0).flushed; n != 2 { // the first one's, and everybody's who came meanwhile
				t.Errorf("%d flushes, want 2", n)
			}
		})
	})
	t.Run("record", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			b.write(0, 1)
			b.log.put(0, Delivery{Record: Record{Kind: RecordNudge, AcceptedAt: time.Now()}})
			synctest.Wait()
			b.wantValues(0, 1)
			b.wantWatermark(0, 11)
		})
	})
	t.Run("Nudge", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			b.progress.Nudge(0) // nothing here yet
			synctest.Wait()
			b.write(0, 1)
			b.wantValues(0)
			b.progress.Nudge(0)
			synctest.Wait()
			b.wantValues(0, 1)
		})
	})
	// A token may name a place that the log will never reach.
	t.Run("a place out of reach holds up nobody", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			ctx, cancel := context.WithCancel(t.Context())
			lost := make(chan error)
			go func() { lost <- b.progress.Wait(ctx, Position{1 << 40, 0}) }()
			synctest.Wait()
			at := b.write(0, 1)
			if err := b.progress.Wait(t.Context(), Position{at, 0}); err != nil {
				t.Fatal(err)
			}
			b.wantValues(0, 1)
			cancel()
			if err := <-lost; !errors.Is(err, context.Canceled) {
				t.Errorf("Wait returns %v, want the context's error", err)
			}
		})
	})
}

var errBackEnd = errors.New("back-end does not answer")

// A flush that fails is tried again: the buffer is still good.
func TestFlushIsTriedAgain(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second},
		func(t *testing.T, b *bench) {
			var tried []time.Duration
			began := time.Now()
			b.driver.onFlush = func(context.Context, Sack) error {
				if tried = append(tried, time.Since(began)); len(tried) < 6 {
					return errBackEnd
				}
				return nil
			}
			b.run()
			at := b.write(0, 1)
			b.wait(2 * time.Second)
			lag := b.lag(0)
			if !errors.Is(lag.Err, errBackEnd) || lag.Age != 2*time.Second || lag.Records != 1 ||
				b.progress.Age() != 2*time.Second {
				t.Errorf("while it fails the lag is %+v", lag)
			}
			b.wait(2 * time.Second)
			b.wantValues(0, 1)
			b.wantWatermark(0, at)
			const ms = time.Millisecond
			for i, pause := range []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms} {
				if i+1 >= len(tried) || tried[i+1]-tried[i] < pause/2 || tried[i+1]-tried[i] > pause {
					t.Errorf("tried at %v; pause %d must be between half of %v and all of it", tried, i, pause)
				}
			}
			if s := b.driver.state(0); s.opened != 1 || s.applied != 1 {
				t.Errorf("opened %d times, applied %d times; want once", s.opened, s.applied)
			}
			if lag := b.lag(0); lag.Err != nil || lag.Age != 0 || lag.Records != 0 {
				t.Errorf("afterwards the lag is %+v", lag)
			}
		})
}

// A flush that fails for too long gives its owner up; the log has everything.
func TestFlushGivesUp(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, FlushTimeout: 20 * time.Second}, func(t *testing.T, b *bench) {
		var broken atomic.Bool
		broken.Store(true)
		b.driver.onFlush = func(ctx context.Context, _ Sack) error {
			if broken.Load() {
				<-ctx.Done() // hangs
				return ctx.Err()
			}
			return nil
		}
		b.run()
		b.write(0, 1)
		b.wait(22 * time.Second)
		if s := b.driver.state(0); s.opened != 2 {
			t.Errorf("opened %d times, want 2", s.opened)
		}
		if lag := b.lag(0); lag.Err == nil || lag.Age != 22*time.Second {
			t.Errorf("lag %+v", lag)
		}
		broken.Store(false)
		b.write(0, 2)
		b.wait(time.Minute)
		b.wantValues(0, 1, 2)
	})
}

func TestFenced(t *testing.T) {
	t.Run("Flush", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
			b.run()
			at := b.write(0, 1)
			if _, _, err := b.driver.Open(t.Context(), 0); err != nil { // somebody else
				t.Fatal(err)
			}
			b.wait(1999 * time.Millisecond) // it pauses, for the other one's sake
			b.wantValues(0)
			if s := b.driver.state(0); s.opened != 2 {
				t.Errorf("opened %d times, want 2", s.opened)
			}
			b.wait(2 * time.Second)
			b.wantValues(0, 1)
			b.wantWatermark(0, at)
		})
	})
	t.Run("Maintain", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: time.Second, MaintainEvery: 10 * time.Second}, func(t *testing.T, b *bench) {
			var fenced atomic.Bool
			b.driver.onMaintain = func(s Sack) error {
				if s == 0 && fenced.Load() {
					return ErrFenced
				}
				return nil
			}
			b.run()
			b.wait(15 * time.Second)
			fenced.Store(true)
			b.wait(5 * time.Second)
			if err := b.lag(0).Err; !errors.Is(err, ErrFenced) {
				t.Errorf("the sack stands still because of %v, want ErrFenced", err)
			}
			fenced.Store(false)
			b.wait(5 * time.Second)
			if s := b.driver.state(0); s.opened != 2 {
				t.Errorf("opened %d times, want 2", s.opened)
			}
			if lag := b.lag(0); lag.Err != nil || lag.Age != 0 {
				t.Errorf("with a new owner and nothing to do the lag is %+v", lag)
			}
		})
	})
}

// A sack whose back-end refuses for good stands still, and says so; the others go on.
func TestOneStandsStill(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, BackoffMax: 4 * time.Second}, func(t *testing.T, b *bench) {
		refusal := Permanent(errors.New("access denied"))
		var broken atomic.Bool
		broken.Store(true)
		var tried []time.Time
		b.driver.onOpen = func(s Sack) error {
			if s == 0 && broken.Load() {
				tried = append(tried, time.Now())
				return refusal
			}
			return nil
		}
		b.run()
		b.write(0, 1)
		b.write(1, 2)
		b.wait(20 * time.Second)
		b.wantValues(1, 2)
		lag := b.lag(0)
		if !errors.Is(lag.Err, refusal) || lag.Age != 20*time.Second || lag.Records != 1 {
			t.Errorf("lag %+v", lag)
		}
		if other := b.lag(1); other.Err != nil || other.Age != 0 {
			t.Errorf("lag of the other sack %+v", other)
		}
		for i := 2; i < len(tried); i++ {
			if pause, before := tried[i].Sub(tried[i-1]), tried[i-1].Sub(tried[i-2]); pause != min(2*before, 4*time.Second) {
				t.Errorf("pause %d is %s, after one of %s", i, pause, before)
			}
		}
		broken.Store(false)
		b.wait(10 * time.Second)
		b.wantValues(0, 1)
		if lag := b.lag(0); lag.Err != nil || lag.Age != 0 {
			t.Errorf("afterwards the lag is %+v", lag)
		}
	})
}

// After an error of Apply the sack is opened again, and delivered again.
func TestApplyFails(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		var broken atomic.Bool
		b.driver.onApply = func(context.Context, Sack) error {
			if broken.Load() {
				return errBackEnd
			}
			return nil
		}
		b.run()
		b.write(0, 1) // applied, and lost with its owner
		broken.Store(true)
		b.wait(500 * time.Millisecond)
		b.write(0, 2)
		b.wait(9500 * time.Millisecond)
		if lag := b.lag(0); !errors.Is(lag.Err, errBackEnd) || lag.Records != 2 || lag.Age != 10*time.Second {
			t.Errorf("lag %+v", lag)
		}
		broken.Store(false)
		b.wait(time.Minute)
		b.wantValues(0, 1, 2)
	})
}

func TestFetchFails(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		source := &brokenSource{memoryLog: b.log, broken: true}
		b.progress = NewProgress(2, source)
		w := newTestWorker(t, source, b)
		b.runWorker(w)
		b.write(0, 1)
		b.wait(10 * time.Second)
		if lag := b.lag(0); !errors.Is(lag.Err, ErrUnavailable) || lag.Records != 1 || lag.Age < 9*time.Second {
			t.Errorf("lag %+v", lag)
		}
		source.mend()
		b.wait(time.Minute)
		b.wantValues(0, 1)
		if lag := b.lag(0); lag.Err != nil || lag.Age != 0 {
			t.Errorf("afterwards the lag is %+v", lag)
		}
	})
}

// A log that hands out nothing although it has records is told, with what waits, and the
// sack goes on when it does again. A sack in which nothing waits is not.
func TestFetchMakesNoProgress(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, FetchPatience: time.Minute}, func(t *testing.T, b *bench) {
		source := &silentSource{memoryLog: b.log, silent: true}
		b.progress = NewProgress(2, source)
		b.runWorker(newTestWorker(t, source, b))
		b.wait(3 * hour) // idle
		if lag := b.lag(0); lag.Err != nil || lag.Age != 0 {
			t.Errorf("the lag of an idle sack is %+v", lag)
		}
		b.write(0, 1)
		b.wait(2 * time.Minute)
		lag := b.lag(0)
		if lag.Err == nil || !strings.Contains(lag.Err.Error(), "makes no progress: the log has 1 records") ||
			lag.Records != 1 || lag.Age > 2*time.Minute {
			t.Errorf("lag %+v", lag)
		}
		if other := b.lag(1); other.Err != nil {
			t.Errorf("the other sack's lag is %+v", other)
		}
		source.mend()
		b.wait(2 * time.Minute)
		b.wantValues(0, 1)
		if lag := b.lag(0); lag.Err != nil || lag.Age != 0 {
			t.Errorf("afterwards the lag is %+v", lag)
		}
	})
}

// What can't be applied becomes a dead letter before any watermark passes it.
func TestDeadLetters(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, MaxFuture: hour}, func(t *testing.T, b *bench) {
		accepted := time.Now().UTC()
		soon, far := accepted.Add(hour).UnixNano(), accepted.Add(hour).UnixNano()+1
		b.log.put(0, Delivery{Record: Record{Kind: RecordMeasures, Project: "p", AcceptedAt: accepted, Entries: []Entry{
			{Metric: metricN(1), Policy: "low", Measures: []Measure{{soon, 1}}},
			{Metric: metricN(2), Policy: unknown, Measures: []Measure{{1, 2}, {2, 3}}},
			{Metric: metricN(3), Policy: "low", Measures: []Measure{{1, 4}, {far, 5}, {2, 6}, {far + 1, 7}}},
			{Metric: metricN(4), Policy: unknown, Measures: []Measure{{far, 8}, {1, 9}}},
		}}})
		b.log.put(0, Delivery{Err: errors.New("bad checksum"), Raw: []byte("??")})
		at := b.write(0, 10)
		b.run()
		b.wait(time.Second)
		b.wantValues(0, 1, 4, 6, 10)
		b.wantWatermark(0, at)

		got, _ := b.letters.List(t.Context(), "", 100)
		slices.SortFunc(got, func(a, b DeadLetter) int {
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
		const future = "timestamp is more than 1h0m0s after the record was accepted"
		whose := DeadLetter{Project: "p", AcceptedAt: accepted, RejectedAt: accepted}
		letter := func(id string, metric int, policy, reason string, measures ...Measure) DeadLetter {
			l := whose
			l.ID, l.Metric, l.Policy, l.Reason, l.Measures = id, metricN(metric), policy, reason, measures
			return l
		}
		want := []DeadLetter{
			letter("0000-0000000000000000-0001", 2, unknown, "no such policy", Measure{1, 2}, Measure{2, 3}),
			letter("0000-0000000000000000-0003", 4, unknown, "no such policy", Measure{1, 9}),
			letter("0000-0000000000000000-100002", 3, "low", future, Measure{far, 5}, Measure{far + 1, 7}),
			letter("0000-0000000000000000-100003", 4, unknown, future, Measure{far, 8}),
			{ID: "0000-000000000000000a-0000", Offset: 10, RejectedAt: accepted,
				Reason: "record can't be decoded: bad checksum", Raw: []byte("??")},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dead letters (-want +got): %s", diff)
		}
		for id, watermark := range b.letters.at {
			if watermark != 0 {
				t.Errorf("letter %s came when the watermark was at %d already", id, watermark)
			}
		}
	})
}

// Any future goes when that is configured.
func TestAnyFuture(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, MaxFuture: -1}, func(t *testing.T, b *bench) {
		b.run()
		b.log.put(0, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: time.Now(),
			Entries: []Entry{{Policy: "low", Measures: []Measure{{1<<63 - 1, 1}}}}}})
		b.wait(time.Second)
		b.wantValues(0, 1)
		if n := b.letters.Count(); n != 0 {
			t.Errorf("%d dead letters", n)
		}
	})
}

// Without a place for dead letters nothing may pass.
func TestDeadLettersFail(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		full := errors.New("disk is full")
		b.letters.failWith(full)
		b.run()
		b.log.put(0, Delivery{Err: errors.New("bad checksum")})
		b.write(0, 1)
		b.write(1, 2)
		b.wait(30 * time.Second)
		b.wantValues(0)
		b.wantWatermark(0, 0)
		b.wantValues(1, 2)
		if lag := b.lag(0); !errors.Is(lag.Err, full) || lag.Age != 30*time.Second {
			t.Errorf("lag %+v", lag)
		}
		b.letters.failWith(nil)
		b.wait(time.Minute)
		b.wantValues(0, 1)
		b.wantWatermark(0, 11)
		if n := b.letters.Count(); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

// A record delivered again makes no second letter.
func TestDeadLettersOnce(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, FlushTimeout: time.Second}, func(t *testing.T, b *bench) {
		var broken atomic.Bool
		broken.Store(true)
		b.driver.onFlush = func(context.Context, Sack) error {
			if broken.Load() {
				return errBackEnd
			}
			return nil
		}
		b.run()
		b.log.put(0, Delivery{Err: errors.New("bad checksum")})
		b.wait(20 * time.Second)
		broken.Store(false)
		b.wait(time.Minute)
		if s := b.driver.state(0); s.applied < 2 || s.watermark != 1 {
			t.Errorf("applied %d times, up to %d", s.applied, s.watermark)
		}
		if n := b.letters.Count(); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

func TestStop(t *testing.T) {
	t.Run("flushes once more", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour}, func(t *testing.T, b *bench) {
			b.run()
			at := b.write(0, 1)
			b.stop()
			b.wantValues(0, 1)
			b.wantWatermark(0, at)
		})
	})
	t.Run("is not held up by a back-end that hangs", func(t *testing.T) {
		onBench(t, WorkerConfig{FlushInterval: hour, FlushTimeout: hour}, func(t *testing.T, b *bench) {
			b.driver.onFlush = func(ctx context.Context, _ Sack) error { <-ctx.Done(); return ctx.Err() }
			b.run()
			b.write(0, 1)
			b.write(1, 2)
			b.progress.Nudge(1) // this one is flushing already
			b.wait(time.Minute)
			began := time.Now()
			b.stop()
			if took := time.Since(began); took != stopTimeout {
				t.Errorf("took %s, want %s", took, stopTimeout)
			}
		})
	})
	t.Run("ends a pause", func(t *testing.T) {
		onBench(t, WorkerConfig{}, func(t *testing.T, b *bench) {
			b.driver.onOpen = func(Sack) error { return errBackEnd }
			b.run()
			b.wait(hour)
			began := time.Now()
			b.stop()
			if took := time.Since(began); took != 0 {
				t.Errorf("took %s", took)
			}
		})
	})
}

func TestMaintain(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, MaintainEvery: time.Minute, Maintainers: 1},
		func(t *testing.T, b *bench) {
			running, most := 0, 0
			b.driver.onMaintain = func(Sack) error {
				running++
				most = max(most, running)
				time.Sleep(10 * time.Second)
				running--
				return nil
			}
			b.run()
			b.write(0, 1)
			b.write(1, 2)
			b.wait(30 * time.Second)
			if zero, one := b.driver.state(0).chored, b.driver.state(1).chored; zero != 1 || one != 1 {
				t.Errorf("after a flush each, housekeeping was done %d and %d times, want once", zero, one)
			}
			b.write(0, 3)
			b.wait(2 * time.Second) // a flush does not wait for housekeeping
			b.write(0, 4)
			b.wait(2 * time.Second)
			b.wantValues(0, 1, 3, 4)
			b.wait(5 * time.Minute)
			if n := b.driver.state(1).chored; n < 3 {
				t.Errorf("an idle sack's housekeeping was done %d times in five minutes", n)
			}
			if most != 1 {
				t.Errorf("%d sacks did housekeeping at the same time, want 1", most)
			}
		})
}

// Housekeeping that fails is tried again; measures go on meanwhile.
func TestMaintainFails(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second, BackoffMin: time.Second, MaintainEvery: hour},
		func(t *testing.T, b *bench) {
			tries := 0
			b.driver.onMaintain = func(Sack) error {
				if tries++; tries < 4 {
					return errBackEnd
				}
				return nil
			}
			b.run()
			b.write(0, 1)
			b.wait(2 * time.Second)
			b.write(0, 2)
			b.wait(20 * time.Second)
			b.wantValues(0, 1, 2)
			if s := b.driver.state(0); s.chored < 1 || s.opened != 1 {
				t.Errorf("housekeeping was done %d times, the sack opened %d times", s.chored, s.opened)
			}
		})
}

// A back-end that has lost its tail gets it again.
func TestLostTail(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		b.run()
		b.write(0, 1)
		b.wait(time.Second)
		at := b.write(0, 2)
		b.wait(time.Second)
		b.wantWatermark(0, at)
		b.driver.mu.Lock() // a fail-over to a copy that is behind
		s := b.driver.sack(0)
		s.watermark, s.values, s.owner = 1, s.values[:1], nil
		b.driver.mu.Unlock()
		third := b.write(0, 3)
		b.wait(5 * time.Second)
		b.wantValues(0, 1, 2, 3)
		b.wantWatermark(0, third)
	})
}

// Sacks that are written to all the time don't flush at the same moments, though they have
// all begun at once; none is flushed more often than before, nor later.
func TestSacksTakeTurnsInFlushing(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: 10 * time.Second}, func(t *testing.T, b *bench) {
		began := time.Now()
		var mu sync.Mutex
		flushes := map[Sack][]time.Duration{}
		b.driver.onFlush = func(_ context.Context, s Sack) error {
			mu.Lock()
			defer mu.Unlock()
			flushes[s] = append(flushes[s], time.Since(began))
			return nil
		}
		b.run()
		b.wait(3 * time.Second)
		for time.Since(began) < 60*time.Second {
			b.write(0, 1)
			b.write(1, 1)
			b.wait(100 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		apart := 10 * time.Second
		for _, x := range flushes[0][1:] {
			for _, y := range flushes[1][1:] {
				apart = min(apart, (x - y).Abs())
			}
		}
		if apart < 4*time.Second {
			t.Errorf("flushes come within %s of each other: %v", apart, flushes)
		}
		for s, at := range flushes {
			last := 3 * time.Second
			for i, x := range at {
				if x-last > 10*time.Second+100*time.Millisecond || i > 1 && x-last < 9900*time.Millisecond {
					t.Errorf("sack %d is flushed after %s, %s after the flush before", s, x, x-last)
				}
				last = x
			}
		}
	})
}

// A worker that starts behind a long log does not report an age from before it ran.
func TestAgeCountsFromTheStart(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: 10 * time.Second}, func(t *testing.T, b *bench) {
		b.log.put(0, Delivery{Record: Record{Kind: RecordNudge, AcceptedAt: time.Now().Add(-24 * hour)}})
		b.driver.onFlush = func(context.Context, Sack) error { return errBackEnd }
		b.run()
		b.wait(5 * time.Second)
		if age := b.progress.Age(); age != 5*time.Second {
			t.Errorf("age %s, want 5s", age)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	onBench(t, WorkerConfig{}, func(t *testing.T, b *bench) {
		b.driver.onFlush = func(context.Context, Sack) error { return errBackEnd }
		b.run()
		at := b.write(0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if err := b.progress.Wait(ctx, Position{at, 0}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returns %v, want the context's error", err)
		}
		if n := len(b.progress.sacks[0].waiters); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
		if b.progress.Reached(Position{at, 0}) {
			t.Error("the position counts as reached")
		}
		if err := b.progress.Wait(t.Context(), Position{0, 0}); err != nil {
			t.Errorf("nothing to wait for: %v", err)
		}
	})
}
