package disklog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"millrace/ingest"
)

// load reads a listed segment.
func (l *Log) load(listed listedSegment) (*segment, error) {
	scan, err := l.scanner(listed)
	if err != nil {
		return nil, err
	}
	defer scan.close()
	seg := newSegment(listed.File, scan.header)
	_, err = l.scan(scan, seg, false)
	return seg, err
}

// scanner opens a listed segment; scan.file is to be closed.
func (l *Log) scanner(listed listedSegment) (*scanner, error) {
	file, err := l.fs.Open(filepath.Join(l.dir, listed.File))
	if isMissing(err) {
		return nil, &DamageError{listed.File, -1, "it is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open log file %s: %w", listed.File, err)
	}
	end := listed.Bytes
	if end == 0 {
		end = -1
	}
	scan, err := newScanner(file, listed.File, l.sacks, end)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return scan, nil
}

// scan reads frames into the segment, and returns where the last group begins.
// The end of an open segment may be torn.
func (l *Log) scan(scan *scanner, seg *segment, open bool) (group int64, err error) {
	group = fileHeaderLen
	for {
		f, err := scan.next()
		switch {
		case err == nil:
			group = f.at - int64(f.back)
			seg.note(ingest.Sack(f.sack), f.at, int(f.length))
			continue
		case errors.Is(err, io.EOF):
			seg.size = scan.at
			return group, nil
		}
		damage, ok := errors.AsType[*DamageError](err)
		if !ok {
			return 0, err
		}
		if !open {
			return 0, damage
		}
		torn, err := scan.torn()
		switch {
		case err != nil:
			return 0, err
		case !torn:
			return 0, damage
		}
		l.log.Warn("cutting off the end of the log, as a crash leaves it: an append that nobody was told of, unless the "+
			"disk has lost what it said was durable",
			"file", scan.name, "at", scan.at, "bytes", scan.end-scan.at, "position", scan.header.base+scan.at)
		seg.size = scan.at
		return group, nil
	}
}

// settle ends the segment that was being written when the process ended, and
// returns what takes its place in the list; another segment stays as it is. Of its last
// group nobody knows whether it was synced, and after a failed sync the memory of the
// operating system can show what the disk does not have, with every further sync
// succeeding. So that group is copied to a segment of its own, before a reader sees what
// a power cut could still undo. It keeps its positions: the copy begins a header before it.
func (l *Log) settle(listed listedSegment) ([]listedSegment, error) {
	if listed.Bytes > 0 {
		return []listedSegment{listed}, nil
	}
	scan, err := l.scanner(listed)
	if err != nil {
		return nil, err
	}
	defer scan.close()
	return l.divide(listed, scan)
}

// divide makes the copy and returns what takes the segment's place.
func (l *Log) divide(listed listedSegment, scan *scanner) ([]listedSegment, error) {
	seg := newSegment(listed.File, scan.header)
	group, err := l.scan(scan, seg, true)
	if err != nil {
		return nil, err
	}
	listed.Bytes = group
	if group == seg.size { // nothing was appended
		return []listedSegment{listed}, nil
	}
	header := scan.header
	header.base += group - fileHeaderLen
	data := header.append(nil)
	data = append(data, make([]byte, seg.size-group)...)
	if err := readAt(scan.file, data[fileHeaderLen:], group); err != nil {
		return nil, fmt.Errorf("cannot read log file %s at byte %d: %w", seg.name, group, err)
	}
	end := listedSegment{File: segmentName(header.base), Bytes: int64(len(data))}
	if err := replaceFile(l.rescue(), l.dir, end.File, data); err != nil {
		return nil, fmt.Errorf("cannot settle the end of log file %s: %w", seg.name, err)
	}
	if group == fileHeaderLen { // it replaces the segment
		return []listedSegment{end}, nil
	}
	return []listedSegment{listed, end}, nil
}
