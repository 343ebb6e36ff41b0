package deadletter

import (
	"fmt"
	"hash/crc32"
	"io"
)

// A DamageError says that the files are not what was written. Nothing is dropped:
// the letters do not open until an operator has decided.
type DamageError struct {
	File   string // its path
	At     int64  // byte of the file; -1: the file as a whole
	Reason string
}

func (e *DamageError) Error() string {
	where := ""
	if e.At >= 0 {
		where = fmt.Sprintf(" at byte %d", e.At)
	}
	return fmt.Sprintf("dead-letter file %s is damaged%s: %s (restore it from a copy, or start once with skip_missing to go on without what is lost)",
		e.File, where, e.Reason)
}

// A frame is one entry of the journal.
type frame struct {
	frameHeader
	at      int64  // byte of the file
	payload []byte // valid until the next call
}

// A scanner reads the frames of a segment in order.
type scanner struct {
	*segment
	at, end  int64  // bytes of the file: the next frame's, and what is behind the last
	window   []byte // bytes of the file from windowAt on
	windowAt int64
}

const scanWindow = 256 << 10 // it grows for larger frames

func newScanner(s *segment, end int64) *scanner {
	return &scanner{segment: s, at: fileHeaderLen, end: end}
}

// read returns n bytes of the file, or fewer where end cuts them off.
func (s *scanner) read(at, n int64) ([]byte, error) {
	n = min(n, s.end-at)
	if n <= 0 {
		return nil, nil
	}
	if from := at - s.windowAt; from >= 0 && from+n <= int64(len(s.window)) { // Fast path.
		return s.window[from : from+n], nil
	}
	if int64(cap(s.window)) < n {
		s.window = make([]byte, max(n, min(scanWindow, s.end)))
	}
	s.window = s.window[:min(int64(cap(s.window)), s.end-at)]
	s.windowAt = at
	if err := s.readAt(s.window, at); err != nil {
		s.window = s.window[:0]
		return nil, err
	}
	return s.window[:n], nil
}

// next returns the next frame, io.EOF behind the last, or a DamageError: then it
// stays where it is.
func (s *scanner) next() (frame, error) {
	if s.at >= s.end {
		return frame{}, io.EOF
	}
	b, err := s.read(s.at, frameHeaderLen)
	if err != nil {
		return frame{}, err
	}
	if len(b) < frameHeaderLen {
		return frame{}, s.damage("it ends inside a frame's header")
	}
	header, ok := parseFrameHeader(b, s.seed, s.at)
	if !ok {
		return frame{}, s.damage("there is no frame")
	}
	size := frameLen(header.length)
	if b, err = s.read(s.at, size); err != nil {
		return frame{}, err
	}
	if int64(len(b)) < size {
		return frame{}, s.damage("it ends inside a frame")
	}
	if crc32.Checksum(b[frameHeaderLen:], castagnoli) != header.sum {
		return frame{}, s.damage("a frame's checksum is wrong")
	}
	f := frame{frameHeader: header, at: s.at, payload: b[frameHeaderLen:][:header.length]}
	s.at += size
	return f, nil
}

func (s *scanner) damage(reason string) error { return &DamageError{s.path, s.at, reason} }

// seek looks for the first frame behind the place where next found none, for which
// is returns true; ok says whether there is one. A header will do: it is
// checksummed with the segment's salt and its own place.
func (s *scanner) seek(is func(at int64, h frameHeader) bool) (at int64, ok bool, err error) {
	for at = s.at + alignment; at+frameHeaderLen <= s.end; at += alignment {
		b, err := s.read(at, frameHeaderLen)
		if err != nil {
			return 0, false, err
		}
		if h, ok := parseFrameHeader(b, s.seed, at); ok && is(at, h) {
			return at, true, nil
		}
	}
	return 0, false, nil
}

// torn says whether the place where next found no frame is the torn end of the
// newest file, which a crash left behind: nothing that was acknowledged. It is not
// when it was durable before the file had its name, nor when a frame of a
// later group follows, because a group is written only after the one before it
// has been synced.
func (s *scanner) torn() (bool, error) {
	if s.at < s.header.whole {
		return false, nil
	}
	_, later, err := s.seek(func(at int64, h frameHeader) bool { return at-h.back > s.at })
	return !later, err
}

// skip moves on to the next frame behind a damaged place.
func (s *scanner) skip() error {
	at, ok, err := s.seek(func(int64, frameHeader) bool { return true })
	if !ok {
		at = s.end
	}
	if err == nil {
		s.at = at
	}
	return err
}
