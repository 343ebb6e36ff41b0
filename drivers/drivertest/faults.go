package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// A Fault is what becomes of one call that a driver makes to what is beneath it.
type Fault int

const (
	// NoFault lets the call through.
	NoFault Fault = iota
	// FailFirst fails the call before it has done anything.
	FailFirst
	// LoseAnswer does what the call asks and fails it then.
	LoseAnswer
)

// ErrFault is what a call that is made to fail returns, or wraps.
var ErrFault = errors.New("injected fault")

// Faults decides about each call beneath a driver. It may be asked concurrently.
type Faults struct {
	mu     sync.Mutex
	random *rand.Rand
	share  float64
	asked  int
}

// Next decides about the next call.
func (f *Faults) Next() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.random.Float64() >= f.share {
		return NoFault
	}
	return FailFirst + Fault(f.random.IntN(2))
}

// set makes a share of all calls fail.
func (f *Faults) set(share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.share = share
}

// calls says how many calls asked.
func (f *Faults) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// A FaultyOpener is an Opener whose driver's calls to what is beneath it ask
// faults first. They may be asked while the driver is opened, too; none fails then.
type FaultyOpener func(t *testing.T, policies ingest.Policies, faults *Faults) ingest.Driver

// RunWithFaults makes calls beneath the driver fail before or after they are done,
// does what the contract says then (flush again, or open again and deliver from
// the watermark), and wants the driver right all the time.
func RunWithFaults(t *testing.T, open FaultyOpener, options ...Option) {
	s := newSuite(t, nil, options)
	for _, share := range []float64{0.02, 0.1, 0.3} {
		t.Run(fmt.Sprintf("%g of all calls fail", share), func(t *testing.T) {
			for _, i := range []int{4, 5, 8, 9} { // mixed, odd granularities, short spans, rates
				p := profiles()[i]
				t.Run(p.name, func(t *testing.T) { s.withFaults(open).faulty(t, p, share) })
			}
		})
	}
	t.Run("housekeeping beside it", func(t *testing.T) { s.withFaults(open).faultyHousekeeping(t) })
	t.Run("nothing works for a while", func(t *testing.T) { s.withFaults(open).outage(t) })
}

// A faultySuite is a suite for one test with its own faults.
type faultySuite struct {
	*suite
	faults *Faults
}

func (s *suite) withFaults(open FaultyOpener) *faultySuite {
	mine := *s
	f := &faultySuite{suite: &mine, faults: &Faults{}}
	mine.open = func(t *testing.T, policies ingest.Policies) ingest.Driver {
		f.faults.random = s.randomFor(t)
		return open(t, policies, f.faults)
	}
	mine.patience = 2000
	return f
}

// faulty lives a random history while a share of all calls fail.
func (s *faultySuite) faulty(t *testing.T, p profile, share float64) {
	h := s.start(t, p.policies...).history(6)
	h.populate(p)
	s.faults.set(share)
	for range s.length(100) {
		switch n := h.rand.IntN(100); {
		case n < 50:
			for range 1 + h.rand.IntN(3) {
				h.writeRandom(p)
			}
			h.applyPatiently()
		case n < 78:
			h.flushPatiently()
		case n < 90:
			h.maintainPatiently(1 + h.rand.IntN(settled))
		case n < 94:
			h.abandon()
			h.openPatiently()
		default:
			h.checkSome(0.1)
		}
	}
	s.converge(h)
}

// converge ends the faults and wants everything right.
func (s *faultySuite) converge(h *history) {
	h.t.Helper()
	h.applyPatiently()
	h.flushPatiently()
	h.check()
	s.faults.set(0)
	if s.faults.calls() == 0 {
		h.t.Error("the driver has never asked for a fault")
	}
	h.patience = 0
	h.check()
	h.maintain(settled)
	h.check()
	h.abandon()
	h.open(2)
	h.check()
}

// faultyHousekeeping runs Maintain beside Apply and Flush, while all of them fail
// now and then.
func (s *faultySuite) faultyHousekeeping(t *testing.T) {
	p := profiles()[8]
	h := s.start(t, p.policies...).history(6)
	h.populate(p)
	s.faults.set(0.1)
	for range s.length(12) {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		writer := h.writer
		wait.Go(func() {
			for ctx.Err() == nil {
				if err := writer.Maintain(ctx); errors.Is(err, ingest.ErrFenced) {
					return // a flush that gave up has opened the sack again
				}
				time.Sleep(100 * time.Microsecond) // leave the processor to the others
			}
		})
		for range 6 {
			h.writeRandom(p)
			h.applyPatiently()
			h.flushPatiently()
		}
		cancel()
		wait.Wait()
		h.checkSome(0.3)
	}
	s.converge(h)
}

// outage lets nothing through for a while, again and again.
func (s *faultySuite) outage(t *testing.T) {
	h := s.start(t, simple()).history(6)
	m := h.metric("simple")
	for i := range time.Duration(s.length(40)) {
		h.measure(m, at(i*20*time.Minute, float64(i)))
		h.applyPatiently()
		s.faults.set(1)
		for range 3 {
			if err := h.tryFlush(); err == nil {
				h.fatalf("a flush through an outage returns no error")
			}
			h.writer.Maintain(t.Context()) // may fail
		}
		if i%4 == 3 {
			h.abandon()
			if err := h.tryOpen(0); err == nil {
				h.fatalf("the sack opens through an outage")
			}
			s.faults.set(0)
			h.openPatiently()
			h.applyPatiently()
		}
		s.faults.set(0)
		h.flushPatiently()
		h.maintain(1)
		h.check()
	}
	s.converge(h)
}

// patiently does something until it works. Nothing may fail for good: nobody is
// to blame but what is beneath.
func (h *history) patiently(what string, do func() error) {
	h.t.Helper()
	var err error
	for range h.patience + 1 {
		if err = do(); err == nil {
			return
		}
		if errors.Is(err, ingest.ErrFenced) || ingest.IsPermanent(err) || h.patience == 0 {
			h.fatalf("cannot %s: %v", what, err)
		}
	}
	h.fatalf("cannot %s, however often it is tried: %v", what, err)
}

func (h *history) openPatiently() {
	h.t.Helper()
	h.patiently("open", func() error {
		err := h.tryOpen(h.rand.IntN(4))
		return err
	})
}

// applyPatiently applies all that is written, opening the sack again whenever it
// fails.
func (h *history) applyPatiently() {
	h.t.Helper()
	h.patiently("apply", func() error {
		if h.next == len(h.log) {
			return nil
		}
		err := h.tryDeliver(h.next, len(h.log))
		if err != nil {
			h.abandon()
			h.openPatiently()
		}
		return err
	})
}

// flushPatiently flushes until that works; sometimes it gives the writer up in
// between, not knowing what has become of its flush.
func (h *history) flushPatiently() {
	h.t.Helper()
	h.patiently("flush", func() error {
		err := h.tryFlush()
		if err != nil && !errors.Is(err, ingest.ErrFenced) && h.rand.IntN(6) == 0 {
			h.abandon()
			h.openPatiently()
			h.applyPatiently()
		}
		return err
	})
}

// maintainPatiently does rounds of housekeeping that may fail.
func (h *history) maintainPatiently(rounds int) {
	h.t.Helper()
	for range rounds {
		err := h.writer.Maintain(h.t.Context())
		h.did.note("maintain  %v", outcome(err))
		if errors.Is(err, ingest.ErrFenced) || ingest.IsPermanent(err) {
			h.fatalf("cannot maintain: %v", err)
		}
	}
}
