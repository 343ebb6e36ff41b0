package drivertest

import (
	"errors"
	"slices"
	"testing"

	"millrace/ingest"
)

// inPieces reads long series a few rows at a time, at every stage of their life: the
// pieces are the series.
func (s *suite) inPieces(t *testing.T) {
	for _, i := range []int{4, 8} { // mixed, short spans
		p := profiles()[i]
		t.Run(p.name, func(t *testing.T) {
			h := s.start(t, p.policies...).history(7)
			h.populate(p)
			for range s.length(12) {
				for range 6 {
					h.writeRandom(p)
				}
				h.deliverSome()
				if h.rand.IntN(3) > 0 {
					h.flush()
				}
				if h.rand.IntN(3) == 0 {
					h.maintain(1 + h.rand.IntN(settled))
				}
				h.comparePieces()
			}
		})
	}
}

// comparePieces reads some series whole and in pieces.
func (h *history) comparePieces() {
	h.t.Helper()
	for _, m := range h.metrics {
		p := h.policies.of(m.policy)
		if p == nil {
			continue
		}
		d := p.Definitions[h.rand.IntN(len(p.Definitions))]
		methods := p.Methods.List()
		q := ingest.Query{Metric: m.id, Policy: p, Granularity: d.Granularity, Method: methods[h.rand.IntN(len(methods))]}
		q.From, q.To = h.bounds(m, d.Granularity)
		whole, _ := h.ask([]ingest.Query{q})
		q.Limit = 1 + h.rand.IntN(7)
		if got := h.pieces(q, len(whole[0])+2); !sameRows(q.Method, got, whole[0]) {
			h.fatalf("in pieces of %d: %s", q.Limit, h.difference(&q, got, whole[0]))
		}
	}
}

// pieces reads a series by its limit, in at most so many reads.
func (h *history) pieces(q ingest.Query, most int) (rows []ingest.Measure) {
	h.t.Helper()
	for range most {
		piece, _ := h.ask([]ingest.Query{q})
		if len(piece[0]) > q.Limit {
			h.fatalf("%d rows are more than %d", len(piece[0]), q.Limit)
		}
		rows = append(rows, piece[0]...)
		if len(piece[0]) < q.Limit {
			return rows
		}
		last := piece[0][len(piece[0])-1].Time
		if last > ingest.MaxTime-int64(q.Granularity) {
			return rows
		}
		q.From = last + int64(q.Granularity)
	}
	h.fatalf("reading in pieces of %d doesn't end", q.Limit)
	return nil
}

// positions asks for more than there is, and for what there is.
func (s *suite) positions(t *testing.T) {
	h := s.start(t, simple()).history(3)
	m := h.metric("simple")
	h.measure(m, at(0, 1))
	h.apply()
	h.flush()
	q := []ingest.Query{{Metric: m.id, Policy: h.policies.of("simple"), Granularity: simple().Definitions[0].Granularity,
		Method: ingest.Sum, From: ingest.MinTime, To: ingest.MaxTime}}
	read := func(at ingest.Offset) error {
		position := make(ingest.Position, Sacks)
		position[h.sack] = at
		rows := make([][]ingest.Measure, 1)
		_, err := h.driver.Read(t.Context(), slices.Clone(q), rows, position)
		return err
	}
	if err := read(h.flushed); err != nil {
		t.Errorf("a read at what was flushed: %v", err)
	}
	if err := read(h.flushed + 1); !errors.Is(err, ingest.ErrBehind) {
		t.Errorf("a read at more than was flushed: %v; want ErrBehind", err)
	}
	h.measure(m, at(1, 2))
	h.apply()
	if _, live := h.driver.(ingest.LiveReader); live {
		if err := read(h.position()); err != nil {
			t.Errorf("a read at what was applied: %v", err)
		}
	}
	h.flush()
	if err := read(h.flushed); err != nil {
		t.Errorf("a read at what was flushed then: %v", err)
	}
}
