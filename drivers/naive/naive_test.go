package naive

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// onePolicy knows a single policy, under the name "p".
type onePolicy struct{ policy *ingest.ArchivePolicy }

func (p onePolicy) Policy(_ context.Context, name string) (*ingest.ArchivePolicy, error) {
	if name != "p" {
		return nil, ingest.ErrNoPolicy
	}
	return p.policy, nil
}

func at(text string) int64 {
	t, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		panic(err)
	}
	return time.Date(2014, 1, 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC).UnixNano()
}

// A story is a metric's life under one policy, one record at a time.
type story struct {
	t      *testing.T
	policy *ingest.ArchivePolicy
	driver *Driver
	writer ingest.SackWriter
	offset ingest.Offset
}

func begin(t *testing.T, backWindow int, definitions ...ingest.Definition) *story {
	t.Helper()
	s := &story{t: t, policy: &ingest.ArchivePolicy{Name: "p", BackWindow: backWindow, Definitions: definitions,
		Methods: ingest.DefaultMethods()}}
	s.driver = New(onePolicy{s.policy})
	var err error
	if s.writer, _, err = s.driver.Open(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *story) apply(r ingest.Record) {
	s.t.Helper()
	if _, err := s.writer.Apply(s.t.Context(), []ingest.Delivery{{Offset: s.offset, Record: r}}); err != nil {
		s.t.Fatal(err)
	}
	s.offset++
	if _, err := s.writer.Flush(s.t.Context(), ingest.Watermark{Offset: s.offset}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) measure(measures ...ingest.Measure) {
	s.t.Helper()
	s.apply(ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Policy: "p", Measures: measures}}})
}

func (s *story) rows(g time.Duration, m ingest.Method, from, to int64) []ingest.Measure {
	s.t.Helper()
	dst := make([][]ingest.Measure, 1)
	q := ingest.Query{Policy: s.policy, Granularity: g, Method: m, From: from, To: to}
	if _, err := s.driver.Read(s.t.Context(), []ingest.Query{q}, dst, nil); err != nil {
		s.t.Fatal(err)
	}
	return dst[0]
}

func (s *story) want(g time.Duration, m ingest.Method, want ...ingest.Measure) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.rows(g, m, ingest.MinTime, ingest.MaxTime)); diff != "" {
		s.t.Errorf("%s of %s (-want +got): %s", m, g, diff)
	}
}

func (s *story) late() uint64 {
	s.t.Helper()
	late, err := s.driver.Late(s.t.Context(), []ingest.MetricID{{}})
	if err != nil {
		s.t.Fatal(err)
	}
	return late[0]
}

func m(at int64, value float64) ingest.Measure { return ingest.Measure{Time: at, Value: value} }

func TestLate(t *testing.T) {
	s := begin(t, 2, ingest.Definition{Granularity: time.Hour})
	s.measure(m(at("14:34:00"), 1), m(at("03:00:00"), 7)) // the first record drops nothing
	s.measure(m(at("12:00:00"), 2), m(at("12:00:00")-1, 3))
	if s.late() != 1 {
		t.Errorf("%d late, want 1", s.late())
	}
	s.want(time.Hour, ingest.Sum, m(at("03:00:00"), 7), m(at("12:00:00"), 2), m(at("14:00:00"), 1))

	// Judged against the state before the record: old travels with new.
	s.measure(m(at("20:00:00"), 1), m(at("12:30:00"), 5))
	s.want(time.Hour, ingest.Sum, m(at("03:00:00"), 7), m(at("12:00:00"), 7), m(at("14:00:00"), 1), m(at("20:00:00"), 1))
	s.measure(m(at("12:30:00"), 6))
	if s.late() != 2 {
		t.Errorf("%d late, want 2", s.late())
	}
	s.policy.Methods.Add(ingest.Max.OfRate()) // one block more
	s.measure(m(at("17:00:00"), 1))
	if s.late() != 2 {
		t.Errorf("with a rate, %d late, want 2", s.late())
	}
}

func TestLateSeesEntriesTogether(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	s.measure(m(at("10:00:00"), 1))
	s.apply(ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{
		{Policy: "p", Measures: []ingest.Measure{m(at("20:00:00"), 2)}},
		{Policy: "p", Measures: []ingest.Measure{m(at("10:30:00"), 3)}},
	}})
	s.want(time.Hour, ingest.Count, m(at("10:00:00"), 2), m(at("20:00:00"), 1))
}

func TestDuplicates(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	s.measure(m(at("10:00:00"), 9), m(at("10:00:00"), 4), m(at("10:00:00"), 5))
	s.want(time.Hour, ingest.Sum, m(at("10:00:00"), 5))
	s.measure(m(at("10:00:00"), 1))
	s.want(time.Hour, ingest.Sum, m(at("10:00:00"), 1))
}

// Granularities of 7 s and 10 s: a measure more makes no bucket smaller.
func TestNonDivisible(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: 7 * time.Second}, ingest.Definition{Granularity: 10 * time.Second})
	for i := range int64(23) {
		s.measure(m(at("12:00:00")+i*int64(time.Second), 1))
	}
	s.want(7*time.Second, ingest.Count, m(at("11:59:56"), 3), m(at("12:00:03"), 7), m(at("12:00:10"), 7),
		m(at("12:00:17"), 6))
}

func TestExpiry(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour, Points: 3, Timespan: 3 * time.Hour},
		ingest.Definition{Granularity: time.Minute})
	for _, hour := range []string{"01:00:00", "04:00:00", "05:00:00", "07:30:00"} {
		s.measure(m(at(hour), 1))
	}
	// a span, not a number of rows; 04:00 is just out
	s.want(time.Hour, ingest.Sum, m(at("05:00:00"), 1), m(at("07:00:00"), 1))
	s.want(time.Minute, ingest.Sum, m(at("01:00:00"), 1), m(at("04:00:00"), 1), m(at("05:00:00"), 1),
		m(at("07:30:00"), 1))
	// By the newest bucket of any method, also one in which the method has no row.
	s.want(time.Hour, ingest.Std)
	// By the newest bucket of all, also when the reader does not ask for it.
	if got := s.rows(time.Hour, ingest.Sum, ingest.MinTime, at("05:00:00")); len(got) != 0 {
		t.Errorf("expired rows %v", got)
	}
}

func TestRange(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	s.measure(m(at("10:30:00"), 1), m(at("11:30:00"), 2), m(at("12:30:00"), 3))
	f := func(from, to int64, want ...ingest.Measure) {
		t.Helper()
		if diff := cmp.Diff(want, s.rows(time.Hour, ingest.Sum, from, to)); diff != "" {
			t.Errorf("from %d to %d (-want +got): %s", from, to, diff)
		}
	}
	ten, eleven, twelve := m(at("10:00:00"), 1), m(at("11:00:00"), 2), m(at("12:00:00"), 3)
	f(ingest.MinTime, ingest.MaxTime, ten, eleven, twelve)
	f(at("11:59:59"), ingest.MaxTime, eleven, twelve) // from is rounded down
	f(ingest.MinTime, at("11:00:00"), ten)            // to is exclusive
	f(ingest.MinTime, at("11:00:00")+1, ten, eleven)  // and not rounded
	f(at("11:00:00"), at("11:00:00"))
	f(ingest.MaxTime, ingest.MinTime)
}

func TestDelete(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	s.measure(m(at("10:00:00"), 1))
	s.apply(ingest.Record{Kind: ingest.RecordDelete})
	s.measure(m(at("11:00:00"), 1))
	s.measure(m(at("01:00:00"), 1))
	s.want(time.Hour, ingest.Sum)
	if s.late() != 0 {
		t.Errorf("%d late of a deleted metric", s.late())
	}
}

func TestUnknownPolicy(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	rejects, err := s.writer.Apply(t.Context(), []ingest.Delivery{{Offset: 0,
		Record: ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{
			{Metric: ingest.MetricID{1}, Policy: "gone", Measures: []ingest.Measure{m(1, 1)}},
			{Policy: "p", Measures: []ingest.Measure{m(1, 1)}},
		}}}})
	if diff := cmp.Diff([]ingest.Reject{{Offset: 0, Entry: 0, Reason: `archive policy "gone" does not exist`}},
		rejects); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := s.writer.Flush(t.Context(), ingest.Watermark{Offset: 1}); err != nil {
		t.Fatal(err)
	}
	s.want(time.Hour, ingest.Sum, m(0, 1))
}

func TestFencing(t *testing.T) {
	s := begin(t, 0, ingest.Definition{Granularity: time.Hour})
	first := s.writer
	s.measure(m(at("10:00:00"), 1))
	lost := []ingest.Delivery{{Offset: 1, Record: ingest.Record{Kind: ingest.RecordMeasures,
		Entries: []ingest.Entry{{Policy: "p", Measures: []ingest.Measure{m(at("11:00:00"), 1)}}}}}}
	if _, err := first.Apply(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	_, watermark, err := s.driver.Open(t.Context(), 0)
	if err != nil || watermark.Offset != 1 {
		t.Fatalf("opened at %d, %v; want 1", watermark.Offset, err)
	}
	if _, err := first.Flush(t.Context(), ingest.Watermark{Offset: 2}); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("%v, want ErrFenced", err)
	}
	if first.Buffered() != 0 {
		t.Errorf("%d bytes buffered by a fenced writer", first.Buffered())
	}
	s.want(time.Hour, ingest.Sum, m(at("10:00:00"), 1))
}
