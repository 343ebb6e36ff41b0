package influxdb

import (
	"fmt"
	"slices"
	"time"

	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// A metricRead is the part of a read that is about one metric.
type metricRead struct {
	metric   ingest.MetricID
	queries  []*queryRead
	from, to int64            // what has to be read: [from, to)
	raw      []ingest.Measure // read, and not yet of use to nobody
	enough   int              // how long raw may become before it is aggregated
	special  map[int64]int    // by time, of points that have no number
	begun    bool             // a value has come
	expires  bool             // what has expired is still to be left out
}

// A queryRead is a query on its way.
type queryRead struct {
	*ingest.Query
	dst   *[]ingest.Measure
	have  int   // rows of dst that are not ours
	from  int64 // the first time that a row may have
	ended bool  // there is nothing more to show
}

// readsOf sorts queries by metric, in the order in which metrics come.
func readsOf(queries []ingest.Query, dst [][]ingest.Measure) []*metricRead {
	var reads []*metricRead
	of := make(map[ingest.MetricID]*metricRead)
	for i := range queries {
		q := &queries[i]
		r := of[q.Metric]
		if r == nil {
			r = &metricRead{metric: q.Metric, enough: rawChunk}
			of[q.Metric] = r
			reads = append(reads, r)
		}
		r.queries = append(r.queries, &queryRead{Query: q, dst: &dst[i], have: len(dst[i]),
			from: ingest.Floor(q.From, q.Granularity)})
	}
	return reads
}

// expires says whether what a query may show depends on the metric's newest measure.
func (q *queryRead) expires() bool {
	def, _ := q.Policy.Find(q.Granularity)
	return def.Timespan > 0
}

// isNear says whether the queries of a metric ask for hardly more than is kept of one that is
// measured now: then what has expired can be left out afterwards.
func (r *metricRead) isNear(now int64) bool {
	return !slices.ContainsFunc(r.queries, func(q *queryRead) bool {
		def, _ := q.Policy.Find(q.Granularity)
		return q.expires() && q.from < now-int64(def.Timespan)-2*int64(q.Granularity)
	})
}

// expire leaves out what has expired, counted from the newest measure, if there is one.
func (r *metricRead) expire(newest int64, found bool) {
	r.expires = false
	for _, q := range r.queries {
		if def, _ := q.Policy.Find(q.Granularity); found {
			q.from = max(q.from, aggregate.Oldest(ingest.Floor(newest, q.Granularity), def.Timespan))
		} else {
			q.ended = true
		}
	}
}

// end is the end of the last bucket that a query may show.
func (q *queryRead) end() int64 {
	if q.To == ingest.MaxTime || q.To == ingest.MinTime {
		return q.To
	}
	end := ingest.Floor(q.To-1, q.Granularity) + int64(q.Granularity)
	if end < q.To {
		return ingest.MaxTime
	}
	return end
}

// plan decides what has to be read of a metric, and says whether anything has.
func (r *metricRead) plan() bool {
	r.from, r.to = ingest.MaxTime, ingest.MinTime
	for _, q := range r.queries {
		end := q.end()
		if q.ended = q.ended || q.from >= end; !q.ended {
			r.from, r.to = min(r.from, q.from), max(r.to, end)
		}
	}
	return r.from < r.to
}

// isLimited says whether a query of the metric may end before its range does.
func (r *metricRead) isLimited() bool {
	return slices.ContainsFunc(r.queries, func(q *queryRead) bool { return q.Limit > 0 })
}

// alike sorts metrics into groups that one query can read: those whose ranges are nearly
// the same, which become the same. A metric of which only the first rows are wanted is
// read alone, so that its query can be ended.
func alike(reads []*metricRead) [][]*metricRead {
	slices.SortStableFunc(reads, func(a, b *metricRead) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	var groups [][]*metricRead
	now := time.Now().UnixNano()
	for _, r := range reads {
		n := len(groups)
		if n > 0 && !r.isLimited() && !groups[n-1][0].isLimited() && isAlike(groups[n-1][0], r, now) {
			groups[n-1] = append(groups[n-1], r)
		} else {
			groups = append(groups, []*metricRead{r})
		}
	}
	for _, group := range groups {
		to := group[0].to
		for _, r := range group {
			to = max(to, r.to)
		}
		for _, r := range group {
			r.from, r.to = group[0].from, to
		}
	}
	return groups
}

// isAlike says whether two ranges differ by so little that it costs less to read both
// for each. The first does not begin later.
func isAlike(a, b *metricRead, now int64) bool {
	if a.from == b.from && a.to == b.to {
		return true
	}
	aTo, bTo := min(a.to, now), min(b.to, now) // nearly nothing is later
	slack := max((aTo/8 - max(a.from, minTime)/8), int64(10*time.Minute))
	return b.from/2-a.from/2 <= slack/2 && max(aTo, bTo)/2-min(aTo, bTo)/2 <= slack/2
}

// rawChunk is how many measures of a metric are collected before they are aggregated.
const rawChunk = 1 << 16

// add takes the next measure of the metric.
func (r *metricRead) add(p *point) error {
	r.begun = true
	if n := len(r.raw); n > 0 && r.raw[n-1].Time >= p.time {
		return severalSeries(r)
	}
	m := ingest.Measure{Time: p.time, Value: p.value}
	if p.value == placeholder {
		m.Value = valueOf(p.value, r.special[p.time])
	}
	r.raw = append(r.raw, m)
	if len(r.raw) >= r.enough {
		r.aggregate(false)
		r.enough = len(r.raw) + rawChunk
	}
	if r.isDone() {
		return errEnough
	}
	return nil
}

func severalSeries(r *metricRead) error {
	return fmt.Errorf("%w: metric %s has several series in InfluxDB, whose tags differ", ingest.ErrCorrupted, r.metric)
}

// addSpecial remembers what a point's value stands for. InfluxDB's answers are ordered by
// field: these come before the values.
func (r *metricRead) addSpecial(p *point) error {
	if r.begun {
		return fmt.Errorf("InfluxDB answers in an order that was not expected: metric %s", r.metric)
	}
	if r.special == nil {
		r.special = make(map[int64]int)
	}
	r.special[p.time] = p.special
	return nil
}

// isDone says whether no query can show anything more, although there is more to read.
func (r *metricRead) isDone() bool {
	for _, q := range r.queries {
		if !q.ended {
			return false
		}
	}
	return r.isLimited()
}

// aggregate gives each query the rows of the buckets that have been read: without final
// only of those behind which there are measures, too. What nobody needs any more is
// forgotten, but for a measure that the next difference begins at.
func (r *metricRead) aggregate(final bool) {
	if len(r.raw) == 0 {
		return
	}
	last := r.raw[len(r.raw)-1].Time
	needed := last
	for _, q := range r.queries {
		if q.ended {
			continue
		}
		to := q.To
		if open := ingest.Floor(last, q.Granularity); !final && open < to {
			to = open
		}
		if q.from < to {
			*q.dst = aggregate.Series(*q.dst, r.raw, q.Granularity, q.Method, q.from, to)
			q.from = to
		}
		q.ended = to == q.To
		if n := q.have + q.Limit; q.Limit > 0 && len(*q.dst) >= n {
			*q.dst, q.ended = (*q.dst)[:n], true
		}
		if !q.ended {
			needed = min(needed, q.from)
		}
	}
	r.raw = slices.Delete(r.raw, 0, max(0, aggregate.Search(r.raw, needed)-1))
}
