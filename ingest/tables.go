package ingest

import (
	"context"
	"sync"
)

// tables bounds what the tenures of a process hold in memory, together: beyond the
// limit the largest is told to flush, and the others wait for it.
type tables struct {
	limit int64

	mu     sync.Mutex
	total  int64
	bytes  map[Sack]int64
	urges  map[Sack]chan struct{} // capacity 1: flush
	shrunk chan struct{}          // closed and replaced when total falls
}

func newTables(limit int64) *tables {
	return &tables{limit: limit, bytes: make(map[Sack]int64), urges: make(map[Sack]chan struct{}),
		shrunk: make(chan struct{})}
}

// urge is where a tenure hears that it is to flush.
func (t *tables) urge(sack Sack) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.urges[sack] == nil {
		t.urges[sack] = make(chan struct{}, 1)
	}
	return t.urges[sack]
}

// set says how much a tenure holds now.
func (t *tables) set(sack Sack, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLocked(sack, bytes)
}

func (t *tables) setLocked(sack Sack, bytes int64) {
	change := bytes - t.bytes[sack]
	t.bytes[sack] = bytes
	t.total += change
	if change < 0 {
		close(t.shrunk)
		t.shrunk = make(chan struct{})
	}
}

// drop says that a tenure is over.
func (t *tables) drop(sack Sack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLocked(sack, 0)
	delete(t.bytes, sack)
}

// wait returns when there is room for more in the sack's table, or ctx ends. The
// largest table doesn't wait: it is told to flush.
func (t *tables) wait(ctx context.Context, sack Sack) {
	for {
		t.mu.Lock()
		if t.total <= t.limit {
			t.mu.Unlock()
			return
		}
		largest := sack
		for s, n := range t.bytes {
			if n > t.bytes[largest] {
				largest = s
			}
		}
		if urge := t.urges[largest]; urge != nil {
			select {
			case urge <- struct{}{}:
			default:
			}
		}
		shrunk := t.shrunk
		t.mu.Unlock()
		if largest == sack {
			return
		}
		select {
		case <-shrunk:
		case <-ctx.Done():
			return
		}
	}
}
