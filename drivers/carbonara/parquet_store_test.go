package carbonara

import (
	"context"
	"errors"
	"sync/atomic"
)

// An objectStore is one object in memory, for the tests of the codec.
type objectStore struct {
	data  []byte
	reads atomic.Int64
	fail  error
}

func (s *objectStore) Read(ctx context.Context, name string, ranges []Range) (Contents, error) {
	s.reads.Add(1)
	if s.fail != nil {
		return Contents{}, s.fail
	}
	if err := ctx.Err(); err != nil {
		return Contents{}, err
	}
	c := Contents{Size: int64(len(s.data))}
	if len(ranges) == 0 {
		c.Data = [][]byte{s.data}
	}
	for _, r := range ranges {
		begin := min(r.Off, c.Size)
		c.Data = append(c.Data, s.data[begin:min(begin+r.Len, c.Size)])
	}
	return c, nil
}

var errNotHere = errors.New("not in an objectStore")

func (s *objectStore) Put(context.Context, string, []byte) error { return errNotHere }
func (s *objectStore) Swap(context.Context, string, Version, []byte) (Version, error) {
	return "", errNotHere
}
func (s *objectStore) List(context.Context, string) ([]Object, error) { return nil, errNotHere }
func (s *objectStore) Delete(context.Context, []string) error         { return errNotHere }
func (s *objectStore) MaxObject() int64                               { return 1 << 30 }
func (s *objectStore) Close() error                                   { return nil }
