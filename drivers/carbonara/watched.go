package carbonara

import (
	"context"
	"errors"
	"sync/atomic"
)

// A watched store counts the calls that failed for another reason than that an object
// wasn't as its caller thought: after those it may not be what it was.
type watched struct {
	Store
	troubles *atomic.Uint64
}

func (s *watched) note(err error) {
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrUnchanged), errors.Is(err, ErrChanged),
		errors.Is(err, context.Canceled):
	default:
		s.troubles.Add(1)
	}
}

func (s *watched) Put(ctx context.Context, name string, data []byte) error {
	err := s.Store.Put(ctx, name, data)
	s.note(err)
	return err
}

func (s *watched) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	c, err := s.Store.Read(ctx, name, unless, ranges)
	s.note(err)
	return c, err
}

func (s *watched) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version, error) {
	version, err := s.Store.Swap(ctx, name, old, data, adds)
	s.note(err)
	return version, err
}

func (s *watched) List(ctx context.Context, prefix string) ([]Object, error) {
	list, err := s.Store.List(ctx, prefix)
	s.note(err)
	return list, err
}

func (s *watched) Delete(ctx context.Context, names []string) error {
	err := s.Store.Delete(ctx, names)
	s.note(err)
	return err
}
