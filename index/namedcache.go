package index

import (
	"slices"
	"sync"

	"millrace/ingest"
)

// A MetricRef names a metric as a resource has it.
type MetricRef struct {
	Resource ResourceID
	Name     []byte
}

// A namedCache remembers the metrics of resources by name: what Lookup is for ids.
// Names, of which many resources have the same few, are kept once and numbered. One
// lock is taken for a whole request.
type namedCache struct {
	most int // metrics; any resource goes when one comes that is too many

	mu        sync.RWMutex
	resources map[ResourceID][]namedEntry // sorted by name
	numbers   map[string]nameNumber
	kinds     kinds
	metrics   int
	changes   uint64 // how often something was forgotten

	homes *homes // of the resources themselves
}

// metricsPerHome is how many metrics a resource is expected to have.
const metricsPerHome = 8

type nameNumber uint32

// A namedEntry is one metric of a resource: no pointer for the garbage collector.
type namedEntry struct {
	name nameNumber
	kind kind
	id   ingest.MetricID
}

// maxNames bounds the names; the cache starts anew when there are more.
const maxNames = 1 << 22

func newNamedCache(metrics int) *namedCache {
	c := &namedCache{most: max(1, metrics), homes: newHomes(metrics / metricsPerHome)}
	c.reset()
	return c
}

// reset forgets everything. The caller has locked mu.
func (c *namedCache) reset() {
	c.resources, c.numbers = map[ResourceID][]namedEntry{}, map[string]nameNumber{}
	c.kinds, c.metrics = kinds{}, 0
}

func byName(e namedEntry, name nameNumber) int {
	switch {
	case e.name < name:
		return -1
	case e.name > name:
		return 1
	}
	return 0
}

// find fills in the metrics and infos of the references that are in the cache and
// returns the indexes of the others.
func (c *namedCache) find(refs []MetricRef, entries []ingest.Entry, infos []MetricInfo) (unknown []int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var resource ResourceID
	var metrics []namedEntry
	for i := range refs {
		r := &refs[i]
		if i == 0 || r.Resource != resource { // those of a resource stand together
			resource, metrics = r.Resource, c.resources[r.Resource]
		}
		if name, ok := c.numbers[string(r.Name)]; ok {
			if at, ok := slices.BinarySearchFunc(metrics, name, byName); ok {
				entries[i].Metric = metrics[at].id
				infos[i] = c.kinds.list[metrics[at].kind]
				continue
			}
		}
		unknown = append(unknown, i)
	}
	return unknown
}

// moment is to be had before the database is asked about what is then added.
func (c *namedCache) moment() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes
}

// A foundMetric is what the database knows about a metric of a resource.
type foundMetric struct {
	resource ResourceID
	name     string
	id       ingest.MetricID
	info     MetricInfo
}

// add remembers what the database said when it was asked, unless something has been
// forgotten since: it may say something else now.
func (c *namedCache) add(asked uint64, found []foundMetric) {
	for some := range slices.Chunk(found, lockedAtOnce) {
		c.mu.Lock()
		if c.changes != asked {
			c.mu.Unlock()
			return
		}
		for i := range some {
			c.set(&some[i])
		}
		c.mu.Unlock()
	}
}

// set adds a metric. The caller has locked mu.
func (c *namedCache) set(f *foundMetric) {
	if c.metrics >= c.most {
		for resource, metrics := range c.resources {
			if resource != f.resource {
				c.metrics -= len(metrics)
				delete(c.resources, resource)
				break
			}
		}
	}
	k, ok := c.kinds.number(f.info)
	if !ok || len(c.numbers) >= maxNames {
		c.reset()
		k, _ = c.kinds.number(f.info)
	}
	name, ok := c.numbers[f.name]
	if !ok {
		name = nameNumber(len(c.numbers))
		c.numbers[f.name] = name
	}
	metrics := c.resources[f.resource]
	at, ok := slices.BinarySearchFunc(metrics, name, byName)
	if ok {
		metrics[at] = namedEntry{name, k, f.id}
		return
	}
	// Readers hold the lock while they look, so the slice may be changed in place.
	c.resources[f.resource] = slices.Insert(metrics, at, namedEntry{name, k, f.id})
	c.metrics++
}

// forget forgets what the resources have.
func (c *namedCache) forget(resources []ResourceID) {
	if len(resources) == 0 {
		return
	}
	c.homes.forget(resources, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for _, id := range resources {
		c.metrics -= len(c.resources[id])
		delete(c.resources, id)
	}
}

// anew forgets everything.
func (c *namedCache) anew() {
	c.homes.forget(nil, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.reset()
}
