package disklog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"millrace/disk"
	"millrace/ingest"
)

// A Log is the embedded log: one for all sacks of a deployment. It is an
// ingest.Appender, ingest.Roomy and ingest.Source. Its methods may be called from
// many goroutines at once.
type Log struct {
	fs      disk.FS
	dir     string
	sacks   int
	config  Config
	log     *slog.Logger
	metrics *metrics
	lock    io.Closer // the folder's

	intake   intake
	requests sync.Pool // of *appendRequest
	scratch  sync.Pool // of *fetchScratch

	closing   chan struct{} // closed when Close begins
	stopped   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
	writer    writer // the writer goroutine's own

	// layout is held while the list of segments changes, on disk and in memory.
	// It comes before mu.
	layout   sync.Mutex
	lastBase int64    // of the newest segment that was ever tried
	strays   []string // files that the manifest no longer lists
	indexing sync.Mutex

	mu         sync.Mutex
	closed     bool
	id         string // random, of the folder's life
	deployment string // the id of the one that it is of
	origin     int64
	lost       []span     // given up: what was there can't be told any more
	mourned    []bool     // per sack: that it had applied what is lost has been said
	segments   []*segment // oldest first; the last one is written to when active is set
	active     *segment
	used       int64
	frames     int // in the indexes
	fetches    int64
	forgotten  []ingest.Offset // per sack: the watermark of the records that were removed
	last       []ingest.Offset // per sack: the watermark of all records
	applied    []ingest.Offset // per sack: the watermark that Applied gave
	wakes      []chan struct{} // per sack: closed at its next record; nil when nobody waits
	tail       tail
	dirty      chan struct{} // capacity 1: something was applied since the janitor looked
}

var (
	_ ingest.Appender = (*Log)(nil)
	_ ingest.Roomy    = (*Log)(nil)
	_ ingest.Source   = (*Log)(nil)
)

// errClosed is what Append and Fetch of a closed log return.
var errClosed = fmt.Errorf("%w: it is closed", ingest.ErrUnavailable)

// Close waits until everything that is on its way is durable, stops what Open
// started, and lets the folder go. Append and Fetch fail from then on with
// ErrUnavailable. A second Close does nothing.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		close(l.closing)
		l.intake.close()
		l.stopped.Wait()
		l.mu.Lock()
		l.closed = true
		for s := range l.wakes {
			l.wake(ingest.Sack(s))
		}
		l.mu.Unlock()
		l.closeErr = errors.Join(l.seal(), l.lock.Close())
	})
	return l.closeErr
}

// seal says in the manifest where the segment that was written ends, so that a
// later damage to its end is not taken for the torn end of a crash.
func (l *Log) seal() error {
	w := &l.writer
	if w.file == nil {
		return nil
	}
	l.layout.Lock()
	defer l.layout.Unlock()
	l.mu.Lock()
	l.active = nil
	m := l.manifest()
	l.mu.Unlock()
	return errors.Join(m.write(l.rescue(), l.dir), w.close())
}

// manifest describes the log as it is. The caller holds layout and mu.
func (l *Log) manifest() *manifest {
	m := &manifest{Format: formatVersion, ID: l.id, Deployment: l.deployment, Sacks: l.sacks, Origin: l.origin,
		Forgotten: l.forgotten, Lost: l.lost}
	for _, seg := range l.segments {
		listed := listedSegment{File: seg.name}
		if seg != l.active {
			listed.Bytes, listed.Records = seg.size, seg.counts()
		}
		m.Segments = append(m.Segments, listed)
	}
	return m
}

// rescue is the file system for what must be written although the disk is full.
func (l *Log) rescue() disk.FS {
	if l.config.Rescue != nil {
		return l.config.Rescue
	}
	return l.fs
}

// wake tells those who wait for a record of the sack. The caller holds mu.
func (l *Log) wake(sack ingest.Sack) {
	if l.wakes[sack] != nil {
		close(l.wakes[sack])
		l.wakes[sack] = nil
	}
}

// End returns, for every sack, the watermark of all its records.
func (l *Log) End(context.Context) (ingest.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(ingest.Position(nil), l.last...), nil
}

// Backlog counts the records of the sack at or after from, and their bytes,
// without reading files: exactly, unless the log is so far ahead that it no longer
// keeps in memory where each record of that place is; then it estimates.
func (l *Log) Backlog(_ context.Context, sack ingest.Sack, from ingest.Offset) (b ingest.Backlog, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.End = max(from, l.last[sack])
	for i := len(l.segments) - 1; i >= 0 && l.segments[i].end() > from; i-- {
		records, bytes := l.segments[i].backlog(sack, from)
		b.Records += records
		b.Bytes += bytes
	}
	return b, nil
}

// idPrefix is what an embedded log's id begins with outside its folder.
const idPrefix = "disklog:"

// Log says which log this is: the folder's id, and the position that every one of its
// offsets is after.
func (l *Log) Log() ingest.LogID {
	return ingest.LogID{ID: idPrefix + l.id, Base: ingest.Offset(l.origin)}
}

// Check says whether the log goes on where a watermark ends. That the last record
// applied is no longer there is no reason for alarm: it has been forgotten, or a crash
// has cut it off, and no other will ever stand at its offset. One that stands there and
// is another is.
func (l *Log) Check(ctx context.Context, sack ingest.Sack, at ingest.Watermark) error {
	l.mu.Lock()
	err := l.check(sack, at.Offset)
	held := at.Last.Offset >= l.forgotten[sack] && at.Last.Offset < l.last[sack]
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cannot go on in sack %d at offset %d: %w", sack, at.Offset, err)
	}
	if at.Last == (ingest.Fingerprint{}) || !held {
		return nil
	}
	var found ingest.Deliveries
	found.Limit = 1
	if err := l.Fetch(ctx, sack, at.Last.Offset, &found); err != nil {
		return err
	}
	if d := &found.List[0]; d.Offset == at.Last.Offset && ingest.FingerprintOf(d) != at.Last {
		return fmt.Errorf("sack %d has another record at offset %d than the one that was applied: %w", sack, d.Offset,
			ingest.ErrForeign)
	}
	return nil
}

// Room returns the bytes of the log's segments, and how many more the disk and
// MaxBytes leave, beside what Beside keeps for the storage; 0 when the disk does not say.
// What the next append gives back is room.
func (l *Log) Room() (used, free int64) {
	l.mu.Lock()
	spent := l.spent()
	used = l.used - spent
	l.mu.Unlock()
	free, err := l.fs.Free(l.dir)
	if err != nil {
		return used, 0
	}
	free += spent
	if l.config.Beside {
		free -= used
	}
	if l.config.MaxBytes > 0 {
		free = min(free, l.config.MaxBytes-used)
	}
	return used, max(0, free)
}

// A position that a run of the program begins its segments at is never one that
// an earlier run may have given away and lost, whatever the disk forgot: it is the
// clock's, in nanoseconds, as long as that is ahead, which it is below 1 GB/s.
const (
	baseGap  = 1 << 32 // else this far behind the last one
	maxClock = 1 << 62 // a clock beyond (the year 2116) would use the positions up
)

// nextBase returns the base of a new segment. The caller holds layout and mu.
func (l *Log) nextBase(now time.Time) int64 {
	least := l.lastBase
	if n := len(l.segments); n > 0 {
		least = max(least, int64(l.segments[n-1].end()))
	}
	base := max(least, l.origin) + baseGap
	if clock := now.UnixNano() &^ (alignment - 1); clock > base && clock < maxClock {
		base = clock
	}
	l.lastBase = base
	return base
}
