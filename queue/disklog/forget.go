package disklog

import (
	"time"

	"millrace/ingest"
)

// Applied says that every record of the sack before watermark has been applied
// durably. Segments all of whose records have been are removed, Retain after
// that. A watermark may go back, and then what is still there stays.
func (l *Log) Applied(sack ingest.Sack, watermark ingest.Offset) {
	if sack < 0 || int(sack) >= l.sacks {
		return
	}
	l.mu.Lock()
	l.applied[sack] = watermark
	now := time.Now()
	for _, seg := range l.segments {
		l.judge(seg, now)
	}
	l.tail.trim(l.applied)
	l.mu.Unlock()
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// judge notes since when all of a segment has been applied. The caller holds mu.
func (l *Log) judge(seg *segment, now time.Time) {
	for s := range seg.sacks {
		if sum := &seg.sacks[s]; sum.records > 0 && l.applied[s] <= sum.last {
			seg.applied = time.Time{}
			return
		}
	}
	if seg.applied.IsZero() {
		seg.applied = now
	}
}

// tidy removes segments when their time has come, until the log is closed.
func (l *Log) tidy() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-l.dirty:
		case <-timer.C:
		}
		next, err := l.forget(time.Now())
		if err != nil {
			l.log.Warn("cannot remove the log's applied segments; trying again", "err", err)
			next = l.config.RetryMax
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// forget removes the oldest segments if they were applied long enough ago, and
// returns when to look again; 0 when something has to be applied first. The
// newest segment stays: it keeps the place.
func (l *Log) forget(now time.Time) (next time.Duration, err error) {
	l.layout.Lock()
	defer l.layout.Unlock()
	l.mu.Lock()
	n := 0
	for n < len(l.segments)-1 && !l.segments[n].applied.IsZero() {
		if next = l.segments[n].applied.Add(l.config.Retain).Sub(now); next > 0 {
			break
		}
		n++
	}
	if n == 0 {
		l.mu.Unlock()
		return next, nil
	}
	forgotten := append([]ingest.Offset(nil), l.forgotten...)
	for _, seg := range l.segments[:n] {
		for s := range seg.sacks {
			if sum := &seg.sacks[s]; sum.records > 0 {
				forgotten[s] = sum.last + 1
			}
		}
	}
	m := l.manifest()
	m.Forgotten, m.Segments = forgotten, m.Segments[n:]
	l.mu.Unlock()
	if err := m.write(l.fs, l.dir); err != nil {
		return 0, err
	}
	l.mu.Lock()
	for _, seg := range l.segments[:n] { // only we and the writer change the list, under layout
		l.strays = append(l.strays, seg.name)
		l.used -= seg.size
		if seg.index != nil {
			l.frames -= seg.index.frames
		}
	}
	l.segments, l.forgotten = l.segments[n:len(l.segments):len(l.segments)], forgotten
	l.mu.Unlock()
	l.removeStrays()
	return max(0, next), nil
}
