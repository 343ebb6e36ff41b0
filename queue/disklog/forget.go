package disklog

import (
	"time"

	"millrace/ingest"
)

// Applied says that every record of the sack before watermark has been applied
// durably. Segments all of whose records have been are removed. A watermark may go
// back, and then what is still there stays.
func (l *Log) Applied(sack ingest.Sack, watermark ingest.Offset) {
	if sack < 0 || int(sack) >= l.sacks {
		return
	}
	l.mu.Lock()
	l.applied[sack] = watermark
	l.tail.trim(l.applied)
	l.mu.Unlock()
	l.look()
}

// look has tidy see whether a segment can go.
func (l *Log) look() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// isApplied says whether all of a segment has been applied. The caller holds mu.
func (l *Log) isApplied(seg *segment) bool {
	for s := range seg.sacks {
		if sum := &seg.sacks[s]; sum.records > 0 && l.applied[s] <= sum.last {
			return false
		}
	}
	return true
}

// tidy removes segments that have been applied, until the log is closed.
func (l *Log) tidy() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-l.dirty:
		case <-timer.C:
		}
		if err := l.forget(); err != nil {
			l.log.Warn("cannot remove the log's applied segments; trying again", "err", err)
			timer.Reset(l.config.RetryMax)
		}
	}
}

// forget removes the oldest segments as far as they have been applied. The newest
// stays: it keeps the place.
func (l *Log) forget() error {
	l.layout.Lock()
	defer l.layout.Unlock()
	l.mu.Lock()
	n := 0
	for n < len(l.segments)-1 && l.isApplied(l.segments[n]) {
		n++
	}
	if n == 0 {
		l.mu.Unlock()
		return nil
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
	m.Lost = after(l.lost, l.segments[n].base())
	l.mu.Unlock()
	if err := m.write(l.rescue(), l.dir); err != nil {
		return err
	}
	l.mu.Lock()
	for _, seg := range l.segments[:n] { // only we and the writer change the list, under layout
		l.strays = append(l.strays, seg.name)
		l.used -= seg.size
		if seg.index != nil {
			l.frames -= seg.index.frames
		}
	}
	l.segments, l.forgotten, l.lost = l.segments[n:len(l.segments):len(l.segments)], forgotten, m.Lost
	l.mu.Unlock()
	l.removeStrays()
	return nil
}

// after returns the spans that end behind a position: the others are in no gap between
// two segments any more.
func after(spans []span, position ingest.Offset) []span {
	n := 0
	for n < len(spans) && spans[n].To <= position {
		n++
	}
	return spans[n:len(spans):len(spans)]
}
