package deadletter

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
)

// begin makes the caller the one who writes, until end, to a file that can be
// trusted. That is so for a call that turns out to have nothing to write, too:
// only what is known to be durable may be called done.
func (l *Letters) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := fs.ErrClosed
	if !l.closed {
		err = l.heal()
	}
	if err != nil {
		l.end()
	}
	return err
}

func (l *Letters) end() { <-l.writing }

func (l *Letters) newest() *segment { return l.segments[len(l.segments)-1] }

// group begins a group behind the end of the newest file.
func (l *Letters) group() *group {
	s := l.newest()
	return &group{buf: l.buf[:0], at: s.size, from: s.size, seed: s.seed}
}

// write makes a group durable. After an error nobody knows what of it is on the
// disk, and what the next sync would say means nothing: the file is not used again.
func (l *Letters) write(g *group) error {
	s := l.newest()
	_, err := s.file.WriteAt(g.buf, g.at)
	if err == nil {
		err = s.file.Sync()
	}
	if cap(g.buf) <= maxKept {
		l.buf = g.buf
	}
	if err != nil {
		l.broken = err
		return fmt.Errorf("cannot write file %s: %w", s.path, err)
	}
	s.size += int64(len(g.buf))
	return nil
}

// heal begins a new file after an error. What was acknowledged stays where it is:
// the new file's header says how much of the old one counts, once that has
// been read back.
func (l *Letters) heal() error {
	if l.broken == nil {
		return nil
	}
	why, err := l.broken, l.newest().verify()
	switch {
	case err != nil:
	case len(l.segments) < maxSegments:
		err = l.roll(l.newest().size, nil)
	default:
		err = l.compact()
	}
	if err != nil {
		return fmt.Errorf("cannot go on after an error (%w): %w", why, err)
	}
	return nil
}

// verify reads back what counts of a segment.
func (s *segment) verify() error {
	scan := newScanner(s, s.size)
	for {
		switch _, err := scan.next(); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// roll begins a new file with those frames. Of the newest one so far the bytes
// before a place count.
func (l *Letters) roll(before int64, frames []frame) error {
	header := fileHeader{number: l.number + 1, first: l.newest().header.first, before: before, salt: rand.Uint64()}
	g := group{at: fileHeaderLen, from: fileHeaderLen, seed: header.seed()}
	for _, f := range frames {
		start := g.begin()
		g.buf = append(g.buf, f.payload...)
		if _, _, err := g.end(start, f.kind); err != nil {
			return err
		}
	}
	header.whole = fileHeaderLen + int64(len(g.buf))
	s, err := l.create(header, func(s *segment) error {
		_, err := s.file.WriteAt(g.buf, g.at)
		return err
	})
	if err != nil {
		return err
	}
	l.newest().size = before
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	l.number, l.broken = header.number, nil
	return nil
}
