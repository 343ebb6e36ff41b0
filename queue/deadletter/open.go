package deadletter

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"millrace/disk"
)

// Open opens the dead letters in a folder, making it when there is none. It reads
// all of it: a torn end, as a crash leaves it, is cut off; damage anywhere else is a
// DamageError. It fails with disk.ErrLocked while another process has them open.
func Open(fsys disk.FS, dir string, config Config) (*Letters, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("cannot open the dead letters in %s: %w", dir, err)
	}
	l := &Letters{fs: fsys, dir: dir, config: config, writing: make(chan struct{}, 1), compactAt: config.MinGarbage}
	if err := l.open(); err != nil {
		for _, s := range l.segments {
			s.retire()
		}
		if l.lock != nil {
			l.lock.Close()
		}
		return nil, fmt.Errorf("cannot open the dead letters in %s: %w", dir, err)
	}
	return l, nil
}

func (l *Letters) open() (err error) {
	if err := disk.MakeDir(l.fs, l.dir); err != nil {
		return err
	}
	if l.lock, err = l.fs.Lock(l.path(lockName)); err != nil {
		return fmt.Errorf("cannot lock it: %w", err)
	}
	// Whoever renamed a file may have been killed before he synced the folder.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	numbers, err := l.listSegments()
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return l.first()
	}
	if err := l.openSegments(numbers); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	for i := range l.segments {
		if err := l.load(i); err != nil {
			return err
		}
	}
	if len(l.skipped) == 0 {
		l.tidy()
		return nil
	}
	if err := l.compact(); err != nil { // what is sound goes on without the rest
		return err
	}
	for _, d := range l.skipped {
		l.discard(d.File)
	}
	return nil
}

// first makes the first file of all.
func (l *Letters) first() error {
	s, err := l.create(fileHeader{number: 1, first: 1, whole: fileHeaderLen, salt: rand.Uint64()}, func(*segment) error { return nil })
	if err == nil {
		l.segments, l.number = []*segment{s}, 1
	}
	return err
}

// listSegments returns the numbers of the files, ascending, and removes drafts.
func (l *Letters) listSegments() ([]uint64, error) {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		name := e.Name()
		if number, ok := segmentNumber(name); ok {
			numbers = append(numbers, number) // ReadDir sorts: names of 16 digits sort like the numbers
		} else if strings.HasSuffix(name, segmentSuffix+newSuffix) {
			if err := l.fs.Remove(l.path(name)); err != nil {
				return nil, fmt.Errorf("cannot remove unused file %s: %w", l.path(name), err)
			}
		}
	}
	return numbers, nil
}

// openSegments opens the files that count, and removes those that a rewrite has
// replaced: the newest header says which are which.
func (l *Letters) openSegments(numbers []uint64) error {
	l.number = numbers[len(numbers)-1]
	first, later := uint64(0), uint64(0)
	for _, number := range slices.Backward(numbers) {
		if number < first {
			l.discard(l.path(segmentName(number)))
			continue
		}
		if number+1 < later {
			if err := l.missing(later - 1); err != nil {
				return err
			}
		}
		later = number
		s, err := openSegment(l.fs, l.path(segmentName(number)), number)
		if err == nil {
			l.segments = slices.Insert(l.segments, 0, s)
			first = max(first, s.header.first)
		} else if err := l.skip(err); err != nil {
			return err
		}
	}
	if first < later {
		return l.missing(later - 1)
	}
	return nil
}

func (l *Letters) missing(number uint64) error {
	return l.skip(&DamageError{l.path(segmentName(number)), -1, "it is missing"})
}

// skip notes damage that an operator wants to go on without.
func (l *Letters) skip(err error) error {
	damage, ok := errors.AsType[*DamageError](err)
	if !ok || !l.config.SkipMissing {
		return err
	}
	l.skipped = append(l.skipped, damage)
	return nil
}

// discard removes a file that doesn't count any more, or puts it aside when
// something of it could not be read.
func (l *Letters) discard(path string) {
	if slices.ContainsFunc(l.skipped, func(d *DamageError) bool { return d.File == path }) {
		l.fs.Rename(path, path+damagedSuffix)
		return
	}
	l.fs.Remove(path)
}

// settle ends the file that was being written when the process ended: it cuts off
// a torn end, and copies the last group to a file of its own. Of that group nobody
// knows whether it was synced, and after a failed sync the memory of the operating
// system can show what the disk does not have, with every further sync succeeding.
func (l *Letters) settle() error {
	if len(l.segments) == 0 || l.newest().header.number != l.number {
		return nil // the newest is damaged, and skipped
	}
	s := l.newest()
	from, end, err := s.lastGroup()
	if _, ok := errors.AsType[*DamageError](err); ok && l.config.SkipMissing {
		return nil // load comes upon it as well
	}
	if err != nil || end == s.size && end == s.header.whole { // nothing was added
		return err
	}
	var frames []frame
	scan := newScanner(s, end)
	for scan.at = from; scan.at < end; {
		f, err := scan.next()
		if err != nil {
			return err
		}
		f.payload = slices.Clone(f.payload)
		frames = append(frames, f)
	}
	return l.roll(from, frames)
}

// lastGroup finds the last group that was added to the newest file, empty when none
// was, and the end of what is sound of it.
func (s *segment) lastGroup() (from, end int64, err error) {
	if s.size < s.header.whole {
		return 0, 0, s.short(s.header.whole)
	}
	from = s.header.whole
	scan := newScanner(s, s.size)
	for {
		f, err := scan.next()
		switch {
		case err == nil && f.at >= s.header.whole:
			from = f.at - f.back
		case err == io.EOF:
			return from, scan.at, nil
		case err != nil:
			if torn, tornErr := scan.torn(); tornErr != nil {
				return 0, 0, tornErr
			} else if !torn {
				return 0, 0, err
			}
			return from, scan.at, nil
		}
	}
}

func (s *segment) short(want int64) error {
	return &DamageError{s.path, s.size, fmt.Sprintf("it ends there, and should have %d bytes", want)}
}

// load reads the i-th segment. All that counts of it must be sound.
func (l *Letters) load(i int) error {
	s := l.segments[i]
	if i+1 < len(l.segments) {
		if next := l.segments[i+1].header; next.number == s.header.number+1 {
			if next.before > s.size {
				if err := l.skip(s.short(next.before)); err != nil {
					return err
				}
			}
			s.size = min(s.size, next.before)
		}
	}
	scan := newScanner(s, s.size)
	for {
		f, err := scan.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = l.apply(s, f)
		} else if _, ok := errors.AsType[*DamageError](err); ok && l.config.SkipMissing {
			if err := scan.skip(); err != nil {
				return err
			}
		}
		if err != nil {
			if err := l.skip(err); err != nil {
				return err
			}
		}
	}
}

// apply does to the index what a frame says.
func (l *Letters) apply(s *segment, f frame) error {
	if f.kind == kindRemoved {
		ids, err := parseIDs(f.payload)
		if err != nil {
			return &DamageError{s.path, f.at, err.Error()}
		}
		for _, id := range ids {
			l.forget(id)
		}
		return nil
	}
	letter, err := parseLetter(f.payload)
	if err != nil {
		return &DamageError{s.path, f.at, err.Error()}
	}
	l.forget(letter.ID) // there when its removal is among what was skipped
	l.letters.insert(entry{id: letter.ID, segment: s, at: f.at, length: f.length})
	l.bytes += frameLen(f.length)
	return nil
}
