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
	c.committed(&effects{created: metrics}, 0)
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
		c.add(c.now(), 1, ids, nil)
		if len(c.missing) > maxMissing {
			t.Errorf("%d metrics are remembered to be missing", len(c.missing))
		}
		if left := c.notKnownMissing(ids[len(ids)-1:], 1); len(left) > 0 {
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
		c.committed(&effects{created: []Metric{m}}, 0)
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
		remembered := func(creations int64) bool { return len(c.notKnownMissing(ids(), creations)) == 0 }
		c.add(c.now(), 7, ids(), nil)
		time.Sleep(time.Second - time.Nanosecond)
		if !remembered(7) {
			t.Error("forgotten too early")
		}
		if remembered(8) {
			t.Error("remembered although metrics have been created since")
		}
		time.Sleep(time.Nanosecond)
		if remembered(7) {
			t.Error("remembered too long")
		}
		c.add(c.now(), 7, ids(), nil)
		c.committed(&effects{created: []Metric{m}}, 0)
		if remembered(7) || !found(c, m) {
			t.Error("a metric that was created is still missing")
		}
	})
	c, m := newCache(1_000, -1), metric("")
	c.add(c.now(), 1, []ingest.MetricID{m.ID}, nil)
	if len(c.missing) > 0 {
		t.Error("remembered although that is turned off")
	}
}

// TestCacheOldAnswers adds what was true before something happened.
func TestCacheOldAnswers(t *testing.T) {
	c, m := newCache(1_000, time.Hour), metric("")
	ids, told := []ingest.MetricID{m.ID}, map[ingest.MetricID]MetricInfo{m.ID: {Policy: "low", Found: true}}
	created := &effects{created: []Metric{m}}

	asked := c.now()
	c.committed(created, 3)
	c.add(asked, 1, ids, nil) // it wasn't there then
	if !found(c, m) {
		t.Error("a metric is missing that was created since the database was asked")
	}
	asked = c.now()
	c.committed(&effects{deleted: ids}, 4)
	c.add(asked, 2, ids, told)
	if found(c, m) {
		t.Error("a metric is found that we have deleted since the database was asked")
	}
	c.add(c.now(), 2, ids, told)
	if !found(c, m) {
		t.Error("a fresh answer isn't remembered")
	}
	asked = c.now()
	c.follow(ids, 5)
	c.add(asked, 2, ids, told)
	if found(c, m) {
		t.Error("a metric is found that others have deleted since the database was asked")
	}
	c.committed(created, 4) // We hear of our own commit only after that of a later one.
	if found(c, m) {
		t.Error("a metric is found that others have deleted since we created it")
	}
	c.committed(&effects{created: []Metric{m}, deleted: ids}, 6)
	if found(c, m) {
		t.Error("a metric is found that was created and deleted in one transaction")
	}
	c.committed(created, 7)
	c.anew(8)
	if found(c, m) {
		t.Error("a metric is found in a cache that has started anew")
	}
}
