package carbonara

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/ingest"
)

// A sealedMerge walks several sealed segments run by run, in the order of metric
// and granularity. Rows of the same series come from the segments one after the other.
type sealedMerge struct {
	scans  []*sealedScan
	heads  []sealedRun
	live   []bool
	failed error
}

func (m *sealedMerge) advance(i int) {
	for m.scans[i].next() {
		if m.heads[i] = m.scans[i].run(); len(m.heads[i].Times) > 0 {
			m.live[i] = true
			return
		}
	}
	m.live[i] = false
	if err := m.scans[i].err(); err != nil && m.failed == nil {
		m.failed = err
	}
}

// least returns the scan whose run comes first, -1 at the end.
func (m *sealedMerge) least() int {
	least := -1
	for i := range m.heads {
		if m.live[i] && (least < 0 || compareRuns(&m.heads[i], &m.heads[least]) < 0) {
			least = i
		}
	}
	if m.failed != nil {
		return -1
	}
	return least
}

// compareRuns orders runs by metric, granularity and time. No two runs of a series
// overlap: every bucket is sealed once.
func compareRuns(a, b *sealedRun) int {
	if c := compareMetrics(a.Metric, b.Metric); c != 0 {
		return c
	}
	switch {
	case a.Granularity != b.Granularity:
		return int(min(1, max(-1, a.Granularity-b.Granularity)))
	case a.Times[0] < b.Times[0]:
		return -1
	case a.Times[0] > b.Times[0]:
		return 1
	}
	return 0
}

// mergeSealed rewrites sealed segments as one run of the level given, without what
// has expired or been deleted.
func (w *writer) mergeSealed(ctx context.Context, segments []segment, level int) error {
	m := w.current()
	buried := w.buriedNow()
	merge := new(sealedMerge)
	var set ingest.MethodSet
	from, to := bounds(segments, 0)
	var columns [][]ingest.Method
	for _, seg := range segments {
		f, err := w.driver.files.open(ctx, w.sack, seg)
		if err != nil {
			return err
		}
		columns = append(columns, f.methods())
		set.Union(ingest.MethodsOf(f.methods()...))
		merge.scans = append(merge.scans, f.scanSealed(ctx))
	}
	merge.heads, merge.live = make([]sealedRun, len(merge.scans)), make([]bool, len(merge.scans))
	for i := range merge.scans {
		merge.advance(i)
	}
	limits, err := w.newLimits(ctx)
	if err != nil {
		return err
	}
	methods := set.List()
	mapped := mapColumns(methods, columns)
	out := w.newSink(newSealedEncoder(methods), segment{Kind: kindSealed, From: from, To: to, Level: level})
	stale := new(staleness)
	wide := sealedRun{Values: make([][]float64, len(methods)), Present: make([][]bool, len(methods))}
	for i := merge.least(); i >= 0; i = merge.least() {
		if err := ctx.Err(); err != nil {
			return err
		}
		run := &merge.heads[i]
		if !buried[run.Metric] {
			cut, timespan := limits.of(run.Metric, run.Granularity)
			if widen(&wide, run, mapped[i], cut) {
				stale.add(wide.Times, timespan)
				if err := out.addSealed(ctx, wide); err != nil {
					return err
				}
			}
		}
		merge.advance(i)
	}
	if merge.failed != nil {
		return merge.failed
	}
	if err := out.close(ctx, false); err != nil {
		return err
	}
	at := stale.at(newestOf(m))
	for i := range out.segments {
		out.segments[i].Stale = at
	}
	return w.commitMerge(ctx, segments, out.segments)
}

// mapColumns says for every segment's columns where they are among methods.
func mapColumns(methods []ingest.Method, columns [][]ingest.Method) [][]int {
	mapped := make([][]int, len(columns))
	for i, list := range columns {
		mapped[i] = make([]int, len(list))
		for k, m := range list {
			mapped[i][k], _ = slices.BinarySearch(methods, m)
		}
	}
	return mapped
}

// widen puts a run's rows after cut into the columns of wide; false if there are none.
func widen(wide, run *sealedRun, column []int, cut int64) bool {
	n, _ := slices.BinarySearch(run.Times, cut)
	if n < len(run.Times) && run.Times[n] == cut {
		n++
	}
	if n == len(run.Times) {
		return false
	}
	wide.Metric, wide.Granularity, wide.Times = run.Metric, run.Granularity, run.Times[n:]
	clear(wide.Values)
	clear(wide.Present)
	for k, c := range column {
		if run.Present[k] != nil {
			wide.Values[c], wide.Present[c] = run.Values[k][n:], run.Present[k][n:]
		}
	}
	return true
}

// newestOf is the newest timestamp of the raw measures that a manifest shows; the
// newest measure of every metric is always among them.
func newestOf(m *manifest) int64 {
	newest := int64(ingest.MinTime)
	for _, s := range m.Segments {
		if s.Kind == kindRaw && s.Rows > 0 {
			newest = max(newest, s.MaxTime)
		}
	}
	return newest
}

// limits says of series after series what has expired, as readers see it: relative
// to the newest measure that has been flushed.
type limits struct {
	w        *writer
	policies map[string]*ingest.ArchivePolicy
}

func (w *writer) newLimits(ctx context.Context) (*limits, error) {
	l := &limits{w: w, policies: make(map[string]*ingest.ArchivePolicy)}
	for _, name := range w.policyNames() {
		p, err := w.driver.policies.Policy(ctx, name)
		if errors.Is(err, ingest.ErrNoPolicy) {
			continue // nothing of it expires
		}
		if err != nil {
			return nil, fmt.Errorf("cannot look up archive policy %q: %w", name, err)
		}
		l.policies[name] = p
	}
	return l, nil
}

// of returns the time at or before which buckets of a series have expired, MinTime
// when none has, and the timespan that is kept.
func (l *limits) of(id ingest.MetricID, g time.Duration) (cut int64, timespan time.Duration) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	i, ok := l.w.table.index[id]
	if !ok {
		return ingest.MinTime, 0
	}
	s := &l.w.table.metrics[i]
	p := l.policies[l.w.table.policies[s.policy].name]
	if p == nil {
		return ingest.MinTime, 0
	}
	def, _ := p.Find(g)
	if cut, ok := expiry(p, g, s.shown); ok {
		return cut, def.Timespan
	}
	return ingest.MinTime, def.Timespan
}

// policyNames lists the archive policies of the sack's metrics.
func (w *writer) policyNames() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, len(w.table.policies))
	for i, p := range w.table.policies {
		names[i] = p.name
	}
	return names
}
