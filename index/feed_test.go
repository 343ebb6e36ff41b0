package index

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// untold opens an index that sees what others do only when it is polled.
func untold(t *testing.T, open opener) *Index {
	t.Helper()
	return open(Config{Refresh: -1, CacheMissing: time.Hour})
}

func (x *Index) finds(t *testing.T, m Metric) bool {
	t.Helper()
	infos := make([]MetricInfo, 1)
	value(x.Lookup(t.Context(), entriesOf(m), infos))(t)
	if infos[0].Found && infos[0].Policy != m.Policy {
		t.Errorf("metric %s has the archive policy %s, want %s", m.ID, infos[0].Policy, m.Policy)
	}
	return infos[0].Found
}

// testFeedMetrics has one Index create and delete what another has met or missed.
func testFeedMetrics(t *testing.T, open opener) {
	here, there, ctx := withPolicies(t, open, Config{}), untold(t, open), t.Context()
	m := metric("")
	for range 2 {
		if there.finds(t, m) {
			t.Fatal("a metric is found that was never created")
		}
	}
	for _, policy := range []string{"low", "high"} { // The second time its id has had a life before.
		m.Policy = policy
		must(t, here.CreateMetric(ctx, m))
		if !there.finds(t, m) {
			t.Error("a metric that was created elsewhere is refused")
		}
		must(t, here.MarkDeleted(ctx, m.ID))
		if !there.finds(t, m) {
			t.Error("a metric that is in the cache was looked up")
		}
		must(t, there.poll(ctx))
		if there.finds(t, m) {
			t.Error("a metric that was deleted elsewhere is accepted")
		}
		must(t, here.Purge(ctx, m.ID))
	}
	// All that happened between two polls.
	m.Policy = "low"
	must(t, here.CreateMetric(ctx, m))
	there.finds(t, m)
	must(t, here.MarkDeleted(ctx, m.ID))
	must(t, here.Purge(ctx, m.ID))
	m.Policy = "high"
	must(t, here.CreateMetric(ctx, m))
	must(t, there.poll(ctx))
	if !there.finds(t, m) {
		t.Error("a metric that has another life is refused")
	}
}

// testFeedHeld has one Index change archive policies and rules that another holds.
func testFeedHeld(t *testing.T, open opener) {
	here, there, ctx := open(Config{}), untold(t, open), t.Context()
	must(t, here.CreatePolicy(ctx, policy("p", time.Minute)))
	value(there.Policy(ctx, "p"))(t)
	seven := 7
	value(here.UpdatePolicy(ctx, "p", policy("p", time.Minute).Definitions, &seven))(t)
	must(t, here.CreateRule(ctx, Rule{"r", "*", "p"}))
	if p := value(there.Policy(ctx, "p"))(t); p.BackWindow != 0 {
		t.Error("an archive policy that is held was read again")
	}
	must(t, there.poll(ctx))
	if p := value(there.Policy(ctx, "p"))(t); p.BackWindow != 7 {
		t.Errorf("the back window is %d, want 7", p.BackWindow)
	}
	if _, ok, _ := there.MatchRule(ctx, "m"); !ok {
		t.Error("a rule that was created elsewhere isn't matched")
	}
	must(t, here.DeleteRule(ctx, "r"))
	must(t, here.DeletePolicy(ctx, "p"))
	must(t, there.poll(ctx))
	wantError(t, second(there.Policy(ctx, "p")), ErrNotFound, "Archive policy p does not exist")
}

// testFeedPruned has an Index miss rows of the feed.
func testFeedPruned(t *testing.T, open opener) {
	here, there, ctx := withPolicies(t, open, Config{Refresh: -1}), untold(t, open), t.Context()
	goes, stays := metric(""), metric("")
	must(t, here.CreateMetrics(ctx, []Metric{goes, stays}))
	there.finds(t, goes)
	must(t, here.MarkDeleted(ctx, goes.ID))
	must(t, here.CreatePolicy(ctx, policy("p", time.Minute)))
	must(t, here.prune(ctx, time.Now().Add(-time.Minute)))
	if rows := here.count(t, "feed"); rows == 0 {
		t.Error("rows were pruned too early")
	}
	for range 2 {
		must(t, here.prune(ctx, time.Now().Add(time.Minute)))
	}
	if rows := here.count(t, "feed"); rows != 0 {
		t.Errorf("%d rows were not pruned", rows)
	}
	must(t, there.poll(ctx))
	if there.finds(t, goes) || !there.finds(t, stays) {
		t.Error("an index that has missed rows of the feed believes what it held")
	}
	if ps := value(there.Policies(ctx))(t); len(ps) != 5 {
		t.Errorf("it holds %d archive policies, want 5", len(ps))
	}
}

// testFeedGoneBack has the database be restored from a backup.
func testFeedGoneBack(t *testing.T, open opener) {
	here, there, ctx := withPolicies(t, open, Config{}), untold(t, open), t.Context()
	m := metric("")
	must(t, here.CreateMetric(ctx, m))
	there.finds(t, m)
	_, err := here.database.transact(ctx, func(s session) error {
		_, err := s.exec(ctx, `DELETE FROM metrics`)
		if err == nil {
			_, err = s.exec(ctx, `DELETE FROM feed WHERE version = (SELECT version FROM state)`)
		}
		if err == nil {
			_, err = s.exec(ctx, `UPDATE state SET version = version - 1`)
		}
		return err
	})
	must(t, err)
	must(t, there.poll(ctx))
	if there.finds(t, m) {
		t.Error("a metric is found that is gone with the database")
	}
	must(t, there.CreatePolicy(ctx, policy("p", time.Minute)))
	value(there.Policy(ctx, "p"))(t)
}

// testBelief has an Index be asked that could not see for a while what others do.
func testBelief(t *testing.T, open opener) {
	x, ctx := open(Config{Refresh: time.Hour}), t.Context()
	value(x.CreateDefaults(ctx))(t)
	m := metric("cpu")
	must(t, x.CreateMetric(ctx, m))
	ask := func() error {
		_, err1 := x.Lookup(ctx, entriesOf(m), make([]MetricInfo, 1))
		_, err2 := x.Policy(ctx, "low")
		_, err3 := x.Policies(ctx)
		_, err4 := x.Rule(ctx, "default")
		_, err5 := x.Rules(ctx)
		_, _, err6 := x.MatchRule(ctx, "cpu")
		errs := []error{err1, err2, err3, err4, err5, err6}
		for i, err := range errs {
			if errors.Is(err, ErrUnavailable) != errors.Is(err1, ErrUnavailable) {
				t.Errorf("answer %d: %v, and the first %v", i, err, err1)
			}
		}
		return errors.Join(errs...)
	}
	x.follower.asOf.Store(int64(-9 * time.Minute))
	must(t, ask())
	x.follower.asOf.Store(int64(-11 * time.Minute))
	if err := ask(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(),
		"11m0s old, and 10m0s is the limit") {
		t.Errorf("after 11 minutes: %v", err)
	}
	must(t, x.poll(ctx))
	must(t, ask())
}

func (x *Index) count(t *testing.T, table string) (rows int64) {
	t.Helper()
	must(t, x.database.reading().row(t.Context(), []any{&rows}, `SELECT count(*) FROM `+table))
	return rows
}

// testFeedHammered has several Indexes create, delete and purge the same few
// metrics while others look them up. Whoever has changed one sees it so at once, and
// in the end all see the same, and what is counted is what there is.
func testFeedHammered(t *testing.T, open opener) {
	config := Config{Refresh: 2 * time.Millisecond, CacheMissing: time.Hour}
	indexes := []*Index{withPolicies(t, open, config), open(config), open(config)}
	ctx := t.Context()
	ids := make([]ingest.MetricID, 24)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	var running sync.WaitGroup
	for n, x := range indexes {
		mine := func(i int) bool { return i%len(indexes) == n } // to change; all are looked up
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 7))
			entries, infos := make([]ingest.Entry, len(ids)), make([]MetricInfo, len(ids))
			for i := range entries {
				entries[i].Metric = ids[i]
			}
			for range 60 {
				i := random.IntN(len(ids))
				m := Metric{ID: ids[i], Policy: []string{"low", "high"}[random.IntN(2)]}
				before := second(x.Lookup(ctx, entries, infos))
				there := infos[i].Found
				var err error
				switch {
				case !mine(i):
				case there:
					err = errors.Join(x.MarkDeleted(ctx, m.ID), x.Purge(ctx, m.ID))
				default:
					err = x.CreateMetric(ctx, m)
				}
				after := second(x.Lookup(ctx, entries, infos))
				if err := errors.Join(before, err, after); err != nil {
					t.Error(err)
				}
				if mine(i) && (infos[i].Found == there || !there && infos[i].Policy != m.Policy) {
					t.Errorf("metric %d was there: %v; now it is %+v", i, there, infos[i])
				}
			}
		})
	}
	running.Wait()
	var want []bool
	for n, x := range indexes {
		must(t, x.poll(ctx))
		for i, id := range ids {
			m, err := x.Metric(ctx, id)
			if err != nil {
				m = Metric{ID: id}
			}
			if n == 0 {
				want = append(want, err == nil)
			}
			if x.finds(t, m) != want[i] || (err == nil) != want[i] {
				t.Errorf("index %d doesn't see metric %d as the others do", n, i)
			}
		}
	}
	counts, metrics := value(indexes[0].Counts(ctx))(t), indexes[0].count(t, "metrics")
	if counts.Metrics != metrics || counts.Deleted != 0 {
		t.Errorf("counted %d and %d metrics, there are %d and 0", counts.Metrics, counts.Deleted, metrics)
	}
}
