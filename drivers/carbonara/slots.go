package carbonara

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Sealed segments are cut by time, so that what expires leaves the store as whole
// segments, and nothing is read or written for it. Rows that are kept for about the same
// time are in segments of their own, and those hold one slot of time each: a power of two
// of seconds, of which 8 to 16 make a timespan. Slots of few rows stay together, as a
// small object costs a store as much as a large one. Rows that are kept for ever aren't
// cut, nor are those that outlive their time because their metric has stopped: of each
// slot some may be left over, and they must not need a segment each.

// slotWidth is the width of the slots for rows that are kept for a timespan; 0: they aren't cut.
func slotWidth(timespan time.Duration) time.Duration {
	if timespan <= 0 {
		return 0
	}
	w := time.Second
	for w < timespan/16 {
		w *= 2
	}
	return w
}

// A slot is what a sealed segment holds rows of: those of one width, from start on. The
// zero slot is not cut by time.
type slot struct {
	width time.Duration // that of the timespan
	start int64
}

func compareSlots(a, b slot) int {
	return cmp.Or(cmp.Compare(a.width, b.width), cmp.Compare(a.start, b.start))
}

// loose is the start of segments that reach over a boundary.
const loose = math.MinInt64

// slot returns the slot that a sealed segment is in.
func (s *entry) slot() slot {
	if s.Slot == 0 {
		return slot{}
	}
	start := ingest.Floor(s.MinTime, s.Slot)
	if start != ingest.Floor(s.MaxTime, s.Slot) {
		start = loose
	}
	return slot{s.Slot, start}
}

// isOver says whether no more rows are to be expected in a slot, when the newest
// measure is at newest.
func (s slot) isOver(newest int64) bool {
	return s.width > 0 && s.start != loose && after(s.start, 2*s.width) <= newest
}

// putsAtOnce is how many slots are put at the same time.
const putsAtOnce = 8

// A slotSink writes sealed rows into the segments of their slots.
type slotSink struct {
	w        *writer
	template entry
	methods  []ingest.Method
	newest   int64 // of the sack
	rows     int64 // how many are expected
	from, to int64 // in which time
	cuts     map[time.Duration]time.Duration
	sinks    map[slot]*slotPart
	first    *segment.SealedWriter
	most     int64
	size     int64 // of all parts
}

// A slotPart is the sink of one slot.
type slotPart struct {
	*sink
	size    int64
	expires int64 // the newest timestamp at which the last of its rows expires
	stale   staleness
}

// newSlotSink returns a sink for about so many rows in from ≤ time ≤ to.
func (w *writer) newSlotSink(methods []ingest.Method, template entry, rows, from, to int64) *slotSink {
	return &slotSink{
		w: w, template: template, methods: methods, newest: newestOf(w.current()), rows: rows, from: from, to: to,
		cuts: make(map[time.Duration]time.Duration), sinks: make(map[slot]*slotPart),
		most: w.driver.store.Traits().MaxObject * 9 / 10,
	}
}

// add writes rows of one metric and granularity, which are kept for timespan (0: for ever).
func (s *slotSink) add(ctx context.Context, run segment.SealedRun, timespan time.Duration) error {
	width := slotWidth(timespan)
	if width == 0 {
		return s.addTo(ctx, slot{}, run, timespan)
	}
	cut := s.cut(width, timespan)
	for len(run.Times) > 0 {
		place := slot{width, ingest.Floor(run.Times[0], cut)}
		n := len(run.Times)
		if last := run.Times[n-1]; ingest.Floor(last, cut) != place.start {
			n, _ = slices.BinarySearch(run.Times, place.start+int64(cut))
		}
		part := run
		if n < len(run.Times) {
			part, run = run.Cut(n)
		} else {
			run.Times = nil
		}
		if after(part.Times[n-1], timespan+part.Granularity) <= s.newest { // it is still there, and may stay
			place = slot{}
		}
		if err := s.addTo(ctx, place, part, timespan); err != nil {
			return err
		}
	}
	return nil
}

// after is t + d, as far as there is time.
func after(t int64, d time.Duration) int64 {
	if t > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return t + int64(d)
}

// cut returns how wide the segments of a width are: where there are few rows, a multiple.
func (s *slotSink) cut(width, timespan time.Duration) time.Duration {
	if cut, ok := s.cuts[width]; ok {
		return cut
	}
	span := min(uint64(s.to)-uint64(s.from), uint64(timespan)) // no overflow, however far apart
	cut := width
	for n := span/uint64(cut) + 1; n > 2 && s.rows/int64(n) < s.w.driver.config.slotRows &&
		cut <= math.MaxInt64/2; n = span/uint64(cut) + 1 {
		cut *= 2
	}
	s.cuts[width] = cut
	return cut
}

func (s *slotSink) addTo(ctx context.Context, place slot, run segment.SealedRun, timespan time.Duration) error {
	part := s.sinks[place]
	if part == nil {
		if s.first == nil {
			s.first = segment.NewSealedWriter(s.methods)
			part = &slotPart{sink: s.w.newSink(s.first, s.template)}
		} else {
			part = &slotPart{sink: s.w.newSink(s.first.Another(), s.template)}
		}
		part.template.Slot = place.width
		s.sinks[place] = part
	}
	if place.width == 0 {
		part.stale.add(run.Times, timespan)
	} else {
		part.expires = max(part.expires, after(run.Times[len(run.Times)-1], timespan+run.Granularity))
	}
	if err := part.addSealed(ctx, run); err != nil {
		return err
	}
	size := part.enc.Size()
	s.size += size - part.size
	part.size = size
	if s.size < s.most || len(s.sinks) == 1 {
		return nil
	}
	for _, other := range s.sinks { // together they hold no more in memory than one would
		if other.size > part.size {
			part = other
		}
	}
	s.size -= part.size
	part.size = 0
	return part.put(ctx)
}

// close writes what is left, and returns all segments.
func (s *slotSink) close(ctx context.Context) ([]entry, error) {
	places := slices.SortedFunc(maps.Keys(s.sinks), compareSlots)
	group, putting := errgroup.WithContext(ctx)
	group.SetLimit(putsAtOnce)
	if s.w.driver.config.serial {
		group.SetLimit(1)
	}
	for _, place := range places {
		if part := s.sinks[place]; part.enc.Rows() > 0 {
			store, err := part.finish()
			if err != nil {
				return nil, errors.Join(err, group.Wait())
			}
			group.Go(func() error { return store(putting) })
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []entry
	for _, place := range places {
		part := s.sinks[place]
		if err := part.close(ctx, false); err != nil { // it has no rows any more
			return nil, err
		}
		stale := part.expires
		if place.width == 0 {
			stale = part.stale.at(s.newest)
		}
		for i := range part.segments {
			seg := &part.segments[i]
			if seg.Stale = stale; len(s.sinks) > 1 || place.width != s.template.Slot { // they have an order of their own
				seg.Run = ""
				if len(part.segments) > 1 {
					seg.Run = part.segments[0].Name
				}
			}
		}
		all = append(all, part.segments...)
	}
	return all, nil
}

// drop gives up what has been put and will never be named.
func (s *slotSink) drop() {
	for _, part := range s.sinks {
		part.drop()
	}
}

// dropExpired takes segments out of the sack of which every row has expired. It needs to
// look at nothing but the metrics' newest measures.
func (w *writer) dropExpired(ctx context.Context) (did bool, err error) {
	newest := newestOf(w.current())
	looked := newest / int64(time.Second)
	due := func(s *entry) bool { return s.Slot != 0 && s.Stale != 0 && newest >= s.Stale }
	if w.collectors.expiredAt == looked || !slices.ContainsFunc(w.current().of(segment.Sealed),
		func(s entry) bool { return due(&s) }) {
		return false, nil
	}
	w.collectors.expiredAt = looked
	limits, err := w.newLimits(ctx)
	if err != nil {
		return false, err
	}
	w.choosing.Lock()
	var gone []entry
	for _, s := range w.current().of(segment.Sealed) {
		if due(&s) && !w.isAside([]entry{s}) && limits.allExpired(&s) {
			gone = append(gone, s)
		}
	}
	w.reserve(gone)
	w.choosing.Unlock()
	if len(gone) == 0 {
		return false, nil
	}
	defer w.unreserve(gone)
	return true, w.commit(ctx, func(m *manifest) error { return m.replace(gone, nil, w.driver.config.Now().UTC()) },
		func() { w.driver.stats.expired.Add(uint64(len(gone))) })
}

// allExpired says whether no row of a sealed segment can be shown any more, whichever of
// the sack's metrics and granularities it has.
func (l *limits) allExpired(seg *entry) bool {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	for id, i := range l.w.table.index {
		if !seg.MayHold(id) {
			continue
		}
		s := &l.w.table.metrics[i]
		p := l.policies[l.w.table.policies[s.policy].name]
		if p == nil {
			return false
		}
		for _, def := range p.Definitions {
			if def.Granularity <= seg.Coarsest && oldestKept(p, def.Granularity, s.shown) <= seg.MaxTime {
				return false
			}
		}
	}
	return true
}
