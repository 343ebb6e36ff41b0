package carbonara

import (
	"context"
	"crypto/md5"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A memoryStore keeps the store's contract in a map, for the tests of the engine.
type memoryStore struct {
	mu      sync.Mutex
	objects map[string]memoryObject
	swaps   int
	largest int64

	mayGoBack, exclusive bool
}

type memoryObject struct {
	data     []byte
	version  Version
	modified time.Time
}

func newMemoryStore() *memoryStore {
	return &memoryStore{objects: make(map[string]memoryObject), largest: 1 << 20}
}

// mark returns a function that brings the store back to what it is now.
func (s *memoryStore) mark() (back func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := maps.Clone(s.objects)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.objects = maps.Clone(before)
	}
}

func (s *memoryStore) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = memoryObject{slices.Clone(data), "", time.Now()}
	return ctx.Err()
}

func (s *memoryStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return Contents{}, ErrNotFound
	}
	if unless != "" && o.version == unless {
		return Contents{}, ErrUnchanged
	}
	c := Contents{Size: int64(len(o.data)), Version: o.version}
	if len(ranges) == 0 {
		ranges = []Range{{Off: 0, Len: c.Size}}
	}
	for _, r := range ranges {
		if r.Off < 0 {
			r.Off = max(0, c.Size-r.Len)
		}
		begin := min(r.Off, c.Size)
		c.Data = append(c.Data, slices.Clone(o.data[begin:min(begin+r.Len, c.Size)]))
	}
	return c, ctx.Err()
}

func (s *memoryStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[name].version != old {
		return "", ErrChanged
	}
	for _, a := range adds {
		if o, ok := s.objects[a.Name]; !ok || int64(len(o.data)) != a.Size {
			return "", ErrMissing
		}
	}
	s.swaps++
	version := Version(fmt.Sprintf("%x", md5.Sum(data))) // as an ETag is
	s.objects[name] = memoryObject{slices.Clone(data), version, time.Now()}
	return version, ctx.Err()
}

func (s *memoryStore) List(ctx context.Context, prefix string) ([]Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Object
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			list = append(list, Object{name, int64(len(o.data)), o.modified})
		}
	}
	slices.SortFunc(list, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return list, ctx.Err()
}

func (s *memoryStore) Delete(ctx context.Context, names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.objects, name)
	}
	return ctx.Err()
}

func (s *memoryStore) Traits() Traits {
	return Traits{MaxObject: s.largest, DeleteBatch: 100, MayGoBack: s.mayGoBack, Exclusive: s.exclusive}
}

func (s *memoryStore) Close() error { return nil }
