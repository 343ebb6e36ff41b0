package disklog

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"millrace/disk"
	"millrace/ingest"
)

// A DamageError says that a log's files are not what was written. Nothing is
// dropped: the log does not open until an operator has decided.
type DamageError struct {
	File   string
	At     int64 // byte of the file; -1: the file as a whole
	Reason string
}

// Is says that damage is ingest.ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ingest.ErrDamaged }

func (e *DamageError) Error() string {
	where := ""
	if e.At >= 0 {
		where = fmt.Sprintf(" at byte %d", e.At)
	}
	return fmt.Sprintf("log file %s is damaged%s: %s (restore it from a copy, or have \"millrace check --repair\" "+
		"keep what is whole)", e.File, where, e.Reason)
}

// A frame is one record in a segment.
type frame struct {
	frameHeader
	at      int64  // byte of the file
	payload []byte // valid until the next call; nil from a scanner of headers only
}

// A scanner reads the frames of one segment file in order.
type scanner struct {
	file        disk.File
	name        string
	header      fileHeader
	seed        uint32
	at, end     int64 // bytes of the file: the next frame's, and what is behind the last
	headersOnly bool
	window      []byte // bytes of the file from windowAt on
	windowAt    int64
}

const scanWindow = 2 << 20 // at least one frame

// windows keeps what scanners read into: a start reads many files, one after another.
var windows sync.Pool // of *[]byte

func takeWindow(n int) []byte {
	if w, _ := windows.Get().(*[]byte); w != nil && cap(*w) >= n {
		return (*w)[:n]
	}
	return make([]byte, n)
}

// close closes the file. The scanner's last frame must not be used after it.
func (s *scanner) close() {
	_ = s.file.Close() // it was only read
	if w := s.window; cap(w) > 0 {
		s.window = nil
		windows.Put(&w)
	}
}

// newScanner reads the file header, which must be that of the segment of this name
// in a log of that many sacks. The frames are those before end, or before
// the file's end if end is negative.
func newScanner(file disk.File, name string, sacks int, end int64) (*scanner, error) {
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("cannot read log file %s: %w", name, err)
	}
	if end > size {
		return nil, &DamageError{name, size, fmt.Sprintf("it ends there, and should have %d bytes", end)}
	}
	if end < 0 {
		end = size
	}
	s := &scanner{file: file, name: name, at: fileHeaderLen, end: end}
	b, err := s.read(0, fileHeaderLen)
	if err != nil {
		return nil, err
	}
	header, wrong := parseFileHeader(b)
	if wrong == wrongVersion {
		return nil, fmt.Errorf("cannot read log file %s: %s: %w", name, wrong, ingest.ErrNewer)
	}
	if wrong != "" {
		return nil, &DamageError{name, 0, wrong}
	}
	if base, _ := segmentBase(name); header.base != base || header.sacks != sacks {
		return nil, &DamageError{name, 0, fmt.Sprintf("it says that it begins at %d and has %d sacks", header.base,
			header.sacks)}
	}
	s.header, s.seed = header, header.seed()
	return s, nil
}

// read returns n bytes of the file, or fewer where end cuts them off.
func (s *scanner) read(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-at))
	if n <= 0 {
		return nil, nil
	}
	if from := at - s.windowAt; from >= 0 && from+int64(n) <= int64(len(s.window)) { // Fast path.
		return s.window[from : from+int64(n)], nil
	}
	if cap(s.window) == 0 {
		s.window = takeWindow(int(min(scanWindow, s.end)))
	}
	s.window = s.window[:min(int64(cap(s.window)), s.end-at)]
	s.windowAt = at
	if err := readAt(s.file, s.window, at); err != nil {
		s.window = s.window[:0]
		return nil, fmt.Errorf("cannot read log file %s at byte %d: %w", s.name, at, err)
	}
	return s.window[:n], nil
}

// readAt fills b.
func readAt(file disk.File, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
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
	header, ok := parseFrameHeader(b, s.header, s.seed, s.header.base+s.at)
	if !ok {
		return frame{}, s.damage("there is no frame")
	}
	f := frame{frameHeader: header, at: s.at}
	if s.at+int64(f.size()) > s.end {
		return frame{}, s.damage("it ends inside a frame")
	}
	if !s.headersOnly {
		if b, err = s.read(s.at, f.size()); err != nil {
			return frame{}, err
		}
		if payloadSum(b[frameHeaderLen:]) != f.sum {
			return frame{}, s.damage("a frame's checksum is wrong")
		}
		f.payload = b[frameHeaderLen : frameHeaderLen+f.length]
	}
	s.at += int64(f.size())
	return f, nil
}

func (s *scanner) damage(reason string) error { return &DamageError{s.name, s.at, reason} }

// seek looks for the first frame behind the place where next found none, for which
// is returns true; ok says whether there is one. A header will do: it is
// checksummed with the segment's salt and its own place.
func (s *scanner) seek(is func(at int64, h frameHeader) bool) (at int64, ok bool, err error) {
	for at = s.at - s.at%alignment + alignment; at+frameHeaderLen <= s.end; at += alignment {
		b, err := s.read(at, frameHeaderLen)
		if err != nil {
			return 0, false, err
		}
		if h, ok := parseFrameHeader(b, s.header, s.seed, s.header.base+at); ok && is(at, h) {
			return at, true, nil
		}
	}
	return 0, false, nil
}

// torn says whether the place where next found no frame is the torn end of the
// file, which a crash left behind: nothing that was acknowledged. It is not when
// a frame of a later group follows, because a group is written only after the
// one before it has been synced.
func (s *scanner) torn() (bool, error) {
	_, later, err := s.seek(func(at int64, h frameHeader) bool { return at-int64(h.back) > s.at })
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

// position is where a frame is in the log.
func (s *scanner) position(f frame) ingest.Offset { return ingest.Offset(s.header.base + f.at) }
