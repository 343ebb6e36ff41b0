package carbonara

import (
	"context"
	"errors"
	"testing"
)

// A goneStore can't be read while it has an error.
type goneStore struct {
	*memoryStore
	err error
}

func (s *goneStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	if s.err != nil {
		return Contents{}, s.err
	}
	return s.memoryStore.Read(ctx, name, unless, ranges)
}

// A store is there when it answers, also before there is a deployment in it, and whatever has
// been read of it before.
func TestProbe(t *testing.T) {
	gone := errors.New("no route to host")
	store := &goneStore{memoryStore: newMemoryStore(), err: gone}
	patient := busy()
	patient.Patient = true
	d := open(t, store, nil, patient)
	for _, err := range []error{gone, nil, gone, ErrNotFound} {
		store.err = err
		want := err
		if errors.Is(err, ErrNotFound) {
			want = nil
		}
		if got := d.Probe(t.Context()); !errors.Is(got, want) {
			t.Errorf("where reads say %v, Probe says %v", err, got)
		}
	}
}
