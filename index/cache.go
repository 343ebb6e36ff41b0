package index

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"millrace/ingest"
)

const (
	cacheTables = 64      // so that only a part of the cache is copied when it grows
	maxMissing  = 1 << 16 // metrics that don't exist; forgotten when there are more
	maxKinds    = 1 << 17 // pairs of archive policy and creator; the cache starts anew when there are more
)

// A cache remembers which metrics exist, and briefly which don't. Of a metric it
// keeps the id and four bytes, and no pointer that the garbage collector would
// have to follow. One lock is taken once for a whole request: less than a lock for
// each of its metrics would cost, and memory is then waited for all at once.
type cache struct {
	perTable int           // metrics in a table; another goes when one comes
	remember time.Duration // how long to remember what doesn't exist
	hasher   hasher
	started  time.Time

	mu      sync.RWMutex
	tables  [cacheTables]table
	kinds   kinds
	missing map[ingest.MetricID]time.Duration // until when, since started
	changes moment
}

func newCache(metrics int, remember time.Duration) *cache {
	return &cache{
		perTable: max(1, metrics/cacheTables),
		remember: remember,
		hasher:   hasher{rand.Uint64(), rand.Uint64()},
		started:  time.Now(),
		missing:  make(map[ingest.MetricID]time.Duration),
	}
}

func (c *cache) table(hash uint64) *table { return &c.tables[hash>>58] }

// find fills in the infos of the metrics that are in the cache and returns the
// indexes of the others.
func (c *cache) find(entries []ingest.Entry, infos []MetricInfo) (unknown []int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range entries {
		id := &entries[i].Metric
		hash := c.hasher.hash(id)
		if k := c.table(hash).find(id, hash); k != 0 {
			infos[i] = c.kinds.list[k]
		} else {
			unknown = append(unknown, i)
		}
	}
	return unknown
}

// notKnownMissing returns those of the metrics that are not remembered to be missing.
func (c *cache) notKnownMissing(ids []ingest.MetricID) []ingest.MetricID {
	now := time.Since(c.started)
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.DeleteFunc(ids, func(id ingest.MetricID) bool {
		until, ok := c.missing[id]
		return ok && now < until
	})
}

// A moment is how many metrics had been created and deleted at some time.
type moment struct{ creations, deletions uint64 }

// now is to be had before the database is asked about metrics that are then added.
func (c *cache) now() moment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes
}

// lockedAtOnce is how many metrics are changed before others may look.
const lockedAtOnce = 1024

// add remembers what the database said about metrics when it was asked, unless it
// may say something else now.
func (c *cache) add(asked moment, ids []ingest.MetricID, told map[ingest.MetricID]MetricInfo) {
	until := time.Since(c.started) + c.remember
	for some := range slices.Chunk(ids, lockedAtOnce) {
		c.mu.Lock()
		for i := range some {
			info, found := told[some[i]]
			switch {
			case found && c.changes.deletions == asked.deletions:
				c.set(&some[i], info)
			case !found && c.changes.creations == asked.creations && c.remember > 0:
				if len(c.missing) >= maxMissing {
					clear(c.missing)
				}
				c.missing[some[i]] = until
			}
		}
		c.mu.Unlock()
	}
}

// created remembers metrics that exist from now on.
func (c *cache) created(metrics []Metric) {
	for some := range slices.Chunk(metrics, lockedAtOnce) {
		c.mu.Lock()
		c.changes.creations++
		for i := range some {
			m := &some[i]
			delete(c.missing, m.ID)
			c.set(&m.ID, MetricInfo{Policy: m.Policy, Creator: m.Creator, Found: true})
		}
		c.mu.Unlock()
	}
}

// deleted forgets a metric that doesn't exist from now on.
func (c *cache) deleted(id ingest.MetricID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.deletions++
	hash := c.hasher.hash(&id)
	c.table(hash).remove(&id, c.hasher)
}

// set adds a metric. The caller has locked mu.
func (c *cache) set(id *ingest.MetricID, info MetricInfo) {
	k, ok := c.kinds.number(info)
	if !ok {
		c.tables = [cacheTables]table{}
		c.kinds = kinds{}
		k, _ = c.kinds.number(info)
	}
	hash := c.hasher.hash(id)
	t := c.table(hash)
	if t.used >= c.perTable && t.find(id, hash) == 0 {
		t.evict(c.hasher)
	}
	t.set(id, k, c.hasher)
}
