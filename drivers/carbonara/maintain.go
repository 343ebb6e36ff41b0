package carbonara

import (
	"cmp"
	"context"
	"slices"
	"time"

	"millrace/ingest"
)

// chores is what Maintain remembers between its rounds.
type chores struct {
	collected time.Time // when orphans were looked for last; zero: not yet
	opened    time.Time
	purged    time.Time // when deleted metrics were purged last
}

// remainderLevel is the level of the raw run that a seal leaves: no merge by tiers
// touches it, the next seal rewrites it.
const remainderLevel = 100

// uncoveredRows is how many raw rows may gather that the state segment doesn't
// cover: whoever opens the sack has to scan them.
const uncoveredRows = 4 << 20

// Maintain does what is due: merges until no tier is full, a seal, the rewriting of
// what has mostly expired, the collection of garbage.
func (w *writer) Maintain(ctx context.Context) error {
	w.chores.Lock()
	defer w.chores.Unlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	for {
		did, err := w.maintainOnce(ctx)
		if err != nil {
			return err
		}
		if !did {
			break
		}
	}
	return w.collect(ctx)
}

// maintainOnce does the most urgent thing that is due, if any is.
func (w *writer) maintainOnce(ctx context.Context) (did bool, err error) {
	m := w.current()
	began := time.Now()
	if w.sealIsDue(m) {
		return true, w.sealNow(ctx)
	}
	defer timed(&w.driver.stats.mergeNanos, began)
	if run, level := w.fullTier(m.of(kindRaw), true); run != nil {
		return true, w.mergeRaw(ctx, run, level)
	}
	if run, level := w.fullTier(m.of(kindSealed), false); run != nil {
		return true, w.mergeSealed(ctx, run, level)
	}
	newest := newestOf(m)
	for _, s := range m.of(kindSealed) {
		if s.Stale != 0 && newest >= s.Stale {
			return true, w.mergeSealed(ctx, []segment{s}, s.Level)
		}
	}
	return w.purge(ctx, m)
}

// sealIsDue decides when raw measures are worth sealing: when so many rows have
// gathered since the last seal that reading what it left again pays, and enough of the
// metrics have moved past a horizon; or when it has been long.
func (w *writer) sealIsDue(m *manifest) bool {
	c := &w.driver.config
	rows := m.rawRows()
	gathered := rows - m.LastSeal.RawRows
	if gathered <= 0 {
		return false
	}
	if w.uncovered(m) >= max(uncoveredRows, m.LastSeal.RawRows) {
		return true
	}
	overdue := c.now().Sub(m.LastSeal.At) >= c.SealEvery
	if !overdue && gathered < max(c.SealRows, m.LastSeal.RawRows) {
		return false
	}
	ready, fresh := w.ready()
	switch {
	case ready == 0:
		return false
	case overdue:
		return true
	case gathered >= 8*max(c.SealRows, m.LastSeal.RawRows):
		return true
	case gathered >= 3*max(c.SealRows, m.LastSeal.RawRows):
		return 8*ready >= fresh
	}
	return 2*ready >= fresh
}

// uncovered counts the raw rows that opening the sack would have to scan.
func (w *writer) uncovered(m *manifest) int64 {
	covered := ingest.Offset(-1)
	for _, s := range m.Segments {
		if s.Kind == kindState {
			covered = max(covered, s.To)
		}
	}
	rows := int64(0)
	for _, s := range m.Segments {
		if s.Kind == kindRaw && s.To > covered {
			rows += s.Rows
		}
	}
	return rows
}

// ready counts the metrics with new measures, and those of them that have buckets
// to seal.
func (w *writer) ready() (ready, fresh int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.table.metrics {
		s := &w.table.metrics[i]
		if !s.fresh {
			continue
		}
		fresh++
		if r := w.table.policies[s.policy]; r.policy != nil && r.horizon(s.shown) > s.sealed {
			ready++
		}
	}
	return ready, fresh
}

// fullTier finds segments to merge: of the lowest tier that has MergeWidth runs,
// all of them. Raw runs have to be neighbours in the log. It returns the level of
// the result.
func (w *writer) fullTier(segments []segment, neighbours bool) (merge []segment, level int) {
	runs := runsOf(segments)
	if !neighbours {
		slices.SortStableFunc(runs, func(a, b []segment) int { return cmp.Compare(a[0].Level, b[0].Level) })
	}
	var best [][]segment
	for i := 0; i < len(runs); {
		j := i + 1
		for j < len(runs) && runs[j][0].Level == runs[i][0].Level {
			j++
		}
		if j-i >= w.driver.config.MergeWidth && runs[i][0].Level < remainderLevel &&
			(best == nil || runs[i][0].Level < best[0][0].Level) {
			best = runs[i:j]
		}
		i = j
	}
	if best == nil {
		return nil, 0
	}
	return slices.Concat(best...), best[0][0].Level + 1
}

// runsOf groups segments that were written as one: a run that was too large for
// one object.
func runsOf(segments []segment) [][]segment {
	var runs [][]segment
	for _, s := range segments {
		if n := len(runs); n > 0 {
			if last := runs[n-1][0]; last.Level == s.Level && last.From == s.From && last.To == s.To {
				runs[n-1] = append(runs[n-1], s)
				continue
			}
		}
		runs = append(runs, []segment{s})
	}
	return runs
}
