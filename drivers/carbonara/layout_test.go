package carbonara

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// A layout is written once, and compared ever after.
func TestLayout(t *testing.T) {
	store := newMemoryStore()
	for _, step := range []struct {
		stored string
		sacks  int
		config Config
		want   string
	}{
		{"", 16, Config{MustExist: true}, "the storage is empty"},
		{"", 16, Config{Deployment: "ours"}, ""},
		{"", 16, Config{}, ""},
		{"", 16, Config{Deployment: "ours", MustExist: true}, ""},
		{"", 16, Config{Deployment: "theirs"}, "belongs to deployment ours, and this is deployment theirs"},
		{"", 8, Config{}, "created with 16 sacks and the configuration says 8"},
		{`{"format":7,"sacks":16}`, 16, Config{}, "format 7"},
		{`{"format":1,"sacks":16}`, 16, Config{}, "before the first release"},
		{`{`, 16, Config{}, "damaged"},
	} {
		if step.stored != "" {
			store.objects[layoutName] = memoryObject{data: []byte(step.stored), version: "x"}
		}
		_, err := openLayout(context.Background(), store, step.sacks, step.config)
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// A layout that is gone from a deployment in use is not made again.
func TestLayoutMissing(t *testing.T) {
	s := newSackTest(t, nil, Config{})
	delete(s.store.objects, layoutName)
	if _, err := New(t.Context(), s.store, somePolicies(), 1, Config{}); err == nil ||
		!strings.Contains(err.Error(), "no layout.json: put it back") {
		t.Errorf("New: %v", err)
	}
	if _, ok := s.store.objects[layoutName]; ok {
		t.Error("there is one again")
	}
}

// Several processes create a deployment at once, and one dies half way: all agree.
func TestCreateTogether(t *testing.T) {
	for died := range 5 {
		store := newMemoryStore()
		dying := &dyingStore{memoryStore: store, left: died}
		if _, err := openLayout(t.Context(), dying, 4, Config{}); !errors.Is(err, errDied) {
			t.Fatalf("after %d swaps: %v", died, err)
		}
		var layouts [4]Layout
		var wait sync.WaitGroup
		for i := range layouts {
			wait.Go(func() {
				var err error
				if layouts[i], err = openLayout(t.Context(), store, 4, Config{}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		for _, l := range layouts {
			if l != layouts[0] {
				t.Errorf("%+v and %+v", l, layouts[0])
			}
		}
		d, err := New(t.Context(), store, somePolicies(), 4, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Open(t.Context(), 3); err != nil {
			t.Error(err)
		}
	}
}

// A dyingStore does so many swaps.
type dyingStore struct {
	*memoryStore
	mu   sync.Mutex
	left int
}

var errDied = errors.New("died")

func (s *dyingStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	s.mu.Lock()
	s.left--
	dead := s.left < 0
	s.mu.Unlock()
	if dead {
		return "", errDied
	}
	version, err := s.memoryStore.Swap(ctx, name, old, data, adds)
	return version, err
}
