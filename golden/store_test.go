package golden_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/filestore"
	"millrace/ingest"
)

// openCarbonara opens a deployment of one sack on a store of its own.
func openCarbonara(open func(t *testing.T) carbonara.Store, config carbonara.Config) func(*testing.T, ingest.Policies) ingest.Driver {
	return func(t *testing.T, policies ingest.Policies) ingest.Driver {
		t.Helper()
		store := open(t)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		d, err := carbonara.New(t.Context(), store, policies, 1, config)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func openMemory(*testing.T) carbonara.Store {
	return &memory{objects: map[string]carbonara.Contents{}}
}

// openFiles opens a store of files, as a deployment has it.
func openFiles(t *testing.T) carbonara.Store {
	s, err := filestore.Open(disk.OS{}, t.TempDir(), filestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A memory is a carbonara.Store that never fails: what is tested here is not the store.
type memory struct {
	mu      sync.Mutex
	swaps   int
	objects map[string]carbonara.Contents // each whole, in one slice
}

func (s *memory) Put(_ context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = carbonara.Contents{Data: [][]byte{slices.Clone(data)}, Size: int64(len(data))}
	return nil
}

func (s *memory) Read(_ context.Context, name string, ranges []carbonara.Range) (carbonara.Contents, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.objects[name]
	if !ok {
		return carbonara.Contents{}, carbonara.ErrNotFound
	}
	whole := found.Data[0]
	if len(ranges) == 0 {
		ranges = []carbonara.Range{{Len: found.Size}}
	}
	found.Data = nil
	for _, r := range ranges {
		if r.Off < 0 {
			r.Off = max(0, found.Size-r.Len)
		}
		from := min(r.Off, found.Size)
		found.Data = append(found.Data, slices.Clone(whole[from:min(from+r.Len, found.Size)]))
	}
	return found, nil
}

func (s *memory) Swap(_ context.Context, name string, old carbonara.Version, data []byte) (carbonara.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[name].Version != old {
		return "", carbonara.ErrChanged
	}
	s.swaps++
	version := carbonara.Version(strconv.Itoa(s.swaps))
	s.objects[name] = carbonara.Contents{Data: [][]byte{slices.Clone(data)}, Size: int64(len(data)), Version: version}
	return version, nil
}

func (s *memory) List(_ context.Context, prefix string) ([]carbonara.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []carbonara.Object
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			list = append(list, carbonara.Object{Name: name, Size: o.Size, Modified: time.Now()})
		}
	}
	slices.SortFunc(list, func(a, b carbonara.Object) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func (s *memory) Delete(_ context.Context, names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.objects, func(name string, _ carbonara.Contents) bool { return slices.Contains(names, name) })
	return nil
}

func (s *memory) MaxObject() int64 { return 1 << 20 }

func (s *memory) Close() error { return nil }
