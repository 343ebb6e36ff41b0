package drivertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"millrace/ingest"
)

// contract shows what the methods of ingest.Driver and ingest.SackWriter promise,
// whatever the measures mean.
func (s *suite) contract(t *testing.T) {
	t.Run("what is applied is visible after Flush, or at once", s.beforeFlush)
	t.Run("metrics nobody has seen have no rows", s.unseen)
	t.Run("no queries", s.noQueries)
	t.Run("a record delivered again changes nothing", s.again)
	t.Run("a new owner continues at the watermark", s.newOwner)
	if s.unfenced {
		t.Run("two owners do no harm", s.twoOwners)
	} else {
		t.Run("an earlier owner is fenced", s.fenced)
	}
	t.Run("fencing one sack leaves the others alone", s.fencedAlone)
	t.Run("undecodable records and nudges move the watermark", s.emptyRecords)
	t.Run("an unknown policy rejects its entry alone", s.unknownPolicy)
	t.Run("a policy that can't be looked up stops Apply", s.brokenPolicies)
	t.Run("a cancelled context does nothing", s.cancelled)
	t.Run("what is buffered is counted", s.buffered)
	t.Run("housekeeping of an empty sack", s.emptyMaintain)
	t.Run("Close twice", s.closeTwice)
	t.Run("use after Close", s.afterClose)
}

// simple is a policy of minutes and hours with the default methods.
func simple() ingest.ArchivePolicy {
	return policy("simple", 1, plain(), keep(time.Minute, 0), keep(time.Hour, 0))
}

// noon is where the stories begin.
var noon = time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC).UnixNano()

// at is a measure some time after noon.
func at(after time.Duration, value float64) ingest.Measure {
	return ingest.Measure{Time: noon + int64(after), Value: value}
}

func (s *suite) beforeFlush(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	h.measure(m, at(0, 1), at(time.Second, 2))
	h.apply()
	h.check() // the oracle knows nothing yet
	h.maintain(2)
	h.check()
	h.flush()
	h.check()
	h.measure(m, at(2*time.Second, 3))
	h.apply()
	h.check()
	h.flush()
	h.check()
	h.flush() // with nothing to flush
	h.check()
}

func (s *suite) unseen(t *testing.T) {
	h := s.start(t, simple()).history(2)
	h.metric("simple")
	h.check()
	h.measure(h.metric("simple"), at(0, 1))
	h.apply()
	h.flush()
	h.check()
}

func (s *suite) noQueries(t *testing.T) {
	tr := s.start(t, simple())
	if _, err := tr.driver.Read(t.Context(), nil, nil, nil); err != nil {
		t.Errorf("cannot read nothing: %v", err)
	}
	if late, ok := tr.driver.(ingest.LateReader); ok {
		if counts, err := late.Late(t.Context(), nil); err != nil || len(counts) != 0 {
			t.Errorf("late measures of no metrics: %v, %v", counts, err)
		}
	}
}

func (s *suite) again(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	for i := range time.Duration(6) {
		h.measure(m, at(i*time.Hour, float64(i)), at(0, -float64(i))) // late from the third on
	}
	h.deliver(0, 3)
	h.deliver(0, 3)
	h.deliver(1, 4) // overlapping
	h.flush()
	h.check()
	h.deliver(0, 4)
	if _, err := h.writer.Flush(t.Context(), h.watermark()); err != nil {
		t.Errorf("cannot flush old records: %v", err)
	}
	h.check()
	h.deliver(2, 6)
	h.flush()
	h.check()
}

func (s *suite) newOwner(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	for i := range time.Duration(4) {
		h.measure(m, at(i*time.Minute, float64(i)))
	}
	h.deliver(0, 2)
	h.flush()
	h.deliver(2, 4)
	h.abandon() // without a flush
	h.check()
	h.open(0)
	h.check()
	h.apply()
	h.flush()
	h.check()
	h.abandon()
	h.open(4) // everything once more
	h.flush()
	h.check()
	h.measure(m, at(time.Hour, 1), at(-time.Hour, 7), at(-time.Hour-1, 7)) // it knows how far the metric had come
	h.apply()
	h.flush()
	h.check()
}

func (s *suite) fenced(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.apply()
	h.flush()
	h.measure(m, at(time.Minute, 2))
	h.apply()
	old := h.writer
	h.open(0)
	h.wantFenced(old)
	h.wantFenced(old) // still
	h.check()
	h.apply()
	h.flush()
	h.check()

	// The old one writes on: what it takes in must not be seen.
	stray := clone(h.log[len(h.log)-1:])
	stray[0].Offset += 100
	stray[0].Record.Entries[0].Measures[0] = at(2*time.Minute, 666)
	if _, err := old.Apply(t.Context(), stray); err == nil {
		h.wantFenced(old)
	} else if !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("an earlier owner's Apply returns %v, want nil or ErrFenced", err)
	}
	if err := old.Maintain(t.Context()); err != nil && !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("an earlier owner's Maintain returns %v, want nil or ErrFenced", err)
	}
	h.measure(m, at(3*time.Minute, 3))
	h.apply()
	h.flush()
	h.check()
	if err := old.Close(); err != nil {
		t.Errorf("cannot close a fenced writer: %v", err)
	}
	h.maintain(settled)
	h.check()
}

// twoOwners has both owners of a sack apply and flush the same log, now one of them
// ahead and now the other.
func (s *suite) twoOwners(t *testing.T) {
	h := s.start(t, simple()).history(0)
	a, b := h.metric("simple"), h.metric("simple")
	h.measure(a, at(0, 1))
	h.apply()
	h.flush()
	first := h.writer
	h.open(0)
	for i := range time.Duration(6) {
		h.measure(a, at(i*time.Minute, float64(i)))
		h.measure(b, at(i*time.Minute, -float64(i)))
		if i == 3 {
			a.deleted = true
			h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: a.id})
		}
		h.apply()
		h.flush()
		h.check()
		if i%2 == 0 {
			continue // and one record later the first is behind
		}
		if _, err := first.Apply(t.Context(), clone(h.log)); err != nil {
			h.fatalf("the first owner cannot apply: %v", err)
		}
		if _, err := first.Flush(t.Context(), h.watermark()); err != nil {
			h.fatalf("the first owner cannot flush: %v", err)
		}
		h.check()
	}
	if n := h.writer.Epoch(); n != 0 {
		t.Errorf("a writer that doesn't fence has epoch %d, want 0", n)
	}
	if err := first.Close(); err != nil {
		t.Errorf("cannot close the first writer: %v", err)
	}
	h.check()
	h.abandon()
	h.open(3)
	h.check()
}

func (s *suite) fencedAlone(t *testing.T) {
	tr := s.start(t, simple())
	one, ten := tr.history(1), tr.history(10)
	a, b := one.metric("simple"), ten.metric("simple")
	one.measure(a, at(0, 1))
	ten.measure(b, at(0, 10), at(time.Minute, 11))
	one.apply()
	ten.apply()
	one.open(0)
	ten.flush()
	one.check()
	ten.check()
	one.apply()
	one.flush()
	one.check()
	ten.check()
}

func (s *suite) emptyRecords(t *testing.T) {
	h := s.start(t, simple()).history(0)
	h.writeDelivery(ingest.Delivery{Err: errUndecodable, Raw: []byte("not a record")})
	h.apply()
	h.flush()
	h.check()
	h.write(ingest.Record{Kind: ingest.RecordNudge})
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.writeDelivery(ingest.Delivery{Err: errUndecodable})
	h.apply()
	h.flush()
	h.check()
	h.write(ingest.Record{Kind: ingest.RecordNudge})
	h.measure(m) // an entry without measures
	h.write(record())
	h.apply()
	h.flush()
	h.abandon()
	h.open(0)
	h.check()
}

func (s *suite) unknownPolicy(t *testing.T) {
	h := s.start(t, simple()).history(0)
	a, b, c := h.metric("simple"), h.metric(noPolicy), h.metric("simple")
	h.write(record(
		ingest.Entry{Metric: a.id, Policy: a.policy, Measures: []ingest.Measure{at(0, 1)}},
		ingest.Entry{Metric: b.id, Policy: b.policy, Measures: []ingest.Measure{at(0, 2), at(1, 2)}},
		ingest.Entry{Metric: c.id, Policy: c.policy, Measures: []ingest.Measure{at(0, 3)}},
		ingest.Entry{Metric: b.id, Policy: b.policy, Measures: []ingest.Measure{at(2, 2)}},
	))
	h.measure(b, at(0, 4)) // nothing but
	h.measure(a, at(time.Second, 5))
	h.apply()
	h.flush()
	h.check()
	h.deliver(0, 3) // no rejects this time: they were seen before
	h.flush()
	h.check()
}

func (s *suite) brokenPolicies(t *testing.T) {
	h := s.start(t, simple(), policy("other", 0, plain(), keep(time.Second, 0))).history(0)
	a, b := h.metric("simple"), h.metric("other")
	h.measure(a, at(0, 1))
	h.apply()
	h.flush()
	h.measure(a, at(time.Second, 2))
	h.measure(b, at(0, 3)) // a policy that was never asked for
	broken := errors.New("index does not answer")
	h.policies.fail(broken)
	if err := h.tryDeliver(1, 3); !errors.Is(err, broken) {
		h.fatalf("Apply returns %v, want an error that wraps the index's", err)
	} else if ingest.IsPermanent(err) {
		h.fatalf("Apply calls the index's trouble permanent: %v", err)
	}
	h.abandon()
	h.policies.fail(nil)
	h.open(0)
	h.apply()
	h.flush()
	h.check()
}

func (s *suite) cancelled(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.apply()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s returns %v, want the context's error", what, err)
		}
	}
	_, err := h.writer.Flush(ctx, h.watermark())
	want("Flush", err)
	h.check()
	_, _, err = h.driver.Open(ctx, 0) // must not fence
	want("Open", err)
	q := ingest.Query{Metric: m.id, Policy: h.policies.of("simple"), Granularity: time.Minute, Method: ingest.Sum,
		From: ingest.MinTime, To: ingest.MaxTime}
	_, err = h.driver.Read(ctx, []ingest.Query{q}, make([][]ingest.Measure, 1), nil)
	want("Read", err)
	if late, ok := h.driver.(ingest.LateReader); ok {
		_, err := late.Late(ctx, []ingest.MetricID{m.id})
		want("Late", err)
	}
	if err := h.writer.Maintain(ctx); err != nil {
		want("Maintain", err)
	}
	h.flush() // none of this did any harm
	h.check()
	h.measure(m, at(time.Second, 2))
	_, err = h.writer.Apply(ctx, clone(h.log[1:]))
	want("Apply", err)
	h.abandon()
	h.open(0)
	h.apply()
	h.flush()
	h.check()
}

func (s *suite) buffered(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	if n := h.writer.Buffered(); n != 0 {
		t.Errorf("a new writer has %d bytes in its buffer", n)
	}
	measures := make([]ingest.Measure, 1000)
	for i := range measures {
		measures[i] = at(time.Duration(i), 1)
	}
	h.measure(m, measures...)
	h.apply()
	if n := h.writer.Buffered(); n < 1000 || n > 1<<20 {
		t.Errorf("1000 measures are %d bytes in the buffer", n)
	}
	h.flush()
	if n := h.writer.Buffered(); n != 0 {
		t.Errorf("%d bytes are in the buffer after a flush", n)
	}
}

func (s *suite) emptyMaintain(t *testing.T) {
	h := s.start(t, simple()).history(0)
	h.maintain(settled)
	h.check()
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.apply()
	h.maintain(settled)
	h.flush()
	h.check()
}

func (s *suite) closeTwice(t *testing.T) {
	tr := s.start(t, simple())
	h := tr.history(0)
	for range 2 {
		if err := h.writer.Close(); err != nil {
			t.Errorf("cannot close the writer: %v", err)
		}
	}
	for range 2 {
		if err := tr.driver.Close(); err != nil {
			t.Errorf("cannot close the driver: %v", err)
		}
	}
}

func (s *suite) afterClose(t *testing.T) {
	tr := s.start(t, simple())
	h := tr.history(0)
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.apply()
	h.abandon()
	want := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s after Close returns no error", what)
		}
	}
	_, err := h.writer.Apply(t.Context(), clone(h.log))
	want("a writer's Apply", err)
	_, err = h.writer.Flush(t.Context(), h.watermark())
	want("a writer's Flush", err)
	h.writer.Maintain(t.Context()) // may say so or not; does nothing
	h.writer.Buffered()
	h.check()
	if err := tr.driver.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = tr.driver.Open(t.Context(), 0)
	want("Open", err)
	q := ingest.Query{Metric: m.id, Policy: tr.policies.of("simple"), Granularity: time.Minute, Method: ingest.Sum,
		From: ingest.MinTime, To: ingest.MaxTime}
	_, err = tr.driver.Read(t.Context(), []ingest.Query{q}, make([][]ingest.Measure, 1), nil)
	want("Read", err)
}
