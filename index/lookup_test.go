package index

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func testLookup(t *testing.T, open opener) {
	for _, capacity := range []int{1, 100_000} { // nothing stays in the cache, everything does
		x, ctx := open(Config{CacheMetrics: capacity}), t.Context()
		value(x.CreateDefaults(ctx))(t)
		metrics := make([]Metric, 3*idsPerQuery/2)
		for i := range metrics {
			metrics[i] = metric("")
			metrics[i].Creator = []string{"alice", "bob:p"}[i%2]
			metrics[i].Policy = []string{"low", "high", "bool"}[i%3]
		}
		must(t, x.CreateMetrics(ctx, metrics))
		must(t, x.Close())
		x = open(Config{CacheMetrics: capacity})
		entries := entriesOf(metrics...)
		entries[7].Metric = ingest.NewMetricID()
		entries[9].Metric, entries[len(entries)-1].Metric = entries[7].Metric, entries[7].Metric // in one request twice
		infos := make([]MetricInfo, len(entries))
		for range 3 {
			for i := range infos {
				infos[i] = MetricInfo{Policy: "left over", Found: true}
			}
			missing := value(x.Lookup(ctx, entries, infos))(t)
			if diff := cmp.Diff([]int{7, 9, len(entries) - 1}, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			for i, info := range infos {
				want := MetricInfo{Policy: metrics[i].Policy, Creator: metrics[i].Creator, Found: true}
				if entries[i].Metric == entries[7].Metric {
					want = MetricInfo{}
				}
				if info != want {
					t.Fatalf("entry %d is %v, want %v", i, info, want)
				}
			}
		}
		value(x.Lookup(ctx, nil, nil))(t)
	}
}

// testLookupSeesChanges creates and deletes metrics while others look them up:
// whoever has created one finds it, and whoever has deleted one doesn't.
func testLookupSeesChanges(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{CacheMissing: time.Hour}), t.Context()
	metrics := make([]Metric, 32)
	for i := range metrics {
		metrics[i] = metric("")
	}
	entries := entriesOf(metrics...)
	looking, stop := context.WithCancel(ctx)
	var lookers, changers sync.WaitGroup
	for range 2 {
		lookers.Go(func() {
			for infos := make([]MetricInfo, len(entries)); looking.Err() == nil; {
				if _, err := x.Lookup(ctx, entries, infos); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range metrics {
		changers.Go(func() {
			found := func() bool {
				infos := make([]MetricInfo, 1)
				if _, err := x.Lookup(ctx, entries[i:i+1], infos); err != nil {
					t.Error(err)
				}
				return infos[0].Found
			}
			for range 3 {
				if err := x.CreateMetric(ctx, metrics[i]); err != nil || !found() {
					t.Errorf("metric %d isn't found once created: %v", i, err)
				}
				if err := x.MarkDeleted(ctx, metrics[i].ID); err != nil || found() {
					t.Errorf("metric %d is found once deleted: %v", i, err)
				}
				if err := x.Purge(ctx, metrics[i].ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changers.Wait()
	stop()
	lookers.Wait()
}
