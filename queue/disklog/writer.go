package disklog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"millrace/disk"
	"millrace/ingest"
)

// minFree is what the disk must have left before the log is reopened.
const minFree = 1 << 20

// A writer is the one goroutine that writes to segments.
type writer struct {
	log    *Log
	file   disk.File // of the active segment; nil before the first group
	seed   uint32
	broken bool // the file has failed: it is only to be read
	group  []*appendRequest
}

// run writes one group after the other until the intake is closed and empty.
func (w *writer) run() {
	for {
		w.group = w.log.intake.take(w.group)
		if w.group == nil {
			return
		}
		err := w.commit()
		if err != nil {
			err = fmt.Errorf("%w: %w", ingest.ErrUnavailable, err)
			w.log.intake.refuse(err)
		}
		for i, r := range w.group {
			r.done <- err
			w.group[i] = nil
		}
		if err != nil {
			w.reopen(err)
		}
	}
}

// commit makes the group durable and visible to readers.
func (w *writer) commit() error {
	l := w.log
	size := 0
	for _, r := range w.group {
		size += len(r.buf)
	}
	// Only the writer changes active and its size, so it reads them without mu.
	if seg := l.active; seg == nil || seg.size > fileHeaderLen && l.isFull(seg, int64(size)) {
		if err := w.roll(); err != nil {
			return err
		}
	}
	seg := l.active
	l.mu.Lock()
	chunk, buf := l.tail.reserve(size)
	l.mu.Unlock()
	at := seg.header.base + seg.size
	n := 0
	for _, r := range w.group {
		r.putFrames(buf[n:], w.seed, at+int64(n), at)
		n += len(r.buf)
	}
	began := time.Now()
	if err := w.write(buf); err != nil {
		w.broken = true
		return fmt.Errorf("cannot write to log file %s: %w", seg.name, err)
	}
	l.publish(seg, w.group, chunk, size)
	l.metrics.committed(context.Background(), len(w.group), size, time.Since(began))
	return nil
}

// isFull says whether what comes next begins a segment of its own: this one has its
// length, or could go if it weren't the newest.
func (l *Log) isFull(seg *segment, size int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg.size+size > l.config.segmentBytes(l.used) || l.spent() > 0
}

// spent is how many bytes the next append gives back: those of the active segment, when
// all of it has been applied and it is worth a new one. The caller holds mu.
func (l *Log) spent() int64 {
	if seg := l.active; seg != nil && seg.size >= l.config.worthBytes() && l.isApplied(seg) {
		return seg.size
	}
	return 0
}

// held is how many bytes the log holds, but for what the next append gives back.
func (l *Log) held() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used - l.spent()
}

func (w *writer) write(b []byte) error {
	n, err := w.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	return w.file.Sync()
}

// publish shows a durable group to readers.
func (l *Log) publish(seg *segment, group []*appendRequest, chunk *chunk, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range group {
		inFile, inChunk := seg.size, chunk.used
		for _, f := range r.frames {
			sack := ingest.Sack(f.sack)
			position := r.at + ingest.Offset(f.at)
			seg.note(sack, inFile+int64(f.at), int(f.length))
			l.tail.add(sack, tailFrame{position, chunk, uint32(inChunk + f.at + frameHeaderLen), f.length})
			l.last[sack] = position + 1
			l.wake(sack)
		}
		l.frames += len(r.frames)
		seg.size += int64(len(r.buf))
		chunk.used += len(r.buf)
	}
	chunk.end = seg.end()
	l.used += int64(size)
	l.tail.trim(l.applied)
}

// roll ends the active segment where its acknowledged part ends, and begins a new one.
func (w *writer) roll() error {
	l := w.log
	l.layout.Lock()
	defer l.layout.Unlock()
	l.mu.Lock()
	base := l.nextBase(time.Now())
	l.mu.Unlock()
	seg, file, err := createSegment(l.fs, l.dir, l.sacks, base)
	if err != nil {
		l.strays = append(l.strays, segmentName(base))
		return err
	}
	l.mu.Lock()
	segments, active := l.segments, l.active
	kept := segments
	if active != nil && active.size == fileHeaderLen { // nothing in it was acknowledged
		kept = segments[:len(segments)-1]
	}
	l.segments, l.active = append(kept[:len(kept):len(kept)], seg), seg
	m := l.manifest()
	l.segments, l.active = segments, active
	l.mu.Unlock()
	if err := m.write(l.rescue(), l.dir); err != nil {
		l.strays = append(l.strays, seg.name)
		return errors.Join(err, file.Close())
	}
	if err := w.close(); err != nil && !w.broken {
		l.log.Warn("cannot close a log file; all of it was synced", "file", active.name, "err", err)
	}
	l.mu.Lock()
	if len(kept) < len(segments) {
		l.strays = append(l.strays, active.name)
		l.used -= active.size
	}
	l.segments, l.active = append(kept[:len(kept):len(kept)], seg), seg
	l.used += seg.size
	l.dropIndexes(seg)
	l.mu.Unlock()
	w.file, w.seed, w.broken = file, seg.header.seed(), false
	l.removeStrays()
	l.look() // the one before may have been applied
	return nil
}

func (w *writer) close() error {
	file := w.file
	if file == nil {
		return nil
	}
	w.file = nil
	return file.Close()
}

// reopen puts the log in order after an error, trying again with growing pauses
// until it is done or the log is closed. Meanwhile the intake turns everybody away.
func (w *writer) reopen(why error) {
	l := w.log
	pause := l.config.RetryMin
	for {
		l.metrics.failed(context.Background())
		l.log.Error("the log takes no records until it has been reopened", "err", why, "pause", pause)
		select {
		case <-l.closing:
			return
		case <-time.After(pause):
		}
		if why = w.repair(); why == nil {
			l.log.Info("the log has been reopened", "file", l.active.name)
			l.intake.accept()
			return
		}
		l.intake.refuse(fmt.Errorf("%w: %w", ingest.ErrUnavailable, why))
		pause = min(2*pause, l.config.RetryMax)
	}
}

// repair reads back what was acknowledged in the file that failed, and goes on in
// a new one. The failed group is left behind: the manifest ends the old
// segment before it.
func (w *writer) repair() error {
	l := w.log
	if seg := l.active; seg != nil && w.broken {
		if err := seg.verify(l.fs, l.dir); err != nil {
			return err
		}
	}
	free, err := l.fs.Free(l.dir)
	if err != nil {
		return fmt.Errorf("cannot tell how much room the log's disk has: %w", err)
	}
	if free < minFree {
		return fmt.Errorf("the log's disk has room for %d bytes", free)
	}
	return w.roll()
}

// removeStrays removes files that the manifest no longer lists. The caller holds
// layout. What can't be removed is tried again the next time, and at Open.
func (l *Log) removeStrays() {
	left := l.strays[:0]
	for _, name := range l.strays {
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil && !isMissing(err) {
			l.log.Warn("cannot remove a log file that is not in use", "file", name, "err", err)
			left = append(left, name)
		}
	}
	l.strays = left
}
