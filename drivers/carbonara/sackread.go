package carbonara

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"millrace/drivers/aggregate"
	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A sackRead is the part of a read that one sack answers.
type sackRead struct {
	queries []ingest.Query
	list    []int             // of queries
	metrics []ingest.MetricID // of those, ascending and unique
	of      []int             // of list: index of its metric
}

func newSackRead(queries []ingest.Query, list []int) *sackRead {
	r := &sackRead{queries: queries, list: list}
	if len(list) == 1 {
		r.metrics, r.of = []ingest.MetricID{queries[list[0]].Metric}, []int{0}
		return r
	}
	for _, i := range list {
		r.metrics = append(r.metrics, queries[i].Metric)
	}
	slices.SortFunc(r.metrics, segment.CompareMetrics)
	r.metrics = slices.Compact(r.metrics)
	for _, i := range list {
		at, _ := slices.BinarySearchFunc(r.metrics, queries[i].Metric, segment.CompareMetrics)
		r.of = append(r.of, at)
	}
	return r
}

// answer appends the rows of each query to dst.
func (r *sackRead) answer(ctx context.Context, s *state, dst [][]ingest.Measure) error {
	raw := r.newRawRead(s)
	limited := slices.ContainsFunc(r.list, func(i int) bool { return r.queries[i].Limit > 0 })
	if limited {
		switch long, err := r.isLong(ctx, raw); {
		case err != nil:
			return err
		case long:
			return r.answerLong(ctx, s, dst)
		}
	}
	fan := s.driver.newFan(ctx)
	raw.start(fan)
	sealed := newSealedRead(s, len(r.list))
	if !limited {
		for n, i := range r.list {
			q := &r.queries[i]
			sealed.want(q, n, ingest.Floor(q.From, q.Granularity))
		}
		sealed.start(fan)
	}
	if err := fan.wait(); err != nil {
		return err
	}
	series := raw.series()
	if limited { // what has expired must not count, so the newest measure has to be known
		for n, i := range r.list {
			q := &r.queries[i]
			sealed.want(q, n, oldestShown(q, series[r.of[n]], raw.newest(r.of[n], series[r.of[n]])))
		}
		if err := sealed.inOrder(ctx); err != nil {
			return err
		}
	}
	for n, i := range r.list {
		q, measures := &r.queries[i], series[r.of[n]]
		if s.isGone(r.of[n], q.Metric) {
			continue
		}
		from := oldestShown(q, measures, raw.newest(r.of[n], measures))
		dst[i] = join(dst[i], q, from, measures, sealed.rows(n), q.Limit)
	}
	return nil
}

// isGone says whether a metric has been deleted.
func (s *state) isGone(i int, id ingest.MetricID) bool {
	if s.live {
		return s.gone[i]
	}
	return s.deleted[id]
}

// oldestShown is the earliest bucket that a query may show: later than what it asks
// for where older ones have expired.
func oldestShown(q *ingest.Query, raw []ingest.Measure, newest int64) int64 {
	return max(ingest.Floor(q.From, q.Granularity), oldestKept(q.Policy, q.Granularity, newest))
}

// join puts sealed rows and the aggregates of raw measures together, most of them at
// most (0: all): dst, which whoever asks may keep for long, doesn't grow beyond. Raw
// measures may reach back into sealed buckets, of which they then are a part only: the
// sealed row wins.
func join(dst []ingest.Measure, q *ingest.Query, from int64, raw, sealed []ingest.Measure, most int) []ingest.Measure {
	sealed = sealed[sort.Search(len(sealed), func(i int) bool { return sealed[i].Time >= from }):]
	if len(sealed) == 0 && most == 0 {
		return aggregate.Series(dst, raw, q.Granularity, q.Method, from, q.To)
	}
	// The aggregates of buckets that are sealed are not even computed, where that is plain.
	open := aggregate.Series(nil, raw, q.Granularity, q.Method, from, q.To)
	if len(open) == 0 && most == 0 && cap(dst) == 0 {
		return sealed
	}
	n := len(sealed) + len(open)
	if most > 0 {
		n = min(n, most)
	}
	dst = slices.Grow(dst, n)
	end := len(dst) + n
	for len(dst) < end && len(sealed) > 0 && len(open) > 0 {
		switch s, o := sealed[0], open[0]; {
		case s.Time < o.Time:
			dst, sealed = append(dst, s), sealed[1:]
		case s.Time > o.Time:
			dst, open = append(dst, o), open[1:]
		default:
			dst, sealed, open = append(dst, s), sealed[1:], open[1:]
		}
	}
	dst = append(dst, sealed[:min(end-len(dst), len(sealed))]...)
	return append(dst, open[:min(end-len(dst), len(open))]...)
}

// oldestKept returns the earliest bucket of a granularity that a policy still keeps
// when a metric's newest measure is at newest; MinTime if it keeps all.
func oldestKept(p *ingest.ArchivePolicy, g time.Duration, newest int64) int64 {
	def, _ := p.Find(g)
	return aggregate.Oldest(ingest.Floor(newest, g), def.Timespan)
}

func byTime(a, b ingest.Measure) int { return cmp.Compare(a.Time, b.Time) }

// A rawRead collects the raw measures of metrics from every segment that may hold some.
type rawRead struct {
	*state
	metrics  []ingest.MetricID
	from, to int64 // what is outside isn't looked at
	parts    []rawPart
}

// A rawPart is what one segment holds of metrics, from the index first on.
type rawPart struct {
	first    int
	measures [][]ingest.Measure
}

// newRawRead decides which measures have to be looked at: those of the queries'
// ranges; where a method looks at differences the one before, wherever that is; and
// where rows expire the newest, unless it is known.
func (r *sackRead) newRawRead(s *state) *rawRead {
	raw := &rawRead{state: s, metrics: r.metrics, from: ingest.MaxTime, to: ingest.MinTime}
	for _, i := range r.list {
		q := &r.queries[i]
		from, to := ingest.Floor(q.From, q.Granularity), q.To
		if q.Method.IsRate() {
			from = ingest.MinTime
		}
		if to != ingest.MaxTime {
			end := ingest.Floor(to-1, q.Granularity) + int64(q.Granularity)
			if def, _ := q.Policy.Find(q.Granularity); end < to || def.Timespan > 0 && !s.live {
				end = ingest.MaxTime
			}
			to = end
		}
		raw.from, raw.to = min(raw.from, from), max(raw.to, to)
	}
	return raw
}

// start reads the segments.
func (r *rawRead) start(f *fan) {
	r.parts = make([]rawPart, len(r.raw))
	for k := range r.raw {
		seg, part := &r.raw[k], &r.parts[k]
		within := heldBy(r.metrics, seg)
		if len(within) == 0 || seg.MaxTime < r.from || seg.MinTime >= r.to && r.to != ingest.MaxTime {
			continue
		}
		part.first, _ = slices.BinarySearchFunc(r.metrics, within[0], segment.CompareMetrics)
		part.measures = make([][]ingest.Measure, len(within))
		f.do(func(ctx context.Context) error {
			file, err := r.driver.files.open(ctx, r.sack, seg)
			if err == nil {
				err = file.FindRaw(ctx, within, r.from, r.to, func(i int, measures []ingest.Measure, _ string) error {
					part.measures[i] = append(part.measures[i], measures...)
					return nil
				})
			}
			return judgeError(ctx, r.sack, seg, err)
		})
	}
}

// series returns the measures of each metric, ascending and unique in time: of equal
// times that of the later segment stays, and what is in the open table last of all.
func (r *rawRead) series() [][]ingest.Measure {
	all := make([][]ingest.Measure, len(r.metrics))
	var parts [][]ingest.Measure
	for i := range all {
		parts = parts[:0]
		for k := range r.parts {
			if p := &r.parts[k]; i >= p.first && i-p.first < len(p.measures) && len(p.measures[i-p.first]) > 0 {
				parts = append(parts, p.measures[i-p.first])
			}
		}
		if r.live && len(r.buffered[i]) > 0 {
			parts = append(parts, r.buffered[i])
		}
		switch len(parts) {
		case 0:
		case 1:
			all[i] = parts[0]
		default:
			all[i] = slices.Concat(parts...)
		}
		if len(parts) > 1 || r.live && len(r.buffered[i]) > 0 {
			all[i] = settleIfNeeded(all[i])
		}
	}
	return all
}

// newest is the newest measure of a metric; its raw measures always include it.
func (r *rawRead) newest(i int, measures []ingest.Measure) int64 {
	if r.live {
		return r.state.newest[i]
	}
	if n := len(measures); n > 0 {
		return measures[n-1].Time
	}
	return ingest.MinTime
}

// A sealedRead collects the sealed rows of queries.
type sealedRead struct {
	*state
	wants []segment.Want // in the order of segments, once started
	whose []int          // the place of each want's query in its list
	limit []int          // of each want; 0: none

	mu    sync.Mutex
	found [][]piece // by place
}

// A piece is rows as one page has them, ascending in time.
type piece []ingest.Measure

func newSealedRead(s *state, places int) *sealedRead {
	return &sealedRead{state: s, found: make([][]piece, places)}
}

// want asks for the rows of a query from a time on.
func (r *sealedRead) want(q *ingest.Query, place int, from int64) {
	r.wants = append(r.wants, segment.Want{Metric: q.Metric, Granularity: q.Granularity, Method: q.Method, From: from,
		To: q.To})
	r.whose, r.limit = append(r.whose, place), append(r.limit, q.Limit)
}

// start reads the segments.
func (r *sealedRead) start(f *fan) {
	sort.Sort(byWant{r})
	for k := range r.sealed {
		if ask := r.asked(&r.sealed[k]); len(ask) > 0 {
			f.do(func(ctx context.Context) error { return r.find(ctx, &r.sealed[k], ask) })
		}
	}
}

// asked lists the wants of which a segment may hold rows.
func (r *sealedRead) asked(seg *entry) (ask []int) {
	for i := range r.wants {
		w := &r.wants[i]
		if seg.MayHold(w.Metric) && w.Granularity <= seg.Coarsest && w.From <= seg.MaxTime && w.To > seg.MinTime {
			ask = append(ask, i)
		}
	}
	return ask
}

// errEnough ends a look-up that has found all that it may keep.
var errEnough = errors.New("enough")

// find adds the rows that a segment has for some wants: of each no more than its limit.
func (r *sealedRead) find(ctx context.Context, seg *entry, ask []int) error {
	wants := make([]segment.Want, len(ask))
	for i, a := range ask {
		wants[i] = r.wants[a]
	}
	file, err := r.driver.files.open(ctx, r.sack, seg)
	if err != nil {
		return judgeError(ctx, r.sack, seg, err)
	}
	found, rows := make([][]piece, len(ask)), make([]int, len(ask))
	err = file.FindSealed(ctx, wants, func(i int, measures []ingest.Measure) error {
		limit := r.limit[ask[i]]
		if limit > 0 {
			measures = measures[:min(limit-rows[i], len(measures))]
		}
		if rows[i] += len(measures); len(measures) > 0 {
			found[i] = append(found[i], slices.Clone(measures))
		}
		if limit > 0 && rows[i] == limit && len(ask) == 1 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return judgeError(ctx, r.sack, seg, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, pieces := range found {
		place := r.whose[ask[i]]
		r.found[place] = append(r.found[place], pieces...)
	}
	return nil
}

// waveWidth is how many segments are read at once for a query with a limit.
const waveWidth = 8

// inOrder reads the segments in the order of time, and not those that come after all
// that may be shown: so that a long series is read a piece at a time.
func (r *sealedRead) inOrder(ctx context.Context) error {
	sort.Sort(byWant{r})
	var due []*entry
	for k := range r.sealed {
		if len(r.asked(&r.sealed[k])) > 0 {
			due = append(due, &r.sealed[k])
		}
	}
	slices.SortStableFunc(due, func(a, b *entry) int { return cmp.Compare(a.MinTime, b.MinTime) })
	for wave := range slices.Chunk(due, waveWidth) {
		if last, full := r.isFull(); full && wave[0].MinTime > last {
			return nil
		}
		fan := r.driver.newFan(ctx)
		for _, seg := range wave {
			fan.do(func(ctx context.Context) error { return r.find(ctx, seg, r.asked(seg)) })
		}
		if err := fan.wait(); err != nil {
			return err
		}
	}
	return nil
}

// isFull says whether every query has as many rows as it may show, and cuts them to
// those; last is the time of the latest.
func (r *sealedRead) isFull() (last int64, full bool) {
	last, full = ingest.MinTime, true
	for i, place := range r.whose {
		rows, limit := r.rows(place), r.limit[i]
		if limit == 0 || len(rows) < limit {
			full = false
			continue
		}
		r.found[place] = []piece{rows[:limit]}
		last = max(last, rows[limit-1].Time)
	}
	return last, full
}

// rows returns the rows of the query at a place, ascending in time.
func (r *sealedRead) rows(place int) []ingest.Measure {
	if pieces := r.found[place]; len(pieces) > 1 {
		r.found[place] = []piece{joinPieces(pieces)}
	}
	if len(r.found[place]) == 0 {
		return nil
	}
	return r.found[place][0]
}

// joinPieces makes one piece of several. Segments are in the order of merges, but those
// of different slots don't overlap in time, so that rows needn't be sorted.
func joinPieces(pieces []piece) piece {
	slices.SortFunc(pieces, func(a, b piece) int { return byTime(a[0], b[0]) })
	overlap := false
	for i, next := range pieces[1:] {
		overlap = overlap || next[0].Time <= pieces[i][len(pieces[i])-1].Time
	}
	rows := slices.Concat(pieces...)
	if overlap {
		slices.SortFunc(rows, byTime)
	}
	return rows
}

// byWant sorts wants as sealed segments are sorted, and what belongs to them along.
type byWant struct{ *sealedRead }

func (b byWant) Len() int { return len(b.wants) }
func (b byWant) Swap(i, j int) {
	b.wants[i], b.wants[j] = b.wants[j], b.wants[i]
	b.whose[i], b.whose[j] = b.whose[j], b.whose[i]
	b.limit[i], b.limit[j] = b.limit[j], b.limit[i]
}
func (b byWant) Less(i, j int) bool {
	x, y := &b.wants[i], &b.wants[j]
	return cmp.Or(segment.CompareMetrics(x.Metric, y.Metric), cmp.Compare(x.Granularity, y.Granularity),
		cmp.Compare(x.Method, y.Method)) < 0
}

// sortedMetrics returns the keys of a map in the order of segments.
func sortedMetrics[V any](m map[ingest.MetricID]V) []ingest.MetricID {
	return slices.SortedFunc(maps.Keys(m), segment.CompareMetrics)
}

// heldBy returns the metrics, of those that ascend, which a segment may hold.
func heldBy(metrics []ingest.MetricID, seg *entry) []ingest.MetricID {
	if seg.Rows == 0 {
		return nil
	}
	from, _ := slices.BinarySearchFunc(metrics, seg.MinMetric, segment.CompareMetrics)
	to, found := slices.BinarySearchFunc(metrics, seg.MaxMetric, segment.CompareMetrics)
	if found {
		to++
	}
	if from >= to {
		return nil
	}
	return metrics[from:to]
}
