package carbonara

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A fileCache keeps the most recently used open segments: their footers and page
// indexes, which never change.
type fileCache struct {
	store Store
	most  int64 // bytes
	read  *atomic.Uint64

	mu    sync.Mutex
	used  int64
	files map[string]*list.Element // of *cachedFile, by object name
	order *list.List               // most recently used first
}

type cachedFile struct {
	name string
	file *segment.Reader
	cost int64
}

func newFileCache(store Store, most int64, read *atomic.Uint64) *fileCache {
	return &fileCache{store: store, most: most, read: read, files: make(map[string]*list.Element), order: list.New()}
}

func (c *fileCache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// open returns a segment's file, from memory if it is there. Two callers may open
// the same file at once: the work is done twice, and one result is kept.
func (c *fileCache) open(ctx context.Context, sack ingest.Sack, seg entry) (*segment.Reader, error) {
	name := sackPrefix(sack) + seg.Name
	c.mu.Lock()
	if e, ok := c.files[name]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*cachedFile).file, nil
	}
	c.mu.Unlock()
	file, err := segment.Open(ctx, source{c.store}, name, seg.Bytes)
	if err != nil {
		return nil, err
	}
	c.read.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.files[name]; !ok {
		entry := &cachedFile{name, file, file.Memory()}
		c.files[name] = c.order.PushFront(entry)
		c.used += entry.cost
		for c.used > c.most && c.order.Len() > 1 {
			c.drop(c.order.Back())
		}
	}
	return file, nil
}

// forget drops segments that no longer exist.
func (c *fileCache) forget(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if e, ok := c.files[name]; ok {
			c.drop(e)
		}
	}
}

func (c *fileCache) drop(e *list.Element) {
	entry := e.Value.(*cachedFile)
	c.order.Remove(e)
	delete(c.files, entry.name)
	c.used -= entry.cost
}
