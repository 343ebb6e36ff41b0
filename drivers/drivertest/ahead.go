package drivertest

import (
	"context"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// ahead is an oracle that knows one history up to a place of its log, which may lie
// behind what was flushed: for drivers that show what is applied.
type ahead struct {
	oracle *naive.Driver
	judge  ingest.SackWriter
	known  int // log[:known]
}

// oracleAt is an oracle that knows exactly the records before a position.
func (h *history) oracleAt(position ingest.Offset) *naive.Driver {
	h.t.Helper()
	if position == h.flushed {
		return h.oracle
	}
	ctx, to := context.Background(), h.place(position)
	if h.ahead == nil || h.ahead.known > to {
		h.ahead = &ahead{oracle: h.newOracle(h.policies)}
		judge, _, err := h.ahead.oracle.Open(ctx, h.sack)
		if err != nil {
			h.fatalf("the oracle: %v", err)
		}
		h.ahead.judge = judge
	}
	if _, err := h.ahead.judge.Apply(ctx, h.log[h.ahead.known:to]); err != nil {
		h.fatalf("the oracle: %v", err)
	}
	if _, err := h.ahead.judge.Flush(ctx, ingest.Watermark{Offset: position}); err != nil {
		h.fatalf("the oracle: %v", err)
	}
	h.ahead.known = to
	return h.ahead.oracle
}
