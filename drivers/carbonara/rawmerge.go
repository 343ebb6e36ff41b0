package carbonara

import (
	"context"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A rawMerge walks several raw runs, given in the order of the log, metric by
// metric. It holds a row group of each and the measures of one metric.
type rawMerge struct {
	runs     []*runScan[segment.RawRun]
	measures []ingest.Measure
	metric   ingest.MetricID
	policy   string
	late     map[ingest.MetricID]uint64
	failed   error
	set      *scanSet
	pace     pace
}

// close ends what is being read ahead.
func (m *rawMerge) close() { m.set.close() }

// newRawMerge opens the segments and collects their late totals.
func (w *writer) newRawMerge(ctx context.Context, segments []entry) (*rawMerge, error) {
	set, err := w.openAll(ctx, segments)
	if err != nil {
		return nil, err
	}
	m := &rawMerge{late: make(map[ingest.MetricID]uint64), set: set}
	for _, seg := range segments {
		totals, err := set.of(&seg).Lates()
		if err != nil {
			set.close()
			return nil, &segmentError{seg.Name, err}
		}
		for _, l := range totals {
			m.late[l.Metric] = max(m.late[l.Metric], l.Late)
		}
	}
	for _, run := range runsOf(segments) {
		m.runs = append(m.runs, newRunScan(run, func(s entry) (rowScan[segment.RawRun], error) {
			return set.of(&s).ScanRaw(ctx), nil
		}))
	}
	return m, nil
}

// next moves to the next metric: its measures are in m.measures, ascending and
// unique, until the following call.
func (m *rawMerge) next() bool {
	least := -1
	for i, run := range m.runs {
		if m.failed = run.err; m.failed != nil {
			return false
		}
		if run.live && (least < 0 || segment.CompareMetrics(run.head.Metric, m.runs[least].head.Metric) < 0) {
			least = i
		}
	}
	if least < 0 {
		return false
	}
	m.metric = m.runs[least].head.Metric
	m.measures = m.measures[:0]
	ascending := true
	for _, run := range m.runs[least:] {
		for run.live && run.head.Metric == m.metric {
			h := &run.head
			if n := len(m.measures); n > 0 && h.Measures[0].Time <= m.measures[n-1].Time {
				ascending = false
			}
			m.measures = append(m.measures, h.Measures...)
			m.policy = h.Policy
			run.advance()
		}
		if m.failed = run.err; m.failed != nil {
			return false
		}
	}
	if !ascending {
		m.measures = settle(m.measures)
	}
	m.pace.spent(1 + len(m.measures))
	return true
}

// err is what ended the walk early.
func (m *rawMerge) err() error { return m.failed }

// lateTotals lists the late counts that were collected, ascending, without those
// that skip names.
func (m *rawMerge) lateTotals(skip map[ingest.MetricID]bool) []segment.LateTotal {
	var totals []segment.LateTotal
	for _, id := range sortedMetrics(m.late) {
		if !skip[id] {
			totals = append(totals, segment.LateTotal{Metric: id, Late: m.late[id]})
		}
	}
	return totals
}

// mergeRaw makes one run of neighbouring raw segments.
func (w *writer) mergeRaw(ctx context.Context, segments []entry, level int) error {
	defer timed(&w.driver.stats.mergeNanos, time.Now())
	buried := w.buriedNow()
	merge, err := w.newRawMerge(ctx, segments)
	if err != nil {
		return err
	}
	defer merge.close()
	enc := w.driver.rawEncoder()
	enc.Late(merge.lateTotals(buried))
	out := w.newSink(enc, entry{Info: segment.Info{Kind: segment.Raw}, From: segments[0].From,
		To: segments[len(segments)-1].To, Level: level})
	defer out.drop()
	for merge.next() {
		if buried[merge.metric] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		run := segment.RawRun{Metric: merge.metric, Policy: merge.policy, Measures: merge.measures}
		if err := out.addRaw(ctx, run); err != nil {
			return err
		}
	}
	if err := merge.err(); err != nil {
		return err
	}
	if err := out.close(ctx, len(merge.late) > 0); err != nil {
		return err
	}
	w.driver.encoders.Put(enc)
	for _, s := range segments {
		if n := len(out.segments); n > 0 {
			out.segments[n-1].Measures += s.Measures
		}
	}
	return w.commitMerge(ctx, segments, out.segments)
}

// commitMerge puts merged segments in the place of those that they were made of.
func (w *writer) commitMerge(ctx context.Context, old, new []entry) error {
	return w.commit(ctx, func(m *manifest) error { return m.replace(old, new, w.driver.config.Now().UTC()) }, func() {
		w.driver.stats.merges.Add(1)
		w.driver.stats.mergedBytes.Add(uint64(bytesOf(new)))
	})
}

// buriedNow is the set of metrics whose deletion has been flushed.
func (w *writer) buriedNow() map[ingest.MetricID]bool { return w.current().deleted() }
