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
	missing map[ingest.MetricID]absence
	seen    int64  // the feed's version up to which others' deletions are applied
	changes uint64 // how often metrics had to be forgotten
}

// An absence is that a metric was not there when so many transactions had created
// metrics; it is remembered until a time, since started.
type absence struct {
	creations int64
	until     time.Duration
}

func newCache(metrics int, remember time.Duration) *cache {
	return &cache{
		perTable: max(1, metrics/cacheTables),
		remember: remember,
		hasher:   hasher{rand.Uint64(), rand.Uint64()},
		started:  time.Now(),
		missing:  make(map[ingest.MetricID]absence),
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

// knowsMissing says whether any of the metrics is remembered to be missing.
func (c *cache) knowsMissing(ids []ingest.MetricID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.ContainsFunc(ids, func(id ingest.MetricID) bool { _, ok := c.missing[id]; return ok })
}

// notKnownMissing returns those of the metrics that are not remembered to be missing,
// now that so many transactions have created metrics.
func (c *cache) notKnownMissing(ids []ingest.MetricID, creations int64) []ingest.MetricID {
	now := time.Since(c.started)
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.DeleteFunc(ids, func(id ingest.MetricID) bool {
		a, ok := c.missing[id]
		return ok && a.creations == creations && now < a.until
	})
}

// now is to be had before the database is asked about metrics that are then added.
func (c *cache) now() (changes uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes
}

// lockedAtOnce is how many metrics are changed before others may look.
const lockedAtOnce = 1024

// add remembers what the database said about metrics when it was asked and when so
// many transactions had created metrics, unless it may say something else now.
func (c *cache) add(asked uint64, creations int64, ids []ingest.MetricID, told map[ingest.MetricID]MetricInfo) {
	a := absence{creations, time.Since(c.started) + c.remember}
	for some := range slices.Chunk(ids, lockedAtOnce) {
		c.mu.Lock()
		for i := range some {
			info, found := told[some[i]]
			switch {
			case found && c.changes == asked:
				c.set(&some[i], info)
			case !found && c.remember > 0:
				if len(c.missing) >= maxMissing {
					clear(c.missing)
				}
				c.missing[some[i]] = a
			}
		}
		c.mu.Unlock()
	}
}

// committed remembers what a transaction of ours has done, which was of a version of
// the feed: metrics that it has created, unless somebody may have deleted them since.
func (c *cache) committed(e *effects, version int64) {
	for some := range slices.Chunk(e.created, lockedAtOnce) {
		c.mu.Lock()
		for i := range some {
			m := &some[i]
			delete(c.missing, m.ID)
			if c.seen <= version {
				c.set(&m.ID, MetricInfo{Policy: m.Policy, Creator: m.Creator, Found: true})
			}
		}
		c.mu.Unlock()
	}
	c.forget(e.deleted) // Last: it may have created them, too.
	c.forget(e.altered)
}

// forget forgets metrics that don't exist from now on.
func (c *cache) forget(ids []ingest.MetricID) {
	for some := range slices.Chunk(ids, lockedAtOnce) {
		c.mu.Lock()
		c.changes++
		for i := range some {
			hash := c.hasher.hash(&some[i])
			c.table(hash).remove(&some[i], c.hasher)
		}
		c.mu.Unlock()
	}
}

// followed returns the version of the feed up to which deletions are applied.
func (c *cache) followed() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seen
}

// follow applies what the feed says up to a version.
func (c *cache) follow(deleted []ingest.MetricID, version int64) {
	c.mu.Lock()
	c.seen = version // First: a transaction of ours that is older creates nothing from here on.
	c.mu.Unlock()
	c.forget(deleted)
}

// anew forgets everything, as of a version of the feed.
func (c *cache) anew(version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = version
	c.changes++
	c.tables = [cacheTables]table{}
	clear(c.missing)
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
