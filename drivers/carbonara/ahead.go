package carbonara

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/carbonara/segment"
)

// aheadBytes is how much of a segment is read at a time by whoever reads all of it,
// and so much ahead of where it is.
const aheadBytes = 1 << 20

// A scanSet is segments that a merge or a seal reads from beginning to end. They are
// read ahead, and leave the cache as it is.
type scanSet struct {
	readers map[string]*segment.Reader // by their names in the manifest
	sources []*readAhead
}

// openAll opens segments, several at once.
func (w *writer) openAll(ctx context.Context, segments []entry) (*scanSet, error) {
	s := &scanSet{readers: make(map[string]*segment.Reader, len(segments))}
	opened := make([]*segment.Reader, len(segments))
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(w.driver.config.Readers)
	for i, seg := range segments {
		name := sackPrefix(w.sack) + seg.Name
		source := &readAhead{ctx: ctx, store: w.driver.store, name: name, size: seg.Bytes, eager: !w.driver.config.serial,
			next: make(chan chunk, 1)}
		if whole := w.driver.files.whole(name); whole != nil {
			source.window = whole
		}
		s.sources = append(s.sources, source)
		group.Go(func() error {
			source.start() // the beginning, while the end is looked at
			file, err := segment.Open(opening, source, name, seg.Bytes)
			if err != nil {
				return &segmentError{seg.Name, err}
			}
			w.driver.stats.segmentsRead.Add(1)
			opened[i] = file
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		s.close()
		return nil, err
	}
	for i, seg := range segments {
		s.readers[seg.Name] = opened[i]
	}
	return s, nil
}

// of returns the reader of a segment.
func (s *scanSet) of(seg *entry) *segment.Reader { return s.readers[seg.Name] }

// close waits for what is being read ahead.
func (s *scanSet) close() {
	for _, source := range s.sources {
		source.wait()
	}
}

// A readAhead is a segment.Source of one segment, for one goroutine that goes through
// it. It holds a window of the object.
type readAhead struct {
	ctx   context.Context
	store Store
	name  string
	size  int64
	eager bool // reads ahead

	window  []byte
	off     int64 // of the window in the object
	pending bool  // next will receive a chunk
	next    chan chunk
}

var errShort = errors.New("object is shorter than its manifest says")

// A chunk is a part of an object that was read.
type chunk struct {
	off  int64
	data []byte
	err  error
}

func (r *readAhead) end() int64 { return r.off + int64(len(r.window)) }

// ReadRanges returns ranges, which ascend, from the window, having moved it on.
func (r *readAhead) ReadRanges(ctx context.Context, name string, ranges []segment.Range) ([][]byte, int64, error) {
	if len(ranges) == 0 {
		return nil, r.size, ctx.Err()
	}
	last := ranges[len(ranges)-1]
	lo, hi := ranges[0].Off, min(r.size, last.Off+last.Len)
	if hi == r.size && r.size > aheadBytes && int64(len(r.window)) < r.size { // the end, which is looked at first
		got, err := r.store.Read(ctx, name, "", ranges)
		if err != nil {
			return nil, 0, &storeError{err}
		}
		return got.Data, got.Size, nil
	}
	if err := r.cover(ctx, lo, hi); err != nil {
		return nil, 0, err
	}
	data := make([][]byte, len(ranges))
	for i, want := range ranges {
		data[i] = cutRange(r.window, segment.Range{Off: want.Off - r.off, Len: want.Len})
	}
	r.start()
	return data, r.size, ctx.Err()
}

// cover moves the window so that it begins at or before lo and reaches hi. What was
// given out of it before stays as it is.
func (r *readAhead) cover(ctx context.Context, lo, hi int64) error {
	switch {
	case lo < r.off || lo > r.end():
		c := chunk{off: -1}
		if r.pending {
			c = <-r.next
			r.pending = false
		}
		if c.err != nil || c.off < 0 || lo < c.off || lo > c.off+int64(len(c.data)) {
			c = chunk{off: lo}
		}
		r.window, r.off = c.data, c.off
	case int64(len(r.window)) < r.size: // else it is all there
		r.window, r.off = r.window[lo-r.off:], lo
	}
	for r.end() < hi {
		c := chunk{off: -1}
		if r.pending {
			c = <-r.next
			r.pending = false
		}
		if c.off != r.end() {
			c = r.read(ctx, r.end(), max(aheadBytes, hi-r.end()))
		}
		if c.err != nil {
			return c.err
		}
		if len(c.data) == 0 {
			return errShort
		}
		n := len(r.window)
		r.window = append(r.window[:n:n], c.data...)
	}
	return nil
}

// start reads what comes behind the window, in the background.
func (r *readAhead) start() {
	off := r.end()
	if !r.eager || r.pending || off >= r.size {
		return
	}
	r.pending = true
	go func() { r.next <- r.read(r.ctx, off, aheadBytes) }()
}

func (r *readAhead) wait() {
	if r.pending {
		<-r.next
		r.pending = false
	}
}

func (r *readAhead) read(ctx context.Context, off, n int64) chunk {
	got, err := r.store.Read(ctx, r.name, "", []Range{{Off: off, Len: min(n, r.size-off)}})
	if err != nil {
		return chunk{off: off, err: &storeError{err}}
	}
	if got.Size != r.size {
		return chunk{off: off, err: errShort}
	}
	return chunk{off: off, data: got.Data[0]}
}
