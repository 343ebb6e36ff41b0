package drivertest

import (
	"math"
	"testing"
	"time"

	"millrace/ingest"
)

// meaning shows what measures come to, in stories of a few records. Each is told
// three times: read at once, after the housekeeping, and by a new owner.
func (s *suite) meaning(t *testing.T) {
	t.Run("every method", s.everyMethod)
	t.Run("values that are no ordinary numbers", s.wildValues)
	t.Run("equal timestamps", s.duplicates)
	t.Run("several entries of one metric", s.entries)
	t.Run("a metric's first record is never late", s.wideFirst)
	if s.lateKept {
		t.Run("late measures are kept", s.late)
	} else {
		t.Run("late measures are dropped and counted", s.late)
	}
	t.Run("shuffled within the back window", s.shuffled)
	t.Run("a rate reaches over any hole", s.rateOverHoles)
	t.Run("granularities that don't divide each other", s.oddGranularities)
	t.Run("ranges on and beside the edges of buckets", s.ranges)
	t.Run("expiry", s.expiry)
	t.Run("a shorter timespan", s.shorterTimespan)
	if s.expiredKept {
		t.Run("a longer timespan brings back what had expired", s.longerTimespan)
	} else {
		t.Run("a longer timespan keeps what had not expired", s.longerTimespan)
	}
	t.Run("a deleted metric stays gone", s.deleted)
	t.Run("a metric deleted with measures in flight", s.deletedInFlight)
	t.Run("sacks do not mix", s.sacksApart)
}

// tell flushes what is written and wants it right, again and again.
func (h *history) tell() {
	h.t.Helper()
	h.apply()
	h.flush()
	h.check()
	h.maintain(settled)
	h.check()
	h.abandon()
	h.open(1)
	h.check()
}

// rows reads one whole series, for those stories that tell the answer.
func (h *history) rows(m *subject, g time.Duration, method ingest.Method) []ingest.Measure {
	h.t.Helper()
	q := ingest.Query{Metric: m.id, Policy: h.policies.of(m.policy), Granularity: g, Method: method, From: ingest.MinTime,
		To: ingest.MaxTime}
	answers, _ := h.ask([]ingest.Query{q})
	return answers[0]
}

func (h *history) wantRows(m *subject, g time.Duration, method ingest.Method, want ...ingest.Measure) {
	h.t.Helper()
	if got := h.rows(m, g, method); !sameRows(method, got, want) {
		h.fatalf("%s at %s is %v, want %v", method, g, got, want)
	}
}

func (s *suite) everyMethod(t *testing.T) {
	h := s.start(t, policy("all", 0, ingest.AllMethods(), keep(time.Minute, 0), keep(5*time.Minute, 0))).history(4)
	m := h.metric("all")
	minutes := [][]float64{{3, 5, 2, 3, 5}, {8, 11, 22, 10, 42, 9}, {4, 2}}
	for i, minute := range minutes {
		for j, v := range minute {
			h.measure(m, at(time.Duration(i)*time.Minute+time.Duration(j)*7*time.Second, v))
		}
	}
	h.tell()
	h.wantRows(m, time.Minute, ingest.Percentile(56), at(0, 3.48), at(time.Minute, 10.8), at(2*time.Minute, 3.12))
	h.wantRows(m, time.Minute, ingest.Std, at(0, 1.3416407864998738), at(time.Minute, 13.2664991614216),
		at(2*time.Minute, 1.4142135623730951))
	h.measure(m, at(time.Hour, 1)) // everything before is settled now
	h.tell()
	h.measure(m, at(2*time.Hour, 1))
	h.tell()
}

func (s *suite) wildValues(t *testing.T) {
	inf, nan, negative := math.Inf(1), math.NaN(), math.Copysign(0, -1)
	h := s.start(t, policy("all", 0, ingest.AllMethods(), keep(time.Minute, 0))).history(0)
	buckets := [][]float64{
		{1, nan, 3, 2}, {nan}, {nan, nan}, {nan, 1}, {1, nan}, {inf}, {inf, -inf}, {1, inf, -inf}, {negative}, {negative, 0},
		{0, negative},
		{negative, negative, negative}, {0.1, 0.2, 0.3}, {1, 1e100, 1, -1e100}, {5e-324, 5e-324}, {1e300, -1e300, 1}, {7},
		{inf, nan, -inf, negative},
	}
	m := h.metric("all")
	for i, bucket := range buckets {
		var measures []ingest.Measure
		for j, v := range bucket {
			measures = append(measures, at(time.Duration(i)*time.Minute+time.Duration(j)*time.Second, v))
		}
		h.measure(m, measures...)
		h.apply()
		if i%3 == 0 {
			h.flush()
		}
	}
	h.tell()
	h.measure(m, at(time.Hour, 0))
	h.tell()
}

func (s *suite) duplicates(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	h.measure(m, at(5, 1), at(0, 9), at(0, 4), at(0, 5)) // the last in the payload stays
	h.tell()
	h.wantRows(m, time.Minute, ingest.Sum, at(0, 6))
	h.measure(m, at(0, 7)) // a later record wins
	h.measure(m, at(0, 3))
	h.tell()
	h.wantRows(m, time.Minute, ingest.Sum, at(0, 4))
	h.measure(m, at(0, 2), at(time.Minute, 1))
	h.tell()
	h.wantRows(m, time.Minute, ingest.Sum, at(0, 3), at(time.Minute, 1))
	h.measure(m, at(4*time.Hour, 1)) // closes the bucket
	h.measure(m, at(0, 100))         // too late to win
	h.tell()
}

func (s *suite) entries(t *testing.T) {
	h := s.start(t, policy("strict", 0, plain(), keep(time.Minute, 0))).history(0)
	a, b := h.metric("strict"), h.metric("strict")
	entry := func(m *subject, measures ...ingest.Measure) ingest.Entry {
		return ingest.Entry{Metric: m.id, Policy: m.policy, Measures: measures}
	}
	h.write(record(entry(a, at(0, 1)), entry(b, at(0, 1)), entry(a, at(0, 2), at(time.Second, 3))))
	h.tell()
	// Together they are judged against the state before: the second is not late.
	h.write(record(entry(a, at(time.Hour, 1)), entry(b, at(time.Hour, 1)),
		entry(a, at(2*time.Second, 5), at(-time.Minute, 5)), entry(b, at(2*time.Second, 6))))
	h.tell()
	h.wantRows(b, time.Minute, ingest.Sum, at(0, 7), at(time.Hour, 1))
	h.write(record(entry(a, at(3*time.Second, 1)), entry(a, at(2*time.Hour, 1)), entry(a, at(time.Hour, 2))))
	h.tell()
}

func (s *suite) wideFirst(t *testing.T) {
	h := s.start(t, profiles()[1].policies[0], simple()).history(0)
	for _, name := range []string{"medium", "simple"} {
		m := h.metric(name)
		var years []ingest.Measure
		for i := range 400 {
			years = append(years, at(-time.Duration(i)*3*day-time.Duration(i*i)*time.Second, float64(i)))
		}
		h.rand.Shuffle(len(years), func(i, j int) { years[i], years[j] = years[j], years[i] })
		h.measure(m, years...)
		h.tell()
		h.measure(m, append(years[:50:50], at(time.Hour, 1))...) // now they are late
		h.tell()
	}
}

func (s *suite) late(t *testing.T) {
	for window := range 4 {
		h := s.start(t, policy("p", window, plain(), keep(time.Minute, 0), keep(time.Hour, 0)),
			policy("rate", window, rated(), keep(time.Minute, 0), keep(time.Hour, 0))).history(0)
		for _, name := range []string{"p", "rate"} {
			m := h.metric(name)
			h.measure(m, at(34*time.Minute, 1))
			horizon := h.policies.of(name).Horizon(noon + int64(34*time.Minute))
			h.measure(m, ingest.Measure{Time: horizon, Value: 2}, ingest.Measure{Time: horizon - 1, Value: 3})
			h.tell()
			h.measure(m, at(10*time.Hour, 1), ingest.Measure{Time: horizon + 1, Value: 4}) // old travels with new
			h.tell()
			h.measure(m, ingest.Measure{Time: horizon + 2, Value: 5}, at(10*time.Hour-time.Second, 1))
			h.tell()
		}
	}
}

func (s *suite) shuffled(t *testing.T) {
	h := s.start(t, policy("p", 3, rated(), keep(10*time.Second, 0), keep(time.Minute, 0))).history(0)
	m := h.metric("p")
	var measures []ingest.Measure
	for i := range 600 {
		measures = append(measures, at(time.Duration(i)*time.Second, h.rand.NormFloat64()))
	}
	for i := range measures { // nothing moves by more than two minutes
		j := min(len(measures)-1, i+h.rand.IntN(120))
		measures[i], measures[j] = measures[j], measures[i]
	}
	for i := 0; i < len(measures); i += 5 {
		h.measure(m, measures[i:i+5]...)
		h.apply()
		if i%20 == 0 {
			h.flush()
			h.maintain(1)
		}
	}
	h.tell()
}

func (s *suite) rateOverHoles(t *testing.T) {
	h := s.start(t, policy("p", 0, rated(), keep(time.Minute, 0))).history(0)
	m := h.metric("p")
	for i, after := range []time.Duration{0, 5 * time.Minute, 10 * time.Minute, day, 400 * day, 401 * day} {
		h.measure(m, at(after, float64(i*i)))
		h.tell()
	}
	h.wantRows(m, time.Minute, ingest.Last.OfRate(), at(5*time.Minute, 1), at(10*time.Minute, 3), at(day, 5),
		at(400*day, 7), at(401*day, 9))
}

func (s *suite) oddGranularities(t *testing.T) {
	h := s.start(t, policy("p", 0, rated(), keep(7*time.Second, 0), keep(10*time.Second, 0))).history(0)
	m := h.metric("p")
	for i := range time.Duration(140) {
		h.measure(m, at(i*time.Second, float64(i)))
		h.apply()
		h.flush()
		h.maintain(2)
		h.check()
	}
	h.tell()
}

func (s *suite) ranges(t *testing.T) {
	h := s.start(t, simple()).history(0)
	m := h.metric("simple")
	h.measure(m, at(0, 1), at(time.Second, 2), at(90*time.Second, 3), at(150*time.Second, 4), at(2*time.Hour, 5))
	h.tell()
	edges := []int64{ingest.MinTime, ingest.MaxTime}
	for _, edge := range []time.Duration{0, time.Minute, 2 * time.Minute, time.Hour, 2 * time.Hour} {
		edges = append(edges, noon+int64(edge)-1, noon+int64(edge), noon+int64(edge)+1)
	}
	var queries []ingest.Query
	p := h.policies.of(m.policy)
	for _, from := range edges {
		for _, to := range edges {
			for _, d := range p.Definitions {
				queries = append(queries, ingest.Query{Metric: m.id, Policy: p, Granularity: d.Granularity, Method: ingest.Count,
					From: from, To: to})
			}
		}
	}
	h.compare(queries)
}

func (s *suite) expiry(t *testing.T) {
	h := s.start(t, policy("p", 0, rated(), keep(10*time.Second, 6), keep(time.Minute, 3),
		keep(5*time.Minute, 0))).history(0)
	m, other := h.metric("p"), h.metric("p")
	h.measure(other, at(0, 1), at(30*time.Second, 2)) // its own newest counts, and no clock
	for i := range time.Duration(40) {
		h.measure(m, at(i*7*time.Second, float64(i)))
		h.tell()
	}
	h.measure(m, at(20*time.Minute, 1), at(20*time.Minute+time.Second, 5)) // after a gap: a span, not a number of rows
	h.tell()
	h.measure(m, at(24*time.Minute, 1)) // std has no row here, and its old ones expire all the same
	h.tell()
	h.wantRows(m, time.Minute, ingest.Std)
}

func (s *suite) shorterTimespan(t *testing.T) {
	h := s.start(t, policy("p", 0, plain(), keep(time.Minute, 600), keep(time.Hour, 0))).history(0)
	m := h.metric("p")
	for i := range time.Duration(100) {
		if i == 50 {
			h.policies.replace(policy("p", 0, plain(), keep(time.Minute, 45), keep(time.Hour, 0)))
			h.check()
		}
		h.measure(m, at(i*time.Minute, float64(i)), at(i*time.Minute+time.Second, 1))
		h.apply()
		h.flush()
		h.maintain(1)
	}
	h.tell()
	if rows := h.rows(m, time.Minute, ingest.Sum); len(rows) != 45 {
		t.Errorf("%d rows of the shorter timespan, want 45", len(rows))
	}
}

// longerTimespan makes a timespan short for a while, so that rows expire, and long
// again. What expired meanwhile may be there or not; what did not must be.
func (s *suite) longerTimespan(t *testing.T) {
	long := policy("p", 0, plain(), keep(time.Minute, 600), keep(time.Hour, 0))
	h := s.start(t, long).history(0)
	m := h.metric("p")
	for i := range time.Duration(90) {
		switch i {
		case 30:
			h.policies.replace(policy("p", 0, plain(), keep(time.Minute, 20), keep(time.Hour, 0)))
		case 60:
			h.policies.replace(long)
		}
		h.measure(m, at(i*time.Minute, float64(i)))
		h.apply()
		h.flush()
		h.maintain(2)
	}
	h.maintain(settled)
	got := h.rows(m, time.Minute, ingest.Sum)
	want := make(map[int64]float64)
	for i := range time.Duration(90) {
		want[at(i*time.Minute, 0).Time] = float64(i)
	}
	for _, row := range got {
		if v, ok := want[row.Time]; !ok || v != row.Value {
			t.Errorf("row %s %v, want %v", clock(row.Time), row.Value, v)
		}
		delete(want, row.Time)
	}
	kept := at(40*time.Minute, 0).Time // 59 − 20 < 40: it never expired
	if s.expiredKept {
		kept = ingest.MinTime
	}
	for at, v := range want {
		if at >= kept {
			t.Errorf("no row %s %v", clock(at), v)
		}
	}
}

func (s *suite) deleted(t *testing.T) {
	h := s.start(t, simple()).history(0)
	a, b := h.metric("simple"), h.metric("simple")
	both := func(after time.Duration) {
		h.write(record(ingest.Entry{Metric: a.id, Policy: a.policy, Measures: []ingest.Measure{at(after, 1)}},
			ingest.Entry{Metric: b.id, Policy: b.policy, Measures: []ingest.Measure{at(after, 2)}}))
	}
	both(0)
	both(3 * time.Hour)
	h.tell()
	a.deleted = true
	h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: a.id})
	h.tell()
	h.wantRows(a, time.Hour, ingest.Count)
	both(4 * time.Hour) // from somebody who has not heard of it
	h.tell()
	h.wantRows(a, time.Hour, ingest.Count)
	h.wantRows(b, time.Hour, ingest.Count, at(0, 1), at(3*time.Hour, 1), at(4*time.Hour, 1))
	both(9 * time.Hour)
	h.tell()
	h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: a.id})                     // again
	h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: metricOf(h.rand, h.sack)}) // one that never was
	both(10 * time.Hour)
	h.tell()
}

func (s *suite) deletedInFlight(t *testing.T) {
	h := s.start(t, simple()).history(0)
	a, b := h.metric("simple"), h.metric("simple")
	a.deleted = true
	h.measure(a, at(0, 1))
	h.measure(b, at(0, 1))
	h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: a.id})
	h.measure(a, at(time.Second, 2))
	h.measure(b, at(time.Second, 2))
	h.tell() // all of it in one flush
	h.measure(a, at(2*time.Second, 3))
	h.apply()
	h.abandon() // delivered again to the next owner
	h.open(5)
	h.tell()
	h.wantRows(a, time.Minute, ingest.Count)
	h.wantRows(b, time.Minute, ingest.Count, at(0, 2))
}

func (s *suite) sacksApart(t *testing.T) {
	tr := s.start(t, simple())
	var all []*history
	for sack := range ingest.Sack(Sacks) {
		h := tr.history(sack)
		m := h.metric("simple")
		for i := range time.Duration(3) {
			h.measure(m, at(i*time.Hour, float64(sack)*10+float64(i)))
		}
		all = append(all, h)
	}
	for _, h := range all {
		h.apply()
		h.flush()
	}
	for _, h := range all {
		h.maintain(settled)
		h.check()
	}
}
