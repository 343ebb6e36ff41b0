package carbonara

import (
	"bytes"
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A cache keeps what was used last of segments, which never change: their footers and
// page indexes, the ranges that were read, and all of what this process has written
// itself and other parts of it are about to read.
type cache struct {
	store Store
	most  int64 // bytes
	opens *atomic.Uint64

	mu      sync.Mutex
	used    int64
	items   map[cacheKey]*list.Element // of *cacheItem
	order   *list.List                 // most recently used first
	ranges  map[string]map[int64]bool  // of each object, the offsets of the ranges that are here
	opening map[string]*opening
}

// A cacheKey is a place in an object, or one of the two below.
type cacheKey struct {
	name string
	off  int64
}

const (
	openFile = -1 // the footer
	allOfIt  = -2
)

type cacheItem struct {
	key  cacheKey
	file *segment.Reader // of openFile
	data []byte          // of the others
	cost int64
}

// An opening is a fetch of a footer that several wait for.
type opening struct {
	done chan struct{}
	file *segment.Reader
	err  error
}

// itemCost is what an item takes beside its bytes.
const itemCost = 200

// largeParts: what is larger than this part of the cache would displace too much.
const largeParts = 8

func newCache(store Store, most int64, opens *atomic.Uint64) *cache {
	return &cache{
		store: store, most: most, opens: opens,
		items: make(map[cacheKey]*list.Element), order: list.New(),
		ranges: make(map[string]map[int64]bool), opening: make(map[string]*opening),
	}
}

func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// open returns a segment's reader, from memory if it is there. Those who ask for the
// same one at once share a fetch.
func (c *cache) open(ctx context.Context, sack ingest.Sack, seg *entry) (*segment.Reader, error) {
	name := sackPrefix(sack) + seg.Name
	c.mu.Lock()
	if item := c.get(cacheKey{name, openFile}); item != nil {
		c.mu.Unlock()
		return item.file, nil
	}
	if o := c.opening[name]; o != nil {
		c.mu.Unlock()
		select {
		case <-o.done:
			if o.err == nil {
				return o.file, nil
			}
			return c.openAlone(ctx, name, seg.Bytes) // whoever fetched it may have been called off
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	o := &opening{done: make(chan struct{})}
	c.opening[name] = o
	c.mu.Unlock()
	o.file, o.err = c.openAlone(ctx, name, seg.Bytes)
	c.mu.Lock()
	delete(c.opening, name)
	c.mu.Unlock()
	close(o.done)
	return o.file, o.err
}

func (c *cache) openAlone(ctx context.Context, name string, size int64) (*segment.Reader, error) {
	file, err := segment.Open(ctx, c, name, size)
	if err != nil {
		return nil, err
	}
	c.opens.Add(1)
	c.add(&cacheItem{key: cacheKey{name, openFile}, file: file, cost: file.Memory()})
	return file, nil
}

// ReadRanges lets the codec read objects: what is not in memory comes from the store,
// in one call.
func (c *cache) ReadRanges(ctx context.Context, name string, ranges []segment.Range) ([][]byte, int64, error) {
	data := make([][]byte, len(ranges))
	missing, at, whole := c.find(name, ranges, data)
	if whole != nil {
		return data, int64(len(whole)), ctx.Err()
	}
	if len(missing) == 0 {
		return data, 0, ctx.Err()
	}
	contents, err := c.store.Read(ctx, name, "", missing)
	if err != nil {
		return nil, 0, &storeError{err}
	}
	for i, got := range contents.Data {
		data[at[i]] = got
		switch r := missing[i]; {
		case r.Off == 0 && int64(len(got)) == contents.Size:
			c.add(&cacheItem{key: cacheKey{name, allOfIt}, data: got, cost: contents.Size})
		case r.Off >= 0 && r.Off+r.Len < contents.Size: // the tail is parsed once
			c.add(&cacheItem{key: cacheKey{name, r.Off}, data: got, cost: int64(len(got))})
		}
	}
	return data, contents.Size, nil
}

// find fills data with the ranges that are in memory, and returns the others, with
// where they belong; or all of the object, if that is here.
func (c *cache) find(name string, ranges []segment.Range, data [][]byte) (missing []segment.Range, at []int,
	whole []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if item := c.get(cacheKey{name, allOfIt}); item != nil {
		for i, r := range ranges {
			data[i] = cutRange(item.data, r)
		}
		return nil, nil, item.data
	}
	for i, r := range ranges {
		if item := c.get(cacheKey{name, r.Off}); item != nil && r.Off >= 0 && int64(len(item.data)) >= r.Len {
			data[i] = item.data[:r.Len:r.Len]
			continue
		}
		missing, at = append(missing, r), append(at, i)
	}
	return missing, at, nil
}

// cutRange is what a store returns of an object for a range.
func cutRange(data []byte, r segment.Range) []byte {
	size := int64(len(data))
	if r.Off < 0 {
		r.Off = max(0, size-r.Len)
	}
	from := min(r.Off, size)
	to := min(from+r.Len, size)
	return data[from:to:to]
}

// keep remembers all of an object that has just been written, unless it is large.
func (c *cache) keep(name string, data []byte) {
	if int64(len(data)) <= c.most/largeParts {
		c.add(&cacheItem{key: cacheKey{name, allOfIt}, data: bytes.Clone(data), cost: int64(len(data))})
	}
}

// whole returns an object that is here entirely; nil if it isn't.
func (c *cache) whole(name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if item := c.get(cacheKey{name, allOfIt}); item != nil {
		return item.data
	}
	return nil
}

// forget drops objects that no longer exist.
func (c *cache) forget(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		for off := range c.ranges[name] {
			c.drop(c.items[cacheKey{name, off}])
		}
	}
}

// get returns an item and notes its use; nil if it isn't there.
func (c *cache) get(key cacheKey) *cacheItem {
	e := c.items[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheItem)
}

func (c *cache) add(item *cacheItem) {
	item.cost += itemCost
	if item.key.off != openFile && item.cost > c.most/largeParts {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[item.key]; e != nil {
		c.drop(e)
	}
	c.items[item.key] = c.order.PushFront(item)
	c.used += item.cost
	if c.ranges[item.key.name] == nil {
		c.ranges[item.key.name] = make(map[int64]bool)
	}
	c.ranges[item.key.name][item.key.off] = true
	for c.used > c.most && c.order.Len() > 1 {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	item := e.Value.(*cacheItem)
	c.order.Remove(e)
	delete(c.items, item.key)
	c.used -= item.cost
	offsets := c.ranges[item.key.name]
	if delete(offsets, item.key.off); len(offsets) == 0 {
		delete(c.ranges, item.key.name)
	}
}
