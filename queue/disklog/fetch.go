package disklog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"millrace/disk"
	"millrace/ingest"
	"millrace/queue"
)

const (
	fetchBytes = 1 << 20  // of payload in one Fetch at most, roughly; at least one record
	readGap    = 16 << 10 // bytes between two frames that are read rather than skipped
	readSpan   = 1 << 20  // bytes of one read; at least one frame
)

// A fetchScratch is what one Fetch works with.
type fetchScratch struct {
	decoder queue.Decoder
	frames  []tailFrame
	span    []byte
	limit   int // bytes of payload to fetch
}

// Fetch waits for records of the sack at or after from and reads some: about
// fetchBytes, from memory if they are recent, else from the files. It fails with
// ErrGone when records of the sack that from asks for may have been removed or
// lost, with a DamageError when a file is not what was written, and with
// ErrUnavailable when the log is closed.
func (l *Log) Fetch(ctx context.Context, sack ingest.Sack, from ingest.Offset, dst *ingest.Deliveries) error {
	dst.Reset()
	if sack < 0 || int(sack) >= l.sacks {
		return fmt.Errorf("cannot fetch: no sack %d among %d", sack, l.sacks)
	}
	scratch := l.scratch.Get().(*fetchScratch)
	defer l.scratch.Put(scratch)
	scratch.limit = fetchBytes
	if dst.Limit > 0 {
		scratch.limit = min(fetchBytes, dst.Limit)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		if err := l.check(sack, from); err != nil {
			l.mu.Unlock()
			return fmt.Errorf("cannot fetch sack %d from offset %d: %w", sack, from, err)
		}
		recent := &l.tail.sacks[sack]
		if from <= recent.before {
			l.mu.Unlock()
			next, err := l.fetchFromFile(sack, from, dst, scratch)
			if err != nil || len(dst.List) > 0 {
				return err
			}
			from = next // the file was removed meanwhile
			continue
		}
		if frames := recent.from(from); len(frames) > 0 {
			scratch.take(frames)
			l.tail.hold(scratch.frames)
			l.mu.Unlock()
			l.decode(dst, scratch)
			return nil
		}
		if l.wakes[sack] == nil {
			l.wakes[sack] = make(chan struct{})
		}
		wake := l.wakes[sack]
		l.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check says whether the log can serve a sack from a place. The caller holds mu.
func (l *Log) check(sack ingest.Sack, from ingest.Offset) error {
	if l.closed {
		return errClosed
	}
	lost, err := checkPlace(from, l.forgotten[sack], ingest.Offset(l.origin), l.segments, l.lost)
	if lost {
		l.mourn(sack, from)
	}
	return err
}

// checkPlace says whether a log of these segments goes on behind a watermark, and whether it
// has lost what was before it.
func checkPlace(from, forgotten, origin ingest.Offset, segments []*segment, spans []span) (lost bool, err error) {
	switch {
	case from < 0:
		return false, fmt.Errorf("%w: it is negative", ingest.ErrGone)
	case from < forgotten:
		return false, fmt.Errorf("%w: records of the sack before %d were applied and removed", ingest.ErrGone, forgotten)
	case from > 0 && from < origin:
		return false, fmt.Errorf("%w: this log begins at %d, so the offset is from another log", ingest.ErrGone, origin)
	case from == origin: // from the beginning
		return false, nil
	case slices.ContainsFunc(spans, func(s span) bool { return from >= s.From && from < s.To }):
		return true, nil
	}
	for i := len(segments) - 1; i >= 0; i-- {
		if from <= segments[i].base() {
			continue
		}
		end := segments[i].end()
		switch {
		case from <= end:
			return false, nil
		case i == len(segments)-1:
			return false, fmt.Errorf("%w: the log ends at %d", ingest.ErrGone, end)
		}
		return false, fmt.Errorf("%w: after %d the log goes on at %d", ingest.ErrGone, end, segments[i+1].base())
	}
	if len(segments) == 0 && from > 0 {
		return false, fmt.Errorf("%w: the log is empty", ingest.ErrGone)
	}
	return false, nil
}

// mourn says once that a sack had applied what the log has lost: then the disk had said
// that it was durable.
func (l *Log) mourn(sack ingest.Sack, from ingest.Offset) {
	if l.mourned[sack] || l.last[sack] >= from {
		return
	}
	l.mourned[sack] = true
	l.log.Error("the log has lost its end, which had been acknowledged; all that this sack had in it before the "+
		"offset has been applied, "+
		"and the sack goes on with what comes next; whether the lost end held more can't be told",
		"sack", sack, "applied", from, "log_has_until", l.last[sack])
}

// take copies the first frames, as many as one Fetch returns.
func (s *fetchScratch) take(frames []tailFrame) {
	bytes, n := 0, 0
	for n < len(frames) && bytes < s.limit {
		bytes += int(frames[n].length)
		n++
	}
	s.frames = append(s.frames[:0], frames[:n]...)
}

// decode decodes the frames that scratch holds, and lets them go.
func (l *Log) decode(dst *ingest.Deliveries, scratch *fetchScratch) {
	for _, f := range scratch.frames {
		// What can't be decoded says so in its delivery.
		_ = scratch.decoder.Decode(dst, f.position, f.payload())
	}
	l.mu.Lock()
	l.tail.release(scratch.frames)
	l.mu.Unlock()
	clear(scratch.frames)
}

// fetchFromFile reads the sack's next frames from the segment that holds them, and
// says from where to go on when there were none.
func (l *Log) fetchFromFile(sack ingest.Sack, from ingest.Offset, dst *ingest.Deliveries,
	scratch *fetchScratch) (next ingest.Offset, err error) {
	seg, frames, last, err := l.framesFrom(sack, from, scratch.limit)
	if err == nil && len(frames) > 0 {
		last = seg.base() + ingest.Offset(frames[len(frames)-1].at)
		err = l.readFrames(seg, sack, frames, dst, scratch)
	}
	if err == nil {
		return last + 1, nil
	}
	dst.Reset()
	if isMissing(err) && l.isForgotten(seg) {
		return from, nil // check says whether that matters
	}
	return from, fmt.Errorf("cannot fetch sack %d from offset %d: %w", sack, from, err)
}

// isForgotten says whether a segment is no longer part of the log.
func (l *Log) isForgotten(seg *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.Contains(l.segments, seg)
}

// framesFrom returns where the sack's next frames are, as many as one Fetch takes.
// When there are none, everything up to last can be left out.
func (l *Log) framesFrom(sack ingest.Sack, from ingest.Offset, limit int) (seg *segment, frames []frameAt,
	last ingest.Offset, err error) {
	l.indexing.Lock() // one segment at a time is read for its index
	defer l.indexing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if seg = l.segmentFrom(sack, from); seg == nil {
		return nil, nil, l.tail.sacks[sack].before, nil
	}
	if seg.index == nil {
		size := seg.size
		l.mu.Unlock()
		index, err := l.buildIndex(seg, size)
		l.mu.Lock()
		if err != nil {
			return seg, nil, 0, err
		}
		seg.index = index
		l.frames += index.frames
		l.dropIndexes(seg)
	}
	l.fetches++
	seg.fetched = l.fetches
	frames = seg.from(sack, from)
	bytes, n := 0, 0
	for n < len(frames) && bytes < limit {
		bytes += int(frames[n].length)
		n++
	}
	return seg, frames[:n:n], seg.sacks[sack].last, nil // frames are only ever appended to
}

// segmentFrom finds the segment of the sack's first record at or after from; nil
// when it was removed. The caller holds mu.
func (l *Log) segmentFrom(sack ingest.Sack, from ingest.Offset) *segment {
	for _, seg := range l.segments {
		if sum := &seg.sacks[sack]; sum.records > 0 && sum.last >= from {
			return seg
		}
	}
	return nil
}

// dropIndexes drops the indexes that were not used for longest until the rest are
// few enough, but not that of keep. The caller holds mu.
func (l *Log) dropIndexes(keep *segment) {
	for l.frames > maxFrames {
		var oldest *segment
		for _, seg := range l.segments {
			if seg.index != nil && seg != keep && seg != l.active && (oldest == nil || seg.fetched < oldest.fetched) {
				oldest = seg
			}
		}
		if oldest == nil {
			return
		}
		l.frames -= oldest.index.frames
		oldest.index = nil
	}
}

// buildIndex reads a segment's frame headers.
func (l *Log) buildIndex(seg *segment, size int64) (*segmentIndex, error) {
	file, err := l.fs.Open(filepath.Join(l.dir, seg.name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	scan, err := newScanner(file, seg.name, l.sacks, size)
	if err != nil {
		return nil, err
	}
	scan.headersOnly = true
	index := &segmentIndex{sacks: make([][]frameAt, l.sacks)}
	for {
		f, err := scan.next()
		if errors.Is(err, io.EOF) {
			return index, nil
		}
		if err != nil {
			return nil, err
		}
		index.add(ingest.Sack(f.sack), f.at, int(f.length))
	}
}

// readFrames reads and decodes frames of one sack, neighbours in one read.
func (l *Log) readFrames(seg *segment, sack ingest.Sack, frames []frameAt, dst *ingest.Deliveries,
	scratch *fetchScratch) error {
	file, err := l.fs.Open(filepath.Join(l.dir, seg.name))
	if err != nil {
		return err
	}
	defer file.Close()
	for len(frames) > 0 {
		n, begin, end := 1, int64(frames[0].at), frames[0].end()
		for n < len(frames) && int64(frames[n].at)-end <= readGap && frames[n].end()-begin <= readSpan {
			end = frames[n].end()
			n++
		}
		if err := l.readSpan(file, seg, sack, frames[:n], begin, end, dst, scratch); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}

func (l *Log) readSpan(file disk.File, seg *segment, sack ingest.Sack, frames []frameAt, begin, end int64,
	dst *ingest.Deliveries, scratch *fetchScratch) error {
	if int64(cap(scratch.span)) < end-begin {
		scratch.span = make([]byte, max(end-begin, readSpan))
	}
	span := scratch.span[:end-begin]
	if err := readAt(file, span, begin); err != nil {
		return fmt.Errorf("cannot read log file %s at byte %d: %w", seg.name, begin, err)
	}
	seed := seg.header.seed()
	for _, f := range frames {
		b := span[int64(f.at)-begin : f.end()-begin]
		position := seg.header.base + int64(f.at)
		h, ok := parseFrameHeader(b, seg.header, seed, position)
		if !ok || h.length != f.length || h.sack != uint32(sack) || payloadSum(b[frameHeaderLen:]) != h.sum {
			return &DamageError{seg.name, int64(f.at), "a frame is not what it was when the log was opened"}
		}
		_ = scratch.decoder.Decode(dst, ingest.Offset(position), b[frameHeaderLen:frameHeaderLen+f.length])
	}
	return nil
}

// end is the byte of the file behind the frame.
func (f frameAt) end() int64 {
	return int64(f.at) + int64(frameHeaderLen+paddedLen(int(f.length)))
}
