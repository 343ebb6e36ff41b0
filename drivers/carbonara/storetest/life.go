package storetest

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/drivers/carbonara"
	"millrace/drivers/naive"
	"millrace/ingest"
)

// everything due is done at once.
func hasty() carbonara.Config {
	return carbonara.Config{SealRows: 12, MergeWidth: 2, Grace: 1, CollectEach: 1, Tombstone: 1}
}

type onePolicy struct{ *ingest.ArchivePolicy }

func (p onePolicy) Policy(context.Context, string) (*ingest.ArchivePolicy, error) {
	return p.ArchivePolicy, nil
}

func crashPolicy() onePolicy {
	methods := ingest.MethodsOf(ingest.Sum, ingest.Count, ingest.Max, ingest.Last.OfRate())
	return onePolicy{&ingest.ArchivePolicy{Name: "crash", Methods: methods, Definitions: []ingest.Definition{
		{Granularity: time.Second, Points: 40, Timespan: 40 * time.Second}, {Granularity: 10 * time.Second}}}}
}

func metric(n uint64) (id ingest.MetricID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// crashLog is what every life is given.
func crashLog() []ingest.Delivery {
	var log []ingest.Delivery
	add := func(r ingest.Record) {
		log = append(log, ingest.Delivery{Offset: ingest.Offset(len(log)), Record: r})
	}
	for i := range int64(8) {
		r := ingest.Record{Kind: ingest.RecordMeasures}
		for m := range uint64(3) {
			if m == 1 && i > 5 {
				continue // it has been deleted
			}
			e := ingest.Entry{Metric: metric(m), Policy: "crash"}
			for k := range int64(4) {
				e.Measures = append(e.Measures, ingest.Measure{Time: (1000 + 8*i + 2*k - int64(m)) * 1e9,
					Value: float64(i*k + int64(m))})
			}
			r.Entries = append(r.Entries, e)
		}
		add(r)
		switch i {
		case 3: // late, and the same once more
			add(ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Metric: metric(0), Policy: "crash",
				Measures: []ingest.Measure{{Time: 500e9, Value: 1}, {Time: 1024e9, Value: 7}}}}})
		case 5:
			add(ingest.Record{Kind: ingest.RecordDelete, Metric: metric(1)})
		}
	}
	return log
}

// Life is that of a sack: it applies a log to it, flushes, merges, seals and collects, until
// something fails, and returns what a flush has confirmed. Store is to be empty.
func Life(ctx context.Context, store carbonara.Store) (confirmed ingest.Offset) {
	d, err := carbonara.New(ctx, store, crashPolicy(), 1, hasty())
	if err != nil {
		return 0
	}
	w, _, err := d.Open(ctx, 0)
	if err != nil {
		return 0
	}
	log := crashLog()
	for i := range log {
		if _, err := w.Apply(ctx, log[i:i+1]); err != nil {
			return confirmed
		}
		watermark := log[i].Offset + 1
		if _, err := w.Flush(ctx, ingest.Watermark{Offset: watermark}); err != nil {
			return confirmed
		}
		confirmed = watermark
		if i%3 == 2 && w.Maintain(ctx) != nil {
			return confirmed
		}
		if i == len(log)/2 { // a second owner
			if w, _, err = d.Open(ctx, 0); err != nil {
				return confirmed
			}
		}
	}
	return confirmed
}

// Afterlife opens a sack whose Life has ended somewhere, as the next process would, and wants
// data and watermark in agreement, nothing lost that was confirmed, and the rest of the log
// applied without anybody's hand.
func Afterlife(t *testing.T, store carbonara.Store, confirmed ingest.Offset) {
	t.Helper()
	ctx := t.Context()
	d, err := carbonara.New(ctx, store, crashPolicy(), 1, hasty())
	if err != nil {
		t.Fatal(err)
	}
	sound(t, store)
	oracle := naive.New(crashPolicy())
	judge, _, _ := oracle.Open(ctx, 0)
	w, stored, err := d.Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	watermark := stored.Offset
	if watermark < confirmed {
		t.Fatalf("the sack opens at %d, and %d was confirmed", watermark, confirmed)
	}
	log := crashLog()
	deliver := func(to ingest.SackWriter, log []ingest.Delivery) {
		t.Helper()
		if _, err := to.Apply(ctx, log); err != nil {
			t.Fatal(err)
		}
		if len(log) == 0 {
			return
		}
		if _, err := to.Flush(ctx, ingest.Watermark{Offset: log[len(log)-1].Offset + 1}); err != nil {
			t.Fatal(err)
		}
	}
	deliver(judge, log[:watermark])
	same(t, d, oracle)
	deliver(judge, log)
	deliver(w, log) // from further back than it has to be
	for range 2 {
		if err := w.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	same(t, d, oracle)
	if orphans := sound(t, store); orphans > 0 {
		t.Errorf("%d orphans stay", orphans)
	}
}

// sound lets Check look at the store, and returns the number of orphans.
func sound(t *testing.T, store carbonara.Store) (orphans int) {
	t.Helper()
	err := carbonara.Check(t.Context(), store, func(r carbonara.Report) {
		for _, problem := range r.Problems {
			t.Error(problem)
		}
		orphans += r.Orphans
	})
	if err != nil {
		t.Error(err)
	}
	return orphans
}

// same wants two drivers to give the same answers.
func same(t *testing.T, d, oracle interface {
	ingest.Driver
	ingest.LateReader
}) {
	t.Helper()
	policy := crashPolicy().ArchivePolicy
	ids := []ingest.MetricID{metric(0), metric(1), metric(2)}
	var queries []ingest.Query
	for _, id := range ids {
		for _, def := range policy.Definitions {
			for _, m := range policy.Methods.List() {
				queries = append(queries, ingest.Query{Metric: id, Policy: policy, Granularity: def.Granularity, Method: m,
					From: ingest.MinTime, To: ingest.MaxTime})
			}
		}
	}
	got, want := make([][]ingest.Measure, len(queries)), make([][]ingest.Measure, len(queries))
	if _, err := d.Read(t.Context(), queries, got, nil); err != nil {
		t.Fatal(err)
	}
	oracle.Read(t.Context(), queries, want, nil)
	for i, q := range queries {
		if !slices.Equal(want[i], got[i]) {
			t.Errorf("metric %v, %s at %s (-naive +carbonara):\n%s", q.Metric, q.Method, q.Granularity,
				cmp.Diff(want[i], got[i]))
		}
	}
	late, err := d.Late(t.Context(), ids)
	lateWant, _ := oracle.Late(t.Context(), ids)
	if diff := cmp.Diff(lateWant, late); err != nil || diff != "" {
		t.Errorf("late: %v (-naive +carbonara):\n%s", err, diff)
	}
}
