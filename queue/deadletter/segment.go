package deadletter

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"millrace/disk"
	"millrace/ingest"
)

// The names in the folder. Segments are named after their number: 16 hexadecimal
// digits and segmentSuffix.
const (
	lockName      = "lock"
	segmentSuffix = ".letters"
	newSuffix     = ".new"     // of a file that is not durable yet
	damagedSuffix = ".damaged" // of a file that an operator's start put aside
)

// A segment is one file of the journal. Only the newest is appended to.
type segment struct {
	path   string
	header fileHeader
	seed   uint32
	file   disk.File
	size   int64 // bytes that count

	// Guarded by Letters.mu.
	readers int  // of the file
	retired bool // the last reader closes it
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

// segmentNumber is the inverse of segmentName.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number > 0 && number < 1<<63 && segmentName(number) == name
}

// openSegment opens a file and reads its header. The size is the file's.
func openSegment(fsys disk.FS, path string, number uint64) (*segment, error) {
	file, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open file %s: %w", path, err)
	}
	s := &segment{path: path, file: file}
	if err := s.readHeader(number); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

func (s *segment) readHeader(number uint64) error {
	size, err := s.file.Size()
	if err != nil {
		return fmt.Errorf("cannot read file %s: %w", s.path, err)
	}
	b := make([]byte, min(size, fileHeaderLen))
	if err := s.readAt(b, 0); err != nil {
		return err
	}
	header, wrong := parseFileHeader(b)
	if wrong == "" && header.number != number {
		wrong = fmt.Sprintf("its header is that of file %s", segmentName(header.number))
	}
	if wrong != "" {
		return &DamageError{s.path, 0, wrong}
	}
	s.header, s.seed, s.size = header, header.seed(), size
	return nil
}

// readAt fills b.
func (s *segment) readAt(b []byte, at int64) error {
	n, err := s.file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read file %s at byte %d: %w", s.path, at, err)
}

// retire closes the file of a segment when nobody reads it any more.
func (s *segment) retire() {
	s.retired = true
	s.closeIfUnused()
}

func (s *segment) closeIfUnused() {
	if s.retired && s.readers == 0 && s.file != nil {
		s.file.Close() // everything that counts is synced
		s.file = nil
	}
}

// read reads the frame of an entry, into buf if that is large enough.
func (e entry) read(buf []byte) ([]byte, error) {
	s, n := e.segment, int(frameLen(e.length))
	b := slices.Grow(buf[:0], n)[:n]
	if err := s.readAt(b, e.at); err != nil {
		return b, err
	}
	h, ok := parseFrameHeader(b, s.seed, e.at)
	if !ok || h.kind != kindLetter || h.length != e.length || h.sum != crc32.Checksum(b[frameHeaderLen:], castagnoli) {
		return b, &DamageError{s.path, e.at, "what was a letter is none any more"}
	}
	return b, nil
}

// payloadOf returns the payload in the frame of an entry.
func payloadOf(frame []byte, e entry) []byte { return frame[frameHeaderLen:][:e.length] }

// letter reads the letter of an entry.
func (e entry) letter() (l ingest.DeadLetter, err error) {
	b, err := e.read(nil)
	if err == nil {
		if l, err = parseLetter(payloadOf(b, e)); err != nil {
			err = &DamageError{e.segment.path, e.at, err.Error()}
		}
	}
	if err != nil {
		return ingest.DeadLetter{}, fmt.Errorf("cannot read letter %s: %w", e.id, err)
	}
	return l, nil
}

// create makes a durable file with a header and what fill writes behind it, up to
// header.whole. An error leaves everything as it was, except that l.broken says
// when that isn't certain: then the file may be there after a crash.
func (l *Letters) create(header fileHeader, fill func(s *segment) error) (*segment, error) {
	s := &segment{path: l.path(segmentName(header.number)), header: header, seed: header.seed(), size: header.whole}
	draft := s.path + newSuffix
	var err error
	if s.file, err = l.fs.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640); err != nil {
		return nil, fmt.Errorf("cannot create file %s: %w", s.path, err)
	}
	err = s.fill(fill)
	s.file.Close()
	if err == nil {
		if s.file, err = l.publish(draft, s.path); err == nil {
			return s, nil
		}
		l.broken = err
	}
	l.fs.Remove(draft) // else the next start does it
	return nil, fmt.Errorf("cannot create file %s: %w", s.path, err)
}

func (s *segment) fill(fill func(s *segment) error) error {
	if _, err := s.file.WriteAt(s.header.append(nil), 0); err != nil {
		return err
	}
	if err := fill(s); err != nil {
		return err
	}
	return s.file.Sync()
}

// publish gives a file its name, and opens it under that for errors to tell.
func (l *Letters) publish(draft, path string) (disk.File, error) {
	if err := l.fs.Rename(draft, path); err != nil {
		return nil, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, err
	}
	return l.fs.OpenFile(path, os.O_RDWR, 0)
}

func (l *Letters) path(name string) string { return filepath.Join(l.dir, name) }
