package disklog

import (
	"sort"

	"millrace/ingest"
)

// A tail keeps the log's most recent groups in memory, as they were written, for
// readers that are close behind. Log.mu guards it, but for the bytes behind a
// chunk's used, which are the writer's.
type tail struct {
	limit  int64
	bytes  int64 // of chunks and of the frames' list
	chunks []*chunk
	spare  *chunk // one that is free
	sacks  []tailSack
}

const (
	chunkLen      = 1 << 20
	tailFrameCost = 32 // bytes of memory, roughly
)

// A chunk holds whole groups. Its memory is used again when nobody reads it.
type chunk struct {
	buf     []byte
	used    int // the writer's
	readers int
	end     ingest.Offset // behind its last frame
	gone    bool          // no longer in the tail
}

// A tailSack lists the frames of one sack that are in the tail.
type tailSack struct {
	frames []tailFrame
	head   int           // frames before it have been evicted
	before ingest.Offset // every record of the sack after it is in the tail; -1: every record
}

type tailFrame struct {
	position ingest.Offset
	chunk    *chunk
	at       uint32 // of the payload in the chunk
	length   uint32
}

func (f tailFrame) payload() []byte { return f.chunk.buf[f.at : f.at+f.length] }

// from returns the sack's frames at or after a position.
func (s *tailSack) from(from ingest.Offset) []tailFrame {
	frames := s.frames[s.head:]
	i := sort.Search(len(frames), func(i int) bool { return frames[i].position >= from })
	return frames[i:]
}

// reserve returns room for n bytes in a chunk, which counts when the writer has
// raised the chunk's used. The writer calls it with Log.mu held.
func (t *tail) reserve(n int) (*chunk, []byte) {
	if len(t.chunks) > 0 {
		if c := t.chunks[len(t.chunks)-1]; len(c.buf)-c.used >= n {
			return c, c.buf[c.used : c.used+n]
		}
	}
	c := t.spare
	if c != nil && len(c.buf) >= n {
		t.spare = nil
		*c = chunk{buf: c.buf}
	} else {
		c = &chunk{buf: make([]byte, max(chunkLen, n))}
	}
	t.chunks = append(t.chunks, c)
	t.bytes += int64(len(c.buf))
	return c, c.buf[:n]
}

func (t *tail) add(sack ingest.Sack, f tailFrame) {
	s := &t.sacks[sack]
	s.frames = append(s.frames, f)
	t.bytes += tailFrameCost
}

// trim evicts the oldest chunks: what exceeds the limit, and what is applied. The
// chunk that is being written stays.
func (t *tail) trim(applied []ingest.Offset) {
	n := 0
	for n < len(t.chunks)-1 && (t.bytes > t.limit || t.isApplied(t.chunks[n], applied)) {
		t.evict(t.chunks[n])
		n++
	}
	t.chunks = append(t.chunks[:0], t.chunks[n:]...)
}

// isApplied says whether every frame of the oldest chunk is behind the watermarks.
func (t *tail) isApplied(c *chunk, applied []ingest.Offset) bool {
	for i := range t.sacks {
		s := &t.sacks[i]
		if s.head == len(s.frames) || s.frames[s.head].position >= c.end {
			continue
		}
		if applied[i] >= c.end { // Fast path.
			continue
		}
		if rest := s.from(applied[i]); len(rest) > 0 && rest[0].position < c.end {
			return false
		}
	}
	return true
}

// evict drops the oldest chunk.
func (t *tail) evict(c *chunk) {
	for i := range t.sacks {
		s := &t.sacks[i]
		for s.head < len(s.frames) && s.frames[s.head].position < c.end {
			s.before = s.frames[s.head].position
			s.frames[s.head] = tailFrame{}
			s.head++
			t.bytes -= tailFrameCost
		}
		if s.head > len(s.frames)/2 {
			n := copy(s.frames, s.frames[s.head:])
			clear(s.frames[n:])
			s.frames, s.head = s.frames[:n], 0
		}
	}
	t.bytes -= int64(len(c.buf))
	c.gone = true
	t.recycle(c)
}

// recycle keeps the memory of an evicted chunk that nobody reads.
func (t *tail) recycle(c *chunk) {
	if c.gone && c.readers == 0 && len(c.buf) == chunkLen {
		t.spare = c
	}
}

// hold keeps the chunks of frames from being written to until release.
func (t *tail) hold(frames []tailFrame) {
	for i := range frames {
		frames[i].chunk.readers++
	}
}

func (t *tail) release(frames []tailFrame) {
	for i := range frames {
		frames[i].chunk.readers--
		t.recycle(frames[i].chunk)
	}
}
