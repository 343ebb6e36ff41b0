package carbonara

import (
	"encoding/binary"
	"slices"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A table is what the owner of a sack knows in memory of every metric of it, and
// the measures that await the next flush.
type table struct {
	index   map[ingest.MetricID]uint32
	metrics []metricState
	free    []uint32 // places in metrics of those that were deleted

	policies []*policyRules
	byName   map[string]uint32 // index in policies

	buffer  []buffered
	touched []touch  // metrics with measures in the buffer
	counted []uint32 // metrics whose late count has changed since the last flush
	flushed int64    // measures given to the buffer since the last flush
}

// metricState is a metric's row in a table: about 100 bytes with its place in the index.
type metricState struct {
	id         ingest.MetricID
	newest     int64 // MinTime before the first measure
	shown      int64 // the newest that has been flushed
	sealed     int64 // buckets that end at or before this are sealed; MinTime when none
	late       uint64
	policy     uint32 // index in policies
	head, tail int32  // first and last of the metric in the buffer; -1: none
	fresh      bool   // has measures that no seal has looked at
	counted    bool   // is in table.counted
}

// buffered is a measure in the buffer, chained to the metric's next.
type buffered struct {
	measure ingest.Measure
	next    int32
}

const bufferedSize = 24

// A touch is a metric in the order of segments: it is sorted without a look at
// the metric's row.
type touch struct {
	prefix uint64 // of the id
	metric uint32
}

// policyRules is an archive policy with what is asked for every record.
type policyRules struct {
	name   string
	policy *ingest.ArchivePolicy // nil when it is gone from the index
	block  int64                 // the coarsest granularity
	back   int64                 // back window in ns; negative: without end
}

func newTable() *table {
	return &table{index: make(map[ingest.MetricID]uint32), byName: make(map[string]uint32)}
}

// rules returns the index of a policy's rules, making room for a new name.
func (t *table) rules(name string) uint32 {
	if i, ok := t.byName[name]; ok {
		return i
	}
	i := uint32(len(t.policies))
	t.policies = append(t.policies, &policyRules{name: name})
	t.byName[name] = i
	return i
}

// set takes a policy's definition over, if it is another than before.
func (r *policyRules) set(p *ingest.ArchivePolicy) {
	if r.policy == p {
		return
	}
	r.policy = p
	if p == nil {
		return
	}
	r.block = int64(p.Coarsest())
	r.back = p.Window() * r.block
	if r.back/r.block != p.Window() {
		r.back = -1
	}
}

// horizon is ArchivePolicy.Horizon with the parts that never change at hand.
func (r *policyRules) horizon(newest int64) int64 {
	if newest == ingest.MinTime || r.back < 0 {
		return ingest.MinTime
	}
	m := newest % r.block
	if m < 0 {
		m += r.block
	}
	if newest < ingest.MinTime+m+r.back {
		return ingest.MinTime
	}
	return newest - m - r.back
}

// place returns a metric's index, making a row for a new one.
func (t *table) place(id ingest.MetricID) uint32 {
	if i, ok := t.index[id]; ok {
		return i
	}
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = uint32(len(t.metrics))
		t.metrics = append(t.metrics, metricState{})
	}
	t.metrics[i] = metricState{id: id, newest: ingest.MinTime, shown: ingest.MinTime, sealed: ingest.MinTime, head: -1,
		tail: -1}
	t.index[id] = i
	return i
}

// add puts a measure into the buffer.
func (t *table) add(i uint32, m ingest.Measure) {
	s := &t.metrics[i]
	at := int32(len(t.buffer))
	t.buffer = append(t.buffer, buffered{m, -1})
	if s.tail < 0 {
		s.head = at
		t.touched = append(t.touched, touch{binary.BigEndian.Uint64(s.id[:8]), i})
	} else {
		t.buffer[s.tail].next = at
	}
	s.tail = at
}

// count counts measures of a metric that came too late.
func (t *table) count(i uint32, late int) {
	s := &t.metrics[i]
	s.late += uint64(late)
	if !s.counted {
		s.counted = true
		t.counted = append(t.counted, i)
	}
}

// forget drops a metric and what the buffer holds of it.
func (t *table) forget(id ingest.MetricID) (policy string, known bool) {
	i, ok := t.index[id]
	if !ok {
		return "", false
	}
	s := t.metrics[i]
	delete(t.index, id)
	t.metrics[i] = metricState{newest: ingest.MinTime, shown: ingest.MinTime, sealed: ingest.MinTime, head: -1, tail: -1}
	if s.head >= 0 {
		t.touched = slices.DeleteFunc(t.touched, func(j touch) bool { return j.metric == i })
	}
	if s.counted {
		t.counted = slices.DeleteFunc(t.counted, func(j uint32) bool { return j == i })
	}
	t.free = append(t.free, i)
	policy = t.policies[s.policy].name
	return policy, true
}

// run collects a touched metric's buffered measures, ascending and unique in time,
// into dst: of equal times the one that came last stays.
func (t *table) run(i uint32, dst []ingest.Measure) []ingest.Measure {
	return settleIfNeeded(t.chain(i, dst[:0]))
}

// chain appends a metric's buffered measures to dst, in the order of the log.
func (t *table) chain(i uint32, dst []ingest.Measure) []ingest.Measure {
	for at := t.metrics[i].head; at >= 0; at = t.buffer[at].next {
		dst = append(dst, t.buffer[at].measure)
	}
	return dst
}

// expected is about how many measures of so many metrics are in the buffer, rather too many.
func (t *table) expected(metrics int) int {
	if metrics >= len(t.touched) {
		return len(t.buffer)
	}
	return min(len(t.buffer), 2*metrics*len(t.buffer)/len(t.touched))
}

// settleIfNeeded is settle for measures that are mostly in order already.
func settleIfNeeded(measures []ingest.Measure) []ingest.Measure {
	for n := 1; n < len(measures); n++ {
		if measures[n].Time <= measures[n-1].Time {
			return settle(measures)
		}
	}
	return measures
}

// settle sorts measures by time and keeps the last of equal times.
func settle(measures []ingest.Measure) []ingest.Measure {
	slices.SortStableFunc(measures, func(a, b ingest.Measure) int {
		switch {
		case a.Time < b.Time:
			return -1
		case a.Time > b.Time:
			return 1
		}
		return 0
	})
	kept := measures[:0]
	for i, m := range measures {
		if i+1 < len(measures) && measures[i+1].Time == m.Time {
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// ordered returns the touched metrics in the order of segments.
func (t *table) ordered() []touch {
	slices.SortFunc(t.touched, func(a, b touch) int {
		switch {
		case a.prefix < b.prefix:
			return -1
		case a.prefix > b.prefix:
			return 1
		}
		return segment.CompareMetrics(t.metrics[a.metric].id, t.metrics[b.metric].id)
	})
	return t.touched
}

// lateTotals lists the late counts that have changed, ascending by metric.
func (t *table) lateTotals() []segment.LateTotal {
	totals := make([]segment.LateTotal, 0, len(t.counted))
	for _, i := range t.counted {
		totals = append(totals, segment.LateTotal{Metric: t.metrics[i].id, Late: t.metrics[i].late})
	}
	slices.SortFunc(totals, func(a, b segment.LateTotal) int { return segment.CompareMetrics(a.Metric, b.Metric) })
	return totals
}

// keepBuffer bounds the memory that an empty buffer keeps, in measures.
const keepBuffer = 1 << 19

// drained empties the buffer: what was in it has been flushed.
func (t *table) drained() {
	for _, touched := range t.touched {
		s := &t.metrics[touched.metric]
		s.head, s.tail, s.fresh = -1, -1, true
		s.shown = s.newest
	}
	for _, i := range t.counted {
		t.metrics[i].counted = false
	}
	if cap(t.buffer) > keepBuffer {
		t.buffer = nil
	}
	t.buffer, t.touched, t.counted, t.flushed = t.buffer[:0], t.touched[:0], t.counted[:0], 0
}
