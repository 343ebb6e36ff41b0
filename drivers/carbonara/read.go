package carbonara

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/aggregate"
	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// Read answers queries; see ingest.Driver.
func (d *Driver) Read(ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure, at ingest.Position) (ingest.Position, error) {
	if err := d.usable(ctx); err != nil {
		return nil, err
	}
	for i := range queries {
		q := &queries[i]
		if _, ok := q.Policy.Find(q.Granularity); !ok || !q.Policy.Methods.Has(q.Method) {
			return nil, ingest.Permanent(fmt.Errorf("archive policy %q has no %s at granularity %s", q.Policy.Name, q.Method, q.Granularity))
		}
	}
	groups := d.bySack(len(queries), func(i int) ingest.MetricID { return queries[i].Metric })
	shown := make(ingest.Position, d.sacks)
	var group errgroup.Group
	group.SetLimit(d.config.Readers)
	for sack, list := range groups {
		work := func() error {
			return d.withView(ctx, sack, func(v *view) error {
				shown[sack] = v.manifest.Applied.Offset
				if int(sack) < len(at) && shown[sack] < at[sack] {
					return fmt.Errorf("sack %d is applied up to %d, and %d was asked for: %w", sack, shown[sack], at[sack], ingest.ErrBehind)
				}
				return v.read(ctx, queries, list, dst)
			})
		}
		if len(groups) == 1 {
			return shown, work()
		}
		group.Go(work)
	}
	return shown, group.Wait()
}

// A series is the raw measures of one metric, ascending and unique once complete.
type series struct {
	measures  []ingest.Measure
	unordered bool
}

func (s *series) add(measures []ingest.Measure) {
	if n := len(s.measures); n > 0 && len(measures) > 0 && measures[0].Time <= s.measures[n-1].Time {
		s.unordered = true
	}
	s.measures = append(s.measures, measures...)
}

// complete puts what several segments hold in order: the later one's row stays.
func (s *series) complete() []ingest.Measure {
	if s.unordered {
		s.measures = settle(s.measures)
		s.unordered = false
	}
	return s.measures
}

// read answers the queries that list names, all of one sack.
func (v *view) read(ctx context.Context, queries []ingest.Query, list []int, dst [][]ingest.Measure) error {
	raw := make(map[ingest.MetricID]*series, len(list))
	for _, i := range list {
		if id := queries[i].Metric; raw[id] == nil && !v.deleted[id] {
			raw[id] = new(series)
		}
	}
	metrics := sortedMetrics(raw)
	if err := v.readRaw(ctx, metrics, raw); err != nil {
		return err
	}
	sealed, err := v.readSealed(ctx, queries, list)
	if err != nil {
		return err
	}
	for n, i := range list {
		q := &queries[i]
		if s := raw[q.Metric]; s != nil {
			before := len(dst[i])
			dst[i] = answer(dst[i], q, s.complete(), sealed[n])
			if q.Limit > 0 && len(dst[i])-before > q.Limit {
				dst[i] = dst[i][:before+q.Limit]
			}
		}
	}
	return nil
}

// readRaw collects the raw measures of metrics, which ascend, from every segment.
func (v *view) readRaw(ctx context.Context, metrics []ingest.MetricID, into map[ingest.MetricID]*series) error {
	for _, seg := range v.raw {
		within := heldBy(metrics, &seg)
		if len(within) == 0 {
			continue
		}
		f, err := v.driver.files.open(ctx, v.sack, seg)
		if err != nil {
			return err
		}
		err = f.FindRaw(ctx, within, ingest.MinTime, ingest.MaxTime, func(i int, measures []ingest.Measure, _ string) error {
			into[within[i]].add(measures)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readSealed returns the sealed rows for each query of list, ascending in time.
func (v *view) readSealed(ctx context.Context, queries []ingest.Query, list []int) ([][]ingest.Measure, error) {
	rows := make([][]ingest.Measure, len(list))
	wants := make([]segment.Want, 0, len(list))
	whose := make([]int, 0, len(list))
	for n, i := range list {
		q := &queries[i]
		if !v.deleted[q.Metric] {
			wants = append(wants, segment.Want{
				Metric: q.Metric, Granularity: q.Granularity, Method: q.Method,
				From: ingest.Floor(q.From, q.Granularity), To: q.To,
			})
			whose = append(whose, n)
		}
	}
	sort.Sort(byWant{wants, whose})
	var some []segment.Want
	var someOf []int
	for _, seg := range v.sealed {
		some, someOf = some[:0], someOf[:0]
		for i := range wants {
			w := &wants[i]
			if seg.MayHold(w.Metric) && w.Granularity <= seg.Coarsest && w.From <= seg.MaxTime && w.To > seg.MinTime {
				some, someOf = append(some, *w), append(someOf, whose[i])
			}
		}
		if len(some) == 0 {
			continue
		}
		f, err := v.driver.files.open(ctx, v.sack, seg)
		if err != nil {
			return nil, err
		}
		err = f.FindSealed(ctx, some, func(i int, found []ingest.Measure) error {
			rows[someOf[i]] = append(rows[someOf[i]], found...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for n := range rows {
		if !slices.IsSortedFunc(rows[n], byTime) { // segments are in the order of merges, not of time
			slices.SortFunc(rows[n], byTime)
		}
	}
	return rows, nil
}

// answer joins sealed rows with the aggregates of raw measures and cuts what has
// expired. Raw measures may reach back into sealed buckets, of which they then
// are a part only: the sealed row wins.
func answer(dst []ingest.Measure, q *ingest.Query, raw, sealed []ingest.Measure) []ingest.Measure {
	from := ingest.Floor(q.From, q.Granularity)
	newest := int64(ingest.MinTime)
	if n := len(raw); n > 0 {
		newest = raw[n-1].Time
	}
	from = max(from, oldestKept(q.Policy, q.Granularity, newest))
	sealed = sealed[sort.Search(len(sealed), func(i int) bool { return sealed[i].Time >= from }):]
	open := aggregate.Series(nil, raw, q.Granularity, q.Method, from, q.To)
	dst = slices.Grow(dst, len(sealed)+len(open))
	for len(sealed) > 0 && len(open) > 0 {
		switch s, o := sealed[0], open[0]; {
		case s.Time < o.Time:
			dst, sealed = append(dst, s), sealed[1:]
		case s.Time > o.Time:
			dst, open = append(dst, o), open[1:]
		default:
			dst, sealed, open = append(dst, s), sealed[1:], open[1:]
		}
	}
	return append(append(dst, sealed...), open...)
}

// oldestKept returns the earliest bucket of a granularity that a policy still keeps
// when a metric's newest measure is at newest; MinTime if it keeps all.
func oldestKept(p *ingest.ArchivePolicy, g time.Duration, newest int64) int64 {
	def, _ := p.Find(g)
	return aggregate.Oldest(ingest.Floor(newest, g), def.Timespan)
}

func byTime(a, b ingest.Measure) int { return cmp.Compare(a.Time, b.Time) }

// byWant sorts wants as sealed segments are sorted, and whose wants they are along.
type byWant struct {
	wants []segment.Want
	whose []int
}

func (b byWant) Len() int { return len(b.wants) }
func (b byWant) Swap(i, j int) {
	b.wants[i], b.wants[j] = b.wants[j], b.wants[i]
	b.whose[i], b.whose[j] = b.whose[j], b.whose[i]
}
func (b byWant) Less(i, j int) bool {
	x, y := &b.wants[i], &b.wants[j]
	return cmp.Or(segment.CompareMetrics(x.Metric, y.Metric), cmp.Compare(x.Granularity, y.Granularity), cmp.Compare(x.Method, y.Method)) < 0
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
