package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"millrace/ingest"
)

// TestTable compares a table with Go's map over many random changes, ids being few
// and their hashes worse than random.
func TestTable(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var tab table
	h := hasher{1, 2}
	want := make(map[ingest.MetricID]kind)
	anyID := func() (id ingest.MetricID) {
		binary.LittleEndian.PutUint64(id[:], uint64(random.IntN(300)))
		return id
	}
	for step := range 20_000 {
		id := anyID()
		switch n := random.IntN(10); {
		case n < 5:
			k := kind(1 + random.IntN(5))
			tab.set(&id, k, h)
			want[id] = k
		case n < 9:
			tab.remove(&id, h)
			delete(want, id)
		default:
			before := tab.used
			tab.evict(h)
			if tab.used != max(0, before-1) {
				t.Fatalf("step %d: evicted %d of %d", step, before-tab.used, before)
			}
			for id := range want {
				if tab.find(&id, h.hash(&id)) == 0 {
					delete(want, id)
				}
			}
		}
		if tab.used != len(want) {
			t.Fatalf("step %d: %d in the table, want %d", step, tab.used, len(want))
		}
		if id := anyID(); tab.find(&id, h.hash(&id)) != want[id] {
			t.Fatalf("step %d: found %d, want %d", step, tab.find(&id, h.hash(&id)), want[id])
		}
	}
	for id, k := range want {
		if got := tab.find(&id, h.hash(&id)); got != k {
			t.Errorf("found %d, want %d", got, k)
		}
	}
}

func found(c *cache, m Metric) bool {
	return len(c.find(entriesOf(m), make([]MetricInfo, 1))) == 0
}

func TestCacheIsBounded(t *testing.T) {
	const capacity = 64 * 100
	c := newCache(capacity, time.Hour)
	metrics := make([]Metric, 3*capacity)
	for i := range metrics {
		metrics[i] = metric("")
	}
	c.created(metrics)
	used, last := 0, 0
	for i := range c.tables {
		used += c.tables[i].used
	}
	for _, m := range metrics[len(metrics)-100:] {
		if found(c, m) {
			last++
		}
	}
	if used != capacity || last < 50 {
		t.Errorf("the cache holds %d metrics, and %d of the last hundred", used, last)
	}

	for range 3 {
		ids := make([]ingest.MetricID, maxMissing/2)
		for i := range ids {
			ids[i] = ingest.NewMetricID()
		}
		c.add(c.now(), ids, nil)
		if len(c.missing) > maxMissing {
			t.Errorf("%d metrics are remembered to be missing", len(c.missing))
		}
		if left := c.notKnownMissing(ids[len(ids)-1:]); len(left) > 0 {
			t.Error("a metric that was just missed is not remembered")
		}
	}
}

// TestCacheManyCreators has more pairs of archive policy and creator than are kept.
func TestCacheManyCreators(t *testing.T) {
	c := newCache(1_000, time.Hour)
	for i := range maxKinds + 10 {
		m := metric("")
		m.Creator = fmt.Sprint(i)
		c.created([]Metric{m})
		infos := make([]MetricInfo, 1)
		if unknown := c.find(entriesOf(m), infos); len(unknown) > 0 || infos[0].Creator != m.Creator {
			t.Fatalf("metric %d: unknown %v, %v", i, unknown, infos)
		}
	}
	if n := len(c.kinds.list); n > 20 {
		t.Errorf("%d kinds are kept", n)
	}
}

// TestCacheForgetsMissing checks when a metric is asked for again.
func TestCacheForgetsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(1_000, time.Second)
		m := metric("")
		ids := func() []ingest.MetricID { return []ingest.MetricID{m.ID} }
		remembered := func() bool { return len(c.notKnownMissing(ids())) == 0 }
		c.add(c.now(), ids(), nil)
		time.Sleep(time.Second - time.Nanosecond)
		if !remembered() {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Nanosecond)
		if remembered() {
			t.Error("remembered too long")
		}
		c.add(c.now(), ids(), nil)
		c.created([]Metric{m})
		if remembered() || !found(c, m) {
			t.Error("a metric that was created is still missing")
		}
	})
	c, m := newCache(1_000, -1), metric("")
	c.add(c.now(), []ingest.MetricID{m.ID}, nil)
	if len(c.missing) > 0 {
		t.Error("remembered although that is turned off")
	}
}

// TestCacheOldAnswers adds what the database said before something happened.
func TestCacheOldAnswers(t *testing.T) {
	c, m := newCache(1_000, time.Hour), metric("")
	ids, told := []ingest.MetricID{m.ID}, map[ingest.MetricID]MetricInfo{m.ID: {Policy: "low", Found: true}}

	asked := c.now()
	c.created([]Metric{m})
	c.add(asked, ids, nil) // it wasn't there then
	if !found(c, m) || len(c.notKnownMissing([]ingest.MetricID{m.ID})) == 0 {
		t.Error("a metric is missing that was created since the database was asked")
	}
	asked = c.now()
	c.deleted(m.ID)
	c.add(asked, ids, told)
	if found(c, m) {
		t.Error("a metric is found that was deleted since the database was asked")
	}
	c.add(c.now(), ids, told)
	if !found(c, m) {
		t.Error("a fresh answer isn't remembered")
	}
}
