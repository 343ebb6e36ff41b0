package segment

import (
	"context"
	"errors"
	"sync/atomic"
)

// An object is a source of one object, in memory.
type object struct {
	data  []byte
	reads atomic.Int64
	bytes atomic.Int64 // read
	fail  error
}

var errNotFound = errors.New("object does not exist")

func (s *object) ReadRanges(ctx context.Context, name string, ranges []Range) ([][]byte, int64, error) {
	s.reads.Add(1)
	if s.fail != nil {
		return nil, 0, s.fail
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	size := int64(len(s.data))
	var data [][]byte
	for _, r := range ranges {
		begin := min(r.Off, size)
		data = append(data, s.data[begin:min(begin+r.Len, size)])
		s.bytes.Add(int64(len(data[len(data)-1])))
	}
	return data, size, nil
}
