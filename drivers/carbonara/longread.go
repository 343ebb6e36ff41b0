package carbonara

import (
	"cmp"
	"context"
	"math"
	"slices"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A query with a limit goes on behind its last row, again and again. Where a series has
// many raw measures that aren't sealed, each answer therefore looks at no more of them
// than it needs: it goes through them in windows of time, of which the segments' footers
// say how many measures they may hold, until it has rows enough. So a long series is read
// once, however many answers it takes, and little of it is in memory at a time.

// windowRows is how many raw measures a query looks at at a time that wants so many rows.
func windowRows(limit int) int { return min(max(1<<14, 2*limit), 1<<18) }

// isLong says whether the raw measures of the read's queries are too many to be read at
// once.
func (r *sackRead) isLong(ctx context.Context, raw *rawRead) (bool, error) {
	most := 1 << 18
	for _, i := range r.list {
		if limit := r.queries[i].Limit; limit > 0 {
			most = min(most, windowRows(limit))
		}
	}
	rows := int64(0)
	for k := range raw.raw {
		rows += raw.raw[k].Rows // of all metrics
	}
	if rows <= int64(most) {
		return false, nil
	}
	rows = 0
	for at := range r.metrics {
		l := &longRead{state: raw.state, at: at, metric: r.metrics[at]}
		if err := l.locate(ctx, raw.from, raw.to); err != nil {
			return false, err
		}
		for _, p := range l.pages {
			rows += int64(p.Rows)
		}
	}
	return rows > int64(most), nil
}

// answerLong appends the rows of each query to dst, one query after the other.
func (r *sackRead) answerLong(ctx context.Context, s *state, dst [][]ingest.Measure) error {
	reads := make([]*longRead, len(r.list))
	sealed := newSealedRead(s, len(r.list))
	for n, i := range r.list {
		q, at := &r.queries[i], r.of[n]
		l := &longRead{state: s, at: at, metric: r.metrics[at], query: q}
		if s.live {
			l.newest = s.newest[at]
			l.buffered = settleIfNeeded(slices.Clone(s.buffered[at]))
		} else if last, ok, err := l.lastBefore(ctx, ingest.MaxTime); err != nil {
			return err
		} else if l.newest = ingest.MinTime; ok {
			l.newest = last.Time
		}
		reads[n] = l
		sealed.want(q, n, oldestShown(q, nil, l.newest))
	}
	if err := sealed.inOrder(ctx); err != nil {
		return err
	}
	for n, i := range r.list {
		if s.isGone(r.of[n], reads[n].metric) {
			continue
		}
		var err error
		if dst[i], err = reads[n].answer(ctx, dst[i], sealed.rows(n)); err != nil {
			return err
		}
	}
	return nil
}

// A longRead is the part of a query that looks at raw measures.
type longRead struct {
	*state
	at       int // of the metric in the state
	metric   ingest.MetricID
	query    *ingest.Query
	newest   int64
	buffered []ingest.Measure // ascending and unique in time
	pages    []segment.RawPage
}

// answer appends the query's rows, of which some are sealed.
func (l *longRead) answer(ctx context.Context, dst, sealed []ingest.Measure) ([]ingest.Measure, error) {
	q, before, limit := l.query, len(dst), math.MaxInt
	g := int64(q.Granularity)
	from, to := oldestShown(q, nil, l.newest), q.To
	if q.Limit > 0 {
		limit = q.Limit
		if sealed = sealed[:min(limit, len(sealed))]; len(sealed) == limit {
			to = min(to, after(sealed[limit-1].Time, q.Granularity))
		}
	}
	if to != ingest.MaxTime && to != ingest.MinTime { // whole buckets
		to = after(ingest.Floor(to-1, q.Granularity), q.Granularity)
	}
	if err := l.locate(ctx, from, to); err != nil {
		return dst, err
	}
	var past []ingest.Measure // the measure before the window, for differences
	if q.Method.IsRate() {
		last, ok, err := l.lastBefore(ctx, from)
		if err != nil {
			return dst, err
		}
		if ok {
			past = append(past, last)
		}
	}
	for begin, end := from, int64(0); begin < to && len(dst)-before < limit; begin = end {
		end = l.windowEnd(begin, to, g, windowRows(q.Limit))
		measures, err := l.window(ctx, past, begin, end)
		if err != nil {
			return dst, err
		}
		if n := len(measures); n > 0 && q.Method.IsRate() {
			past = append(past[:0], measures[n-1])
		}
		n := len(sealed)
		if end != ingest.MaxTime {
			n, _ = slices.BinarySearchFunc(sealed, end, func(m ingest.Measure, t int64) int { return cmp.Compare(m.Time, t) })
		}
		within := *q
		within.To = min(q.To, end)
		dst = join(dst, &within, begin, measures, sealed[:n], limit-(len(dst)-before))
		sealed = sealed[n:]
	}
	return dst, nil
}

// locate finds the pages that may hold measures from ≤ time < to; MaxTime is no end.
func (l *longRead) locate(ctx context.Context, from, to int64) error {
	found := make([][]segment.RawPage, len(l.raw))
	err := l.each(ctx, from, to, func(ctx context.Context, k int, file *segment.Reader) error {
		found[k] = file.RawPages(nil, l.metric, from, to)
		return nil
	})
	l.pages = slices.Concat(found...)
	slices.SortFunc(l.pages, func(a, b segment.RawPage) int { return cmp.Compare(a.First, b.First) })
	return err
}

// each opens the segments that may hold measures of the metric in a range of time.
func (l *longRead) each(ctx context.Context, from, to int64,
	do func(ctx context.Context, k int, file *segment.Reader) error) error {
	fan := l.driver.newFan(ctx)
	for k := range l.raw {
		seg := &l.raw[k]
		if !seg.MayHold(l.metric) || seg.MaxTime < from || seg.MinTime >= to && to != ingest.MaxTime {
			continue
		}
		fan.do(func(ctx context.Context) error {
			file, err := l.driver.files.open(ctx, l.sack, seg)
			if err == nil {
				err = do(ctx, k, file)
			}
			return judgeError(ctx, l.sack, seg, err)
		})
	}
	return fan.wait()
}

// windowEnd returns where the window from begin on ends: at the start of a bucket of g
// before which there are no more than most measures, if a bucket has no more.
func (l *longRead) windowEnd(begin, to, g int64, most int) int64 {
	rows := 0
	for _, p := range l.pages {
		if p.Last < begin {
			continue
		}
		if rows += p.Rows; rows > most {
			if start := max(p.First, begin); start-floorMod(start, g) > begin {
				return min(to, start-floorMod(start, g))
			}
		}
	}
	return to
}

// floorMod is t modulo g, not negative.
func floorMod(t, g int64) int64 {
	m := t % g
	if m < 0 {
		m += g
	}
	return m
}

// window returns past and the measures with begin ≤ time < end, ascending and unique.
func (l *longRead) window(ctx context.Context, past []ingest.Measure, begin, end int64) ([]ingest.Measure, error) {
	parts := make([][]ingest.Measure, len(l.raw)+2)
	parts[0] = past
	err := l.each(ctx, begin, end, func(ctx context.Context, k int, file *segment.Reader) error {
		return file.FindRaw(ctx, []ingest.MetricID{l.metric}, begin, end,
			func(_ int, measures []ingest.Measure, _ string) error {
				parts[k+1] = append(parts[k+1], measures...)
				return nil
			})
	})
	if err != nil {
		return nil, err
	}
	first, _ := slices.BinarySearchFunc(l.buffered, ingest.Measure{Time: begin}, byTime)
	last := len(l.buffered)
	if end != ingest.MaxTime {
		last, _ = slices.BinarySearchFunc(l.buffered, ingest.Measure{Time: end}, byTime)
	}
	parts[len(parts)-1] = l.buffered[first:max(first, last)]
	return settleIfNeeded(slices.Concat(parts...)), nil
}

// lastBefore returns the last measure before a time; MaxTime: of all.
func (l *longRead) lastBefore(ctx context.Context, before int64) (last ingest.Measure, ok bool, err error) {
	found := make([]ingest.Measure, len(l.raw))
	has := make([]bool, len(l.raw))
	err = l.each(ctx, ingest.MinTime, before, func(ctx context.Context, k int, file *segment.Reader) (err error) {
		found[k], has[k], err = file.LastRaw(ctx, l.metric, before)
		return err
	})
	for k, m := range found { // of equal times the later segment's
		if has[k] && (!ok || m.Time >= last.Time) {
			last, ok = m, true
		}
	}
	n := len(l.buffered)
	if before != ingest.MaxTime {
		n, _ = slices.BinarySearchFunc(l.buffered, ingest.Measure{Time: before}, byTime)
	}
	if n > 0 && (!ok || l.buffered[n-1].Time >= last.Time) {
		last, ok = l.buffered[n-1], true
	}
	return last, ok, err
}
