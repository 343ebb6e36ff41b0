package carbonara

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// policyMap is an index of nothing but policies.
type policyMap map[string]*ingest.ArchivePolicy

func (m policyMap) Policy(_ context.Context, name string) (*ingest.ArchivePolicy, error) {
	if p := m[name]; p != nil {
		return p, nil
	}
	return nil, ingest.ErrNoPolicy
}

func somePolicies() policyMap {
	methods := ingest.DefaultMethods()
	methods.Add(ingest.Percentile(95))
	methods.Add(ingest.Mean.OfRate())
	return policyMap{
		"two": {Name: "two", Methods: methods, Definitions: []ingest.Definition{{Granularity: 10 * time.Second,
			Points: 100, Timespan: 1000 * time.Second}, {Granularity: time.Minute}}},
		"plain": {Name: "plain", BackWindow: 1, Methods: ingest.DefaultMethods(),
			Definitions: []ingest.Definition{{Granularity: 7 * time.Second}, {Granularity: 10 * time.Second}}},
	}
}

// A long history of flushes, merges and seals reads like one that keeps everything.
func TestEngineLikeNaive(t *testing.T) {
	ctx := t.Context()
	policies := somePolicies()
	store := newMemoryStore()
	d, err := New(ctx, store, policies, 1, Config{SealRows: 200, MergeWidth: 3, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	oracle := naive.New(policies)
	w, _, err := d.Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := oracle.Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	clock := int64(1_700_000_000_000_000_000)
	ids := make([]ingest.MetricID, 20)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	for round := range 300 {
		record := ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: time.Unix(0, clock)}
		for i, id := range ids {
			if random.IntN(3) == 0 {
				continue
			}
			e := ingest.Entry{Metric: id, Policy: []string{"two", "plain"}[i%2]}
			for range 1 + random.IntN(5) {
				e.Measures = append(e.Measures, ingest.Measure{Time: clock - random.Int64N(40e9),
					Value: float64(random.IntN(1000)) / 10})
			}
			record.Entries = append(record.Entries, e)
		}
		clock += 5e9
		delivery := []ingest.Delivery{{Offset: ingest.Offset(round), Record: record}}
		for _, writer := range []ingest.SackWriter{w, o} {
			if _, err := writer.Apply(ctx, delivery); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Flush(ctx, upTo(ingest.Offset(round)+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if round == 150 { // somebody else takes over
			if w, _, err = d.Open(ctx, 0); err != nil {
				t.Fatal(err)
			}
		}
		if round%25 == 24 {
			compare(t, ctx, policies, d, oracle, ids)
		}
	}
	if s := d.Stats(); s.Seals < 10 || s.Merges < 10 {
		t.Errorf("%+v", s)
	}
	err = Check(ctx, store, func(r Report) {
		if len(r.Problems) > 0 || r.Rows == 0 {
			t.Errorf("%+v", r)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func compare(t *testing.T, ctx context.Context, policies policyMap, got, want ingest.Driver, ids []ingest.MetricID) {
	t.Helper()
	var queries []ingest.Query
	for i, id := range ids {
		p := policies[[]string{"two", "plain"}[i%2]]
		for _, def := range p.Definitions {
			for _, m := range p.Methods.List() {
				queries = append(queries, ingest.Query{Metric: id, Policy: p, Granularity: def.Granularity, Method: m,
					From: ingest.MinTime, To: ingest.MaxTime})
			}
		}
	}
	a, b := make([][]ingest.Measure, len(queries)), make([][]ingest.Measure, len(queries))
	if _, err := got.Read(ctx, queries, a, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := want.Read(ctx, queries, b, nil); err != nil {
		t.Fatal(err)
	}
	for i := range queries {
		if diff := cmp.Diff(b[i], a[i]); diff != "" {
			q := queries[i]
			t.Fatalf("%s %s %s (-naive +carbonara):\n%s", q.Policy.Name, q.Granularity, q.Method, diff)
		}
	}
}
