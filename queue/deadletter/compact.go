package deadletter

import (
	"fmt"
	"math/rand/v2"
)

// tidy rewrites the files when most of them is of no use, or when they are many. A
// failure is none of the caller's: his call is done, and the files are what they
// were, or the next call has to heal them. It is tried again when there is more
// garbage.
func (l *Letters) tidy() {
	used := int64(0)
	for _, s := range l.segments {
		used += s.size
	}
	garbage := used - l.bytes
	wanted := garbage > used/2 && garbage >= l.compactAt || len(l.segments) > maxSegments
	if wanted && (l.mustHaveRoom(fileHeaderLen+l.bytes) != nil || l.compact() != nil) {
		l.compactAt = garbage + l.config.MinGarbage
	}
}

// compact copies the letters to a new file that takes the place of all others.
func (l *Letters) compact() error {
	number := l.number + 1
	header := fileHeader{number: number, first: number, whole: fileHeaderLen + l.bytes, salt: rand.Uint64()}
	var letters index
	s, err := l.create(header, func(s *segment) (err error) {
		letters, err = l.copyTo(s)
		return err
	})
	if err != nil {
		return err
	}
	old := l.segments
	l.mu.Lock()
	l.segments, l.letters = []*segment{s}, letters
	for _, o := range old {
		o.retire()
	}
	l.mu.Unlock()
	l.number, l.broken, l.compactAt = number, nil, l.config.MinGarbage
	for _, o := range old {
		l.discard(o.path)
	}
	return nil
}

// copyBuffer is how many bytes are written at a time.
const copyBuffer = 256 << 10

// copyTo writes all letters to a file, each a group of its own, and returns the
// index of that file.
func (l *Letters) copyTo(s *segment) (letters index, err error) {
	g := group{at: fileHeaderLen, seed: s.seed}
	flush := func() error {
		_, err := s.file.WriteAt(g.buf, g.at)
		g.at += int64(len(g.buf))
		g.buf = g.buf[:0]
		return err
	}
	var buf []byte
	err = l.letters.all(func(e entry) error {
		if buf, err = e.read(buf); err != nil {
			return fmt.Errorf("cannot copy dead letter %s: %w", e.id, err)
		}
		start := g.begin()
		g.from = g.at + int64(start)
		g.buf = append(g.buf, payloadOf(buf, e)...)
		at, length, err := g.end(start, kindLetter)
		if err != nil {
			return err
		}
		letters.insert(entry{id: e.id, segment: s, at: at, length: length})
		if len(g.buf) < copyBuffer {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil && g.at != s.header.whole {
		panic(fmt.Sprintf("BUG: the letters take %d bytes, and %d were expected", g.at, s.header.whole))
	}
	return letters, err
}
