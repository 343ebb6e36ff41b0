package drivertest

import (
	"errors"
	"math"
	"time"

	"millrace/ingest"
)

// noPolicy is the name of a policy that never exists.
const noPolicy = "no such policy"

var errUndecodable = errors.New("checksum does not match")

// populate adds a profile's metrics, which begin at different times.
func (h *history) populate(p profile) {
	for i := range p.metrics {
		h.newcomer(p, p.policies[i%len(p.policies)].Name)
	}
}

func (h *history) newcomer(p profile, policy string) {
	m := h.metric(policy)
	start := time.Date(2024, 2, 28, 22, 0, 0, 0, time.UTC).UnixNano()
	if h.rand.IntN(8) == 0 {
		start = 0 // as early as there is
	}
	m.newest = start + h.rand.Int64N(int64(p.stride)*10)
	m.first = m.newest
}

// writeRandom appends one record: most have measures of some metrics.
func (h *history) writeRandom(p profile) {
	switch n := h.rand.IntN(200); {
	case n < 4:
		h.writeDelivery(ingest.Delivery{Err: errUndecodable, Raw: []byte("not a record")})
	case n < 8:
		h.write(ingest.Record{Kind: ingest.RecordNudge})
	case n < 9 && len(h.metrics) < 3*p.metrics:
		victim := h.metrics[h.rand.IntN(len(h.metrics))]
		victim.deleted = true
		h.write(ingest.Record{Kind: ingest.RecordDelete, Metric: victim.id})
		h.newcomer(p, victim.policy)
	default:
		h.write(h.randomRecord(p))
	}
}

// randomRecord has entries of some of the metrics, of the same one more than once
// now and then.
func (h *history) randomRecord(p profile) ingest.Record {
	var entries []ingest.Entry
	touched := make(map[*subject]int64)
	for range 1 + h.rand.IntN(len(h.metrics)+1) {
		m := h.metrics[h.rand.IntN(len(h.metrics))]
		e := ingest.Entry{Metric: m.id, Policy: m.policy, Measures: h.randomMeasures(p, m)}
		if h.rand.IntN(60) == 0 && !m.deleted {
			e.Policy = noPolicy
		} else {
			for _, measure := range e.Measures {
				touched[m] = max(touched[m], measure.Time)
			}
		}
		entries = append(entries, e)
	}
	for m, newest := range touched {
		m.newest, m.begun = max(m.newest, newest), true
	}
	return record(entries...)
}

// randomMeasures moves on from the metric's newest measure, in order or not.
func (h *history) randomMeasures(p profile, m *subject) []ingest.Measure {
	if !m.begun && h.rand.IntN(3) == 0 {
		return h.wideMeasures(p, m)
	}
	n := h.rand.IntN(6)
	if h.rand.IntN(20) == 0 {
		n = 60
	}
	var measures []ingest.Measure
	at := m.newest
	for range n {
		t := at
		switch h.rand.IntN(12) {
		case 0: // behind, in time or late
			t = at - h.rand.Int64N(h.window(m)+1)
		case 1: // far behind
			t = at - 3*h.window(m)
		case 2: // the same once more
			if len(measures) > 0 {
				t = measures[h.rand.IntN(len(measures))].Time
			}
		case 3: // on an edge, or just before it
			t = ingest.Floor(at+int64(p.stride), h.someGranularity(m)) - h.rand.Int64N(2)
		case 4: // exactly at the horizon, or just before it
			if policy := h.policies.of(m.policy); policy != nil && m.begun {
				t = max(policy.Horizon(m.newest), 0) - h.rand.Int64N(2)
			}
		case 5: // after a gap
			if h.rand.IntN(6) == 0 {
				t = at + h.rand.Int64N(100*int64(p.stride))
			}
		default:
			t = at + 1 + h.rand.Int64N(int64(p.stride))
		}
		t = max(t, 0)
		measures = append(measures, ingest.Measure{Time: t, Value: h.randomValue(p)})
		at = max(at, t)
	}
	if h.rand.IntN(3) == 0 {
		h.rand.Shuffle(len(measures), func(i, j int) { measures[i], measures[j] = measures[j], measures[i] })
	}
	return measures
}

// wideMeasures are a metric's first: years of history at once.
func (h *history) wideMeasures(p profile, m *subject) []ingest.Measure {
	measures := make([]ingest.Measure, 80)
	span := min(m.newest, int64(p.stride)*5000)
	for i := range measures {
		measures[i] = ingest.Measure{Time: m.newest - h.rand.Int64N(span+1), Value: h.randomValue(p)}
		m.first = min(m.first, measures[i].Time)
	}
	return measures
}

// window is about how far back measures of the metric may come.
func (h *history) window(m *subject) int64 {
	p := h.policies.of(m.policy)
	return int64(p.Coarsest()) * min(5, p.Window()+1)
}

func (h *history) someGranularity(m *subject) time.Duration {
	d := h.policies.of(m.policy).Definitions
	return d[h.rand.IntN(len(d))].Granularity
}

func (h *history) randomValue(p profile) float64 {
	if h.rand.Float64() < p.wild {
		wild := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, 1e300, -1e300, 5e-324}
		return wild[h.rand.IntN(len(wild))]
	}
	switch h.rand.IntN(4) {
	case 0:
		return float64(h.rand.IntN(5) - 2)
	case 1:
		return float64(h.rand.IntN(100_000)) / 100
	case 2:
		return 0.5
	}
	return h.rand.NormFloat64() * 1000
}
