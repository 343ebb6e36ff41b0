package carbonara

import (
	"context"

	"millrace/ingest"
)

// A rawMerge walks several raw segments, given in the order of the log, metric by
// metric. It holds a row group of each and the measures of one metric.
type rawMerge struct {
	scans    []*rawScan
	heads    []rawRun
	live     []bool // false: the scan has ended
	measures []ingest.Measure
	metric   ingest.MetricID
	policy   string
	late     map[ingest.MetricID]uint64
	failed   error
}

// newRawMerge opens the segments and collects their late totals.
func (w *writer) newRawMerge(ctx context.Context, segments []segment) (*rawMerge, error) {
	m := &rawMerge{late: make(map[ingest.MetricID]uint64)}
	for _, seg := range segments {
		f, err := w.driver.files.open(ctx, w.sack, seg)
		if err != nil {
			return nil, err
		}
		totals, err := f.lates()
		if err != nil {
			return nil, err
		}
		for _, l := range totals {
			m.late[l.Metric] = max(m.late[l.Metric], l.Late)
		}
		m.scans = append(m.scans, f.scanRaw(ctx))
	}
	m.heads, m.live = make([]rawRun, len(m.scans)), make([]bool, len(m.scans))
	for i := range m.scans {
		m.advance(i)
	}
	return m, nil
}

// advance moves a scan to its next run that has measures.
func (m *rawMerge) advance(i int) {
	for m.scans[i].next() {
		if m.heads[i] = m.scans[i].run(); len(m.heads[i].Measures) > 0 {
			m.live[i] = true
			return
		}
	}
	m.live[i] = false
	if err := m.scans[i].err(); err != nil && m.failed == nil {
		m.failed = err
	}
}

// next moves to the next metric: its measures are in m.measures, ascending and
// unique, until the following call.
func (m *rawMerge) next() bool {
	least := -1
	for i := range m.heads {
		if m.live[i] && (least < 0 || compareMetrics(m.heads[i].Metric, m.heads[least].Metric) < 0) {
			least = i
		}
	}
	if least < 0 || m.failed != nil {
		return false
	}
	m.metric = m.heads[least].Metric
	m.measures = m.measures[:0]
	ascending := true
	for i := least; i < len(m.heads); i++ {
		for h := &m.heads[i]; m.live[i] && h.Metric == m.metric; {
			if n := len(m.measures); n > 0 && h.Measures[0].Time <= m.measures[n-1].Time {
				ascending = false
			}
			m.measures = append(m.measures, h.Measures...)
			m.policy = h.Policy
			m.advance(i)
		}
	}
	if m.failed != nil {
		return false
	}
	if !ascending {
		m.measures = settle(m.measures)
	}
	return true
}

// err is what ended the walk early.
func (m *rawMerge) err() error { return m.failed }

// lateTotals lists the late counts that were collected, ascending, without those
// that skip names.
func (m *rawMerge) lateTotals(skip map[ingest.MetricID]bool) []lateTotal {
	var totals []lateTotal
	for _, id := range sortedMetrics(m.late) {
		if !skip[id] {
			totals = append(totals, lateTotal{id, m.late[id]})
		}
	}
	return totals
}

// mergeRaw makes one run of neighbouring raw segments.
func (w *writer) mergeRaw(ctx context.Context, segments []segment, level int) error {
	buried := w.buriedNow()
	merge, err := w.newRawMerge(ctx, segments)
	if err != nil {
		return err
	}
	enc := newRawEncoder()
	enc.late(merge.lateTotals(buried))
	out := w.newSink(enc, segment{Kind: kindRaw, From: segments[0].From, To: segments[len(segments)-1].To, Level: level})
	for merge.next() {
		if buried[merge.metric] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := out.addRaw(ctx, rawRun{merge.metric, merge.policy, merge.measures}); err != nil {
			return err
		}
	}
	if err := merge.err(); err != nil {
		return err
	}
	if err := out.close(ctx, len(merge.late) > 0); err != nil {
		return err
	}
	for _, s := range segments {
		if n := len(out.segments); n > 0 {
			out.segments[n-1].Measures += s.Measures
		}
	}
	return w.commitMerge(ctx, segments, out.segments)
}

// commitMerge puts merged segments in the place of those that they were made of.
func (w *writer) commitMerge(ctx context.Context, old, new []segment) error {
	return w.commit(ctx, func(m *manifest) error { return m.replace(old, new, w.driver.config.now().UTC()) }, func() {
		w.driver.stats.merges.Add(1)
		w.driver.stats.mergedBytes.Add(uint64(bytesOf(new)))
	})
}

// buriedNow is the set of metrics whose deletion has been flushed.
func (w *writer) buriedNow() map[ingest.MetricID]bool {
	set := make(map[ingest.MetricID]bool)
	for _, t := range w.current().Tombstones {
		set[t.Metric] = true
	}
	return set
}
