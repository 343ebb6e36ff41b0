package carbonara

import (
	"context"
	"slices"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A sealedMerge walks several sealed runs, in the order of metric, granularity and
// time. It holds a row group of each.
type sealedMerge struct {
	runs    []*runScan[segment.SealedRun]
	columns [][]int // of the segment that each run is in: where its methods are among all
	failed  error
	set     *scanSet
	pace    pace
}

// close ends what is being read ahead.
func (m *sealedMerge) close() { m.set.close() }

// newSealedMerge opens the segments and returns all their methods.
func (w *writer) newSealedMerge(ctx context.Context, segments []entry) (*sealedMerge, []ingest.Method, error) {
	files, err := w.openAll(ctx, segments)
	if err != nil {
		return nil, nil, err
	}
	var set ingest.MethodSet
	for _, seg := range segments {
		set.Union(ingest.MethodsOf(files.of(&seg).Methods()...))
	}
	methods := set.List()
	runs := runsOf(segments)
	m := &sealedMerge{columns: make([][]int, len(runs)), set: files}
	for i, run := range runs {
		m.runs = append(m.runs, newRunScan(run, func(s entry) (rowScan[segment.SealedRun], error) {
			f := files.of(&s)
			m.columns[i] = mapColumns(methods, f.Methods())
			return f.ScanSealed(ctx), nil
		}))
	}
	return m, methods, nil
}

// least returns the run whose head comes first, -1 at the end.
func (m *sealedMerge) least() int {
	least := -1
	for i, run := range m.runs {
		if m.failed = run.err; m.failed != nil {
			return -1
		}
		if run.live && (least < 0 || compareRuns(&run.head, &m.runs[least].head) < 0) {
			least = i
		}
	}
	return least
}

// take returns the rows of a run's head, which comes first, that come before those of all
// other runs: what was left over of a series may lie between rows of another segment.
func (m *sealedMerge) take(i int) segment.SealedRun {
	head := &m.runs[i].head
	n := len(head.Times)
	for j, other := range m.runs {
		if j != i && other.live && other.head.Metric == head.Metric && other.head.Granularity == head.Granularity {
			k, _ := slices.BinarySearch(head.Times[:n], other.head.Times[0])
			n = max(1, k)
		}
	}
	if n == len(head.Times) {
		return *head
	}
	first, _ := head.Cut(n)
	return first
}

// passed moves a run forward by n rows.
func (m *sealedMerge) passed(i, n int) {
	m.pace.spent(n)
	if run := m.runs[i]; n < len(run.head.Times) {
		_, run.head = run.head.Cut(n)
	} else {
		run.advance()
	}
}

// compareRuns orders runs by metric, granularity and time. No two runs of a series have
// the same bucket: every one is sealed once.
func compareRuns(a, b *segment.SealedRun) int {
	if c := segment.CompareMetrics(a.Metric, b.Metric); c != 0 {
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

// mergeSealed rewrites sealed segments as one run of the level given, or one for each
// slot, without what has expired or been deleted.
func (w *writer) mergeSealed(ctx context.Context, segments []entry, level int) error {
	defer timed(&w.driver.stats.mergeNanos, time.Now())
	buried := w.buriedNow()
	merge, methods, err := w.newSealedMerge(ctx, segments)
	if err != nil {
		return err
	}
	defer merge.close()
	limits, err := w.newLimits(ctx)
	if err != nil {
		return err
	}
	from, to := bounds(segments, 0)
	template := entry{Info: segment.Info{Kind: segment.Sealed}, From: from, To: to, Level: level}
	if len(segments) == 1 {
		template.Run, template.Slot = segments[0].Run, segments[0].Slot // it stays a part of what it was
	}
	rows := int64(0)
	for i := range segments {
		rows += segments[i].Rows
	}
	oldest, newest := timesOf(segments)
	out := w.newSlotSink(methods, template, rows, oldest, newest)
	defer out.drop()
	wide := segment.SealedRun{Values: make([][]float64, len(methods)), Present: make([][]bool, len(methods))}
	for i := merge.least(); i >= 0; i = merge.least() {
		if err := ctx.Err(); err != nil {
			return err
		}
		run := merge.take(i)
		if !buried[run.Metric] {
			oldest, timespan := limits.of(run.Metric, run.Granularity)
			if widen(&wide, &run, merge.columns[i], oldest) {
				if err := out.add(ctx, wide, timespan); err != nil {
					return err
				}
			}
		}
		merge.passed(i, len(run.Times))
	}
	if merge.failed != nil {
		return merge.failed
	}
	merged, err := out.close(ctx)
	if err != nil {
		return err
	}
	return w.commitMerge(ctx, segments, merged)
}

// mapColumns says for every column where it is among methods.
func mapColumns(methods, columns []ingest.Method) []int {
	mapped := make([]int, len(columns))
	for k, m := range columns {
		mapped[k], _ = slices.BinarySearch(methods, m)
	}
	return mapped
}

// widen puts a run's rows from oldest on into the columns of wide; false if there are none.
func widen(wide, run *segment.SealedRun, column []int, oldest int64) bool {
	n, _ := slices.BinarySearch(run.Times, oldest)
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
		if s.Kind == segment.Raw && s.Rows > 0 {
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
		p, err := w.policy(ctx, name)
		if err != nil {
			return nil, err
		}
		l.policies[name] = p // nil: nothing of it expires
	}
	return l, nil
}

// of returns the earliest bucket of a series that has not expired, MinTime when
// none has, and the timespan that is kept.
func (l *limits) of(id ingest.MetricID, g time.Duration) (oldest int64, timespan time.Duration) {
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
	return oldestKept(p, g, s.shown), def.Timespan
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
