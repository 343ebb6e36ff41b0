package drivertest

import (
	"errors"
	"testing"

	"millrace/ingest"
)

// random runs long histories of every profile.
func (s *suite) random(t *testing.T) {
	for _, p := range profiles() {
		t.Run(p.name, func(t *testing.T) {
			h := s.start(t, p.policies...).history(3)
			h.populate(p)
			h.live(p, s.length(p.steps()))
		})
	}
	t.Run("many flushes", s.manyFlushes)
}

// live does random things, and then wants everything right: as it is, after the
// housekeeping, and for a new owner.
func (h *history) live(p profile, steps int) {
	h.t.Helper()
	for range steps {
		h.step(p)
	}
	h.apply()
	h.flush()
	h.check()
	h.maintain(settled)
	h.check()
	h.abandon()
	h.open(0)
	h.check()
}

func (h *history) step(p profile) {
	h.t.Helper()
	switch n := h.rand.IntN(100); {
	case n < 50:
		for range 1 + h.rand.IntN(4) {
			h.writeRandom(p)
		}
		h.deliverSome()
	case n < 75:
		h.flush()
	case n < 84:
		h.maintain(1)
	case n < 87:
		h.flush()
		h.maintain(settled)
		h.checkSome(0.1)
	case n < 92: // again, with what is new behind it
		if h.next > 0 {
			h.deliver(max(0, h.next-1-h.rand.IntN(20)), len(h.log))
		}
	case n < 94:
		h.abandon()
		h.open(h.rand.IntN(20))
	case n < 96:
		h.usurp(p)
	default:
		h.checkSome(0.1)
	}
}

// deliverSome applies what is written, in up to three pieces.
func (h *history) deliverSome() {
	h.t.Helper()
	for h.next < len(h.log) {
		h.deliver(h.next, h.next+1+h.rand.IntN(len(h.log)-h.next))
	}
}

// usurp opens the sack while its owner goes on; the owner must notice.
func (h *history) usurp(p profile) {
	h.t.Helper()
	h.writeRandom(p)
	h.apply()
	old := h.writer
	h.open(h.rand.IntN(3))
	h.wantFenced(old)
	if err := old.Close(); err != nil {
		h.fatalf("cannot close a fenced writer: %v", err)
	}
}

// wantFenced flushes a writer that has something to flush and no right to; or, where
// nobody is fenced, all that it was given.
func (h *history) wantFenced(old ingest.SackWriter) {
	h.t.Helper()
	if h.unfenced {
		h.flushAsBefore(old)
		return
	}
	_, err := old.Flush(h.t.Context(), ingest.Watermark{Offset: h.end(len(h.log))})
	h.did.note("flush     by an earlier owner: %v", outcome(err))
	if !errors.Is(err, ingest.ErrFenced) {
		h.fatalf("an earlier owner's flush returns %v, want ErrFenced", err)
	}
}

// flushAsBefore flushes a writer that has been given the whole log and has a successor.
func (h *history) flushAsBefore(old ingest.SackWriter) {
	h.t.Helper()
	next := h.next
	h.next = len(h.log)
	watermark := h.watermark()
	h.next = next
	rejects, err := old.Flush(h.t.Context(), watermark)
	h.did.note("flush     %v by an earlier owner: %v", watermark.Offset, outcome(err))
	if err != nil || len(rejects) > 0 {
		h.fatalf("an earlier owner's flush returns %v, and %d rejects", err, len(rejects))
	}
	h.show(watermark.Offset)
}

// manyFlushes makes so many small segments that every tier of merging has work.
func (s *suite) manyFlushes(t *testing.T) {
	p := profiles()[4] // low, medium, high and bool together
	h := s.start(t, p.policies...).history(10)
	h.populate(p)
	for i := range s.length(300) {
		h.write(h.randomRecord(p))
		h.apply()
		h.flush()
		h.maintain(1)
		if i%40 == 39 {
			h.checkSome(0.2)
		}
		if i%100 == 99 {
			h.abandon()
			h.open(3)
		}
	}
	h.check()
	h.maintain(settled)
	h.check()
}
