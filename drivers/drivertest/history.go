package drivertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// A history is one sack of a trial: its log, how much of it the driver was given,
// and how much the oracle. Its methods are for the goroutine of its test.
type history struct {
	*trial
	sack    ingest.Sack
	rand    *rand.Rand
	log     []ingest.Delivery
	metrics []*subject

	writer  ingest.SackWriter
	owner   ingest.Driver // that has opened writer; nil once it was given up
	next    int           // log[:next] has been applied to writer
	flushed ingest.Offset // the watermark that the driver reported last
	shown   int           // log[:shown] is before it, and known to the oracle
	judge   ingest.SackWriter
	ahead   *ahead                  // the oracle of what is applied and not flushed
	buried  map[ingest.MetricID]int // deleted metrics: by which record of the log

	did diary
}

// A subject is a metric of a history.
type subject struct {
	id      ingest.MetricID
	policy  string
	deleted bool
	first   int64
	newest  int64 // so far in the log; the start of its story before that
	begun   bool
}

// history opens a sack for the first time.
func (tr *trial) history(sack ingest.Sack) *history {
	tr.t.Helper()
	h := &history{trial: tr, sack: sack, rand: tr.randomFor(tr.t), buried: make(map[ingest.MetricID]int)}
	judge, _, err := tr.oracle.Open(context.Background(), sack)
	if err != nil {
		tr.t.Fatal(err)
	}
	h.judge = judge
	h.open(0)
	if h.flushed != 0 {
		h.fatalf("a sack of an empty back-end opens at %d, want 0", h.flushed)
	}
	return h
}

// metric adds a metric of this sack.
func (h *history) metric(policy string) *subject {
	m := &subject{id: metricOf(h.rand, h.sack), policy: policy}
	h.metrics = append(h.metrics, m)
	return m
}

// metricOf returns a new metric of a sack.
func metricOf(random *rand.Rand, sack ingest.Sack) ingest.MetricID {
	for {
		var id ingest.MetricID
		binary.BigEndian.PutUint64(id[:8], random.Uint64())
		binary.BigEndian.PutUint64(id[8:], random.Uint64())
		if ingest.SackOf(id, Sacks) == sack {
			return id
		}
	}
}

// write appends a record to the log. Offsets grow, not always by one.
func (h *history) write(r ingest.Record) {
	h.writeDelivery(ingest.Delivery{Record: r})
}

func (h *history) writeDelivery(d ingest.Delivery) {
	d.Offset = ingest.Offset(h.rand.IntN(3))
	if n := len(h.log); n > 0 {
		d.Offset += h.log[n-1].Offset + 1
	}
	if _, ok := h.buried[d.Record.Metric]; !ok && d.Record.Kind == ingest.RecordDelete {
		h.buried[d.Record.Metric] = len(h.log)
	}
	h.log = append(h.log, d)
	h.did.note("write     %s", describe(&d))
}

// measure appends a record with one entry.
func (h *history) measure(m *subject, measures ...ingest.Measure) {
	h.write(record(ingest.Entry{Metric: m.id, Policy: m.policy, Measures: measures}))
}

func record(entries ...ingest.Entry) ingest.Record {
	return ingest.Record{Kind: ingest.RecordMeasures, Project: "project", Entries: entries}
}

// end is the watermark behind log[:n].
func (h *history) end(n int) ingest.Offset {
	if n == 0 {
		return 0
	}
	return h.log[n-1].Offset + 1
}

// place is the first index of the log at or after a watermark.
func (h *history) place(watermark ingest.Offset) int {
	i, _ := slices.BinarySearchFunc(h.log, watermark, func(d ingest.Delivery,
		at ingest.Offset) int {
		return int(d.Offset - at)
	})
	return i
}

// apply delivers all that is written.
func (h *history) apply() {
	h.t.Helper()
	if h.next < len(h.log) {
		h.deliver(h.next, len(h.log))
	}
}

// deliver applies log[from:to], in one call, and spoils what it handed over: the
// caller reuses its buffers.
func (h *history) deliver(from, to int) {
	h.t.Helper()
	if err := h.tryDeliver(from, to); err != nil {
		h.fatalf("cannot apply records %d to %d: %v", h.log[from].Offset, h.log[to-1].Offset, err)
	}
}

func (h *history) tryDeliver(from, to int) error {
	h.t.Helper()
	if from > h.next {
		panic("BUG: the suite leaves records out")
	}
	records := clone(h.log[from:to])
	rejects, err := h.writer.Apply(h.t.Context(), records)
	spoil(records)
	h.did.note("apply     %d to %d: %v", h.log[from].Offset, h.log[to-1].Offset, outcome(err))
	if err != nil {
		return err
	}
	h.compareRejects(rejects, h.next, to)
	h.next = max(h.next, to)
	return nil
}

// flush makes the driver show what it was given, and the oracle too.
func (h *history) flush() {
	h.t.Helper()
	if err := h.tryFlush(); err != nil {
		h.fatalf("cannot flush: %v", err)
	}
}

func (h *history) tryFlush() error {
	h.t.Helper()
	watermark := h.watermark()
	rejects, err := h.writer.Flush(h.t.Context(), watermark)
	h.did.note("flush     %v, %v", watermark.Offset, outcome(err))
	if err != nil {
		return err
	}
	if len(rejects) > 0 {
		h.fatalf("a flush of what was applied rejects %d entries", len(rejects))
	}
	h.show(watermark.Offset)
	return nil
}

// watermark is that of everything applied.
func (h *history) watermark() ingest.Watermark {
	at := ingest.Watermark{Log: suiteLog}
	for i := range h.log[:max(h.next, h.shown)] { // an earlier owner may have flushed more
		at.Take(&h.log[i])
	}
	at.Offset = max(at.Offset, h.flushed)
	return at
}

// suiteLog is the log that histories pretend to come from.
var suiteLog = ingest.LogID{ID: "drivertest"}

// show gives the oracle what is before a watermark.
func (h *history) show(watermark ingest.Offset) {
	h.t.Helper()
	h.flushed = watermark
	to := h.place(watermark)
	if to <= h.shown {
		return
	}
	if _, err := h.judge.Apply(context.Background(), h.log[h.shown:to]); err != nil {
		h.fatalf("the oracle: %v", err)
	}
	if _, err := h.judge.Flush(context.Background(), ingest.Watermark{Offset: watermark}); err != nil {
		h.fatalf("the oracle: %v", err)
	}
	h.shown = to
}

// open makes a new owner of the sack. Redeliver says how many records before the
// watermark will be delivered again.
func (h *history) open(redeliver int) {
	h.t.Helper()
	before := h.flushed
	if err := h.tryOpen(redeliver); err != nil {
		h.fatalf("cannot open: %v", err)
	}
	if h.flushed != before {
		h.fatalf("the sack opens at %d, and was flushed up to %d", h.flushed, before)
	}
}

func (h *history) tryOpen(redeliver int) error {
	h.t.Helper()
	writer, stored, err := h.driver.Open(h.t.Context(), h.sack)
	watermark := stored.Offset
	h.did.note("open      at %v, %v", watermark, outcome(err))
	if err != nil {
		return err
	}
	h.compareStored(stored)
	if watermark < h.flushed {
		h.fatalf("the sack opens at %d, and was flushed up to %d", watermark, h.flushed)
	}
	h.t.Cleanup(func() { writer.Close() })
	h.writer, h.owner = writer, h.driver
	h.show(watermark)
	h.next = h.shown
	if from := max(0, h.next-redeliver); from < h.next {
		return h.tryDeliver(from, h.next)
	}
	return nil
}

// compareStored wants a watermark as it was flushed.
func (h *history) compareStored(stored ingest.Watermark) {
	h.t.Helper()
	if stored.Offset == 0 {
		return
	}
	want := ingest.Watermark{Log: suiteLog}
	for i := range h.log[:h.place(stored.Offset)] {
		want.Take(&h.log[i])
	}
	if diff := cmp.Diff(want, stored); diff != "" {
		h.fatalf("the sack opens with another watermark than it was flushed with (-want +got): %s", diff)
	}
}

// abandon gives the present owner up, as a crash would.
func (h *history) abandon() {
	h.t.Helper()
	h.owner = nil
	err := h.writer.Close()
	h.did.note("close     %v", outcome(err))
	if err != nil {
		h.fatalf("cannot close the writer: %v", err)
	}
}

// maintain does rounds of housekeeping.
func (h *history) maintain(rounds int) {
	h.t.Helper()
	for range rounds {
		err := h.writer.Maintain(h.t.Context())
		h.did.note("maintain  %v", outcome(err))
		if err != nil {
			h.fatalf("cannot maintain: %v", err)
		}
	}
}

// settled is how many rounds of housekeeping leave nothing to do.
const settled = 8

// compareRejects wants a reject for every entry of log[from:to] whose policy does
// not exist, or whose metric was deleted before, and no other.
func (h *history) compareRejects(rejects []ingest.Reject, from, to int) {
	h.t.Helper()
	type place struct {
		offset  ingest.Offset
		entry   int
		deleted bool
	}
	var want, got []place
	for i := from; i < to; i++ {
		for j, e := range h.log[i].Record.Entries {
			by, deleted := h.buried[e.Metric]
			if deleted = deleted && by < i && len(e.Measures) > 0 && h.policies.exists(e.Policy); deleted ||
				!h.policies.exists(e.Policy) {
				want = append(want, place{h.log[i].Offset, j, deleted})
			}
		}
	}
	for _, r := range rejects {
		got = append(got, place{r.Offset, r.Entry, r.Deleted})
		if r.Reason == "" {
			h.fatalf("the reject of entry %d of record %d has no reason", r.Entry, r.Offset)
		}
	}
	if !slices.Equal(want, got) {
		h.fatalf("rejects (record, entry, of a deleted metric) %v, want %v", got, want)
	}
}

// fatalf ends the test with what was done last.
func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("sack %d: %s\nwhat was done last (MILLRACE_TEST_SEED=%d):\n%s", h.sack, fmt.Sprintf(format, args...),
		h.seed, &h.did)
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, ingest.ErrFenced):
		return "fenced"
	}
	return err.Error()
}

// clone copies deliveries and all that they point to.
func clone(list []ingest.Delivery) []ingest.Delivery {
	list = slices.Clone(list)
	for i := range list {
		r := &list[i].Record
		r.Entries = slices.Clone(r.Entries)
		for j := range r.Entries {
			r.Entries[j].Measures = slices.Clone(r.Entries[j].Measures)
		}
		list[i].Raw = slices.Clone(list[i].Raw)
	}
	return list
}

// spoil overwrites deliveries as their owner's next use of the memory would.
func spoil(list []ingest.Delivery) {
	for i := range list {
		d := &list[i]
		for j := range d.Record.Entries {
			e := &d.Record.Entries[j]
			for k := range e.Measures {
				e.Measures[k] = ingest.Measure{Time: -int64(k), Value: math.Inf(-1)}
			}
			*e = ingest.Entry{Policy: "spoilt"}
		}
		clear(d.Raw)
		*d = ingest.Delivery{Offset: -1}
	}
}
