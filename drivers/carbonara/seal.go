package carbonara

import (
	"context"
	"errors"
	"slices"
	"time"

	"millrace/drivers/aggregate"
	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A seal turns the raw measures of buckets that no measure can change any more
// into sealed rows. It reads the state and all raw segments that the manifest
// shows, metric by metric, and writes them anew: what is sealed, the raw measures
// that are still needed, and the state.
//
// Only what the manifest shows counts: a measure that was in time when it was
// judged may still sit in the buffer while the newest timestamp moves on.
type seal struct {
	w        *writer
	manifest *manifest
	buried   map[ingest.MetricID]bool
	methods  []ingest.Method // the columns of the sealed segments
	policies map[string]*sealPolicy
	marks    []mark
	run      segment.SealedRun // scratch, with its columns
	values   [][]float64
	present  [][]bool

	raw, state *sink
	sealed     *slotSink
}

// A sealPolicy is what sealing needs to know of an archive policy.
type sealPolicy struct {
	*policyRules
	granularities []time.Duration // ascending, as rows are sorted
	plan          *aggregate.Plan
	column        []int // of each of the plan's methods in the segment
	values        []float64
	present       []bool
}

// A mark is how far a metric is sealed now.
type mark struct {
	metric ingest.MetricID
	sealed int64
}

// Sealed is how far the log had been applied when the last seal began: what it left are
// the state's segments.
func (w *writer) Sealed() ingest.Offset {
	to := ingest.Offset(0)
	for _, s := range w.current().of(segment.State) {
		to = max(to, s.To)
	}
	return to
}

// sealNow does one seal, of all that a manifest shows; nobody else replaces any of it meanwhile.
func (w *writer) sealNow(ctx context.Context, m *manifest) error {
	began := time.Now()
	defer timed(&w.driver.stats.sealNanos, began)
	w.freshTaken()
	err := w.sealWith(ctx, m, w.policyNames())
	if err != nil {
		w.freshAgain()
	}
	return err
}

func (w *writer) sealWith(ctx context.Context, m *manifest, policies []string) error {
	s := &seal{w: w, manifest: m, buried: w.buriedNow(), policies: make(map[string]*sealPolicy)}
	raw, state := m.of(segment.Raw), m.of(segment.State)
	if err := s.resolve(ctx, policies); err != nil {
		return err
	}
	from, to := bounds(raw, m.Applied.Offset)
	s.raw = w.newSink(w.driver.rawEncoder(), entry{Info: segment.Info{Kind: segment.Raw}, From: from, To: to,
		Level: remainderLevel})
	s.state = w.newSink(segment.NewStateWriter(), entry{Info: segment.Info{Kind: segment.State}, From: from, To: to})
	oldest, newest := timesOf(raw)
	s.sealed = w.newSlotSink(s.methods, entry{Info: segment.Info{Kind: segment.Sealed}, From: from, To: to},
		m.rawRows()-m.LastSeal.RawRows, oldest, newest)
	defer s.raw.drop()
	defer s.state.drop()
	defer s.sealed.drop()
	if err := s.walk(ctx, raw, state); err != nil {
		return err
	}
	for _, out := range []*sink{s.raw, s.state} {
		if err := out.close(ctx, false); err != nil {
			return err
		}
	}
	w.driver.encoders.Put(s.raw.enc)
	sealed, err := s.sealed.close(ctx)
	if err != nil {
		return err
	}
	return s.commit(ctx, raw, state, sealed)
}

// bounds is what offsets raw segments cover; nothing at the watermark when there are none.
func bounds(raw []entry, applied ingest.Offset) (from, to ingest.Offset) {
	if len(raw) == 0 {
		return applied, applied
	}
	from = raw[0].From
	for _, s := range raw {
		from, to = min(from, s.From), max(to, s.To)
	}
	return from, to
}

// timesOf is what times segments cover; they may have none.
func timesOf(segments []entry) (from, to int64) {
	from, to = ingest.MaxTime, ingest.MinTime
	for i := range segments {
		if segments[i].Rows > 0 {
			from, to = min(from, segments[i].MinTime), max(to, segments[i].MaxTime)
		}
	}
	return min(from, to), to
}

func (s *seal) commit(ctx context.Context, raw, state, sealed []entry) error {
	w := s.w
	now := w.driver.config.Now().UTC()
	rows := int64(0)
	for _, seg := range s.raw.segments {
		rows += seg.Rows
	}
	return w.commit(ctx, func(m *manifest) error {
		if err := m.replace(raw, s.raw.segments, now); err != nil {
			return err
		}
		if err := m.replace(state, s.state.segments, now); err != nil {
			return err
		}
		m.Segments = append(m.Segments, sealed...)
		m.LastSeal = lastSeal{At: now, RawRows: rows}
		return nil
	}, func() {
		for _, k := range s.marks {
			if i, ok := w.table.index[k.metric]; ok {
				w.table.metrics[i].sealed = max(w.table.metrics[i].sealed, k.sealed)
			}
		}
		w.driver.stats.seals.Add(1)
		w.driver.stats.sealedBytes.Add(uint64(bytesOf(sealed) + bytesOf(s.raw.segments) + bytesOf(s.state.segments)))
	})
}

// resolve looks the policies up and chooses the columns: what any of them asks for.
func (s *seal) resolve(ctx context.Context, names []string) error {
	var methods ingest.MethodSet
	for _, name := range names {
		p, err := s.w.policy(ctx, name)
		if err != nil {
			return err
		}
		if p == nil {
			continue // its metrics stay as they are
		}
		rules := &policyRules{name: name}
		rules.set(p)
		set := p.Methods
		methods.Union(set)
		if set.Has(ingest.Sum) && set.Has(ingest.Count) {
			set.Remove(ingest.Mean) // readers take the quotient
		}
		gs := p.Granularities()
		slices.Reverse(gs)
		s.policies[name] = &sealPolicy{policyRules: rules, granularities: gs, plan: aggregate.NewPlan(set.List())}
	}
	s.methods = methods.List()
	for _, p := range s.policies {
		n := len(p.plan.Methods())
		p.column, p.values, p.present = make([]int, n), make([]float64, n), make([]bool, n)
		for k, m := range p.plan.Methods() {
			p.column[k], _ = slices.BinarySearch(s.methods, m)
		}
	}
	s.values, s.present = make([][]float64, len(s.methods)), make([][]bool, len(s.methods))
	s.run.Values, s.run.Present = make([][]float64, len(s.methods)), make([][]bool, len(s.methods))
	return nil
}

// walk goes through state and raw measures side by side.
func (s *seal) walk(ctx context.Context, raw, state []entry) error {
	merge, err := s.w.newRawMerge(ctx, raw)
	if err != nil {
		return err
	}
	defer merge.close()
	states, err := s.w.newStateWalk(ctx, state)
	if err != nil {
		return err
	}
	defer states.close()
	// A metric may have neither state nor raw rows and yet a late count: not possible,
	// as only a metric that has a newest timestamp can have late measures.
	more := merge.next()
	for more || states.more() {
		if err := ctx.Err(); err != nil {
			return err
		}
		row := segment.StateRow{Newest: ingest.MinTime, Sealed: ingest.MinTime}
		var measures []ingest.Measure
		switch c := order(more, merge, states); {
		case c <= 0: // this metric has raw measures
			row.Metric, row.Policy, measures = merge.metric, merge.policy, merge.measures
			if c == 0 {
				known := states.take()
				row.Newest, row.Late, row.Sealed = known.Newest, known.Late, known.Sealed
			}
			if err := s.metric(ctx, &row, measures, merge.late[row.Metric]); err != nil {
				return err
			}
			more = merge.next()
		default:
			row = states.take()
			if err := s.metric(ctx, &row, nil, merge.late[row.Metric]); err != nil {
				return err
			}
		}
	}
	return errors.Join(merge.err(), states.err())
}

// order says which comes first, the merge's metric (-1), the state's (1), or both.
func order(more bool, merge *rawMerge, states *stateWalk) int {
	switch {
	case !states.more():
		return -1
	case !more:
		return 1
	}
	return segment.CompareMetrics(merge.metric, states.head().Metric)
}

// metric seals what can be of one metric and passes on the rest.
func (s *seal) metric(ctx context.Context, row *segment.StateRow, measures []ingest.Measure, late uint64) error {
	if s.buried[row.Metric] {
		return nil
	}
	row.Late = max(row.Late, late)
	if n := len(measures); n > 0 {
		row.Newest = max(row.Newest, measures[n-1].Time)
	}
	if p := s.policies[row.Policy]; p != nil && len(measures) > 0 {
		if horizon := p.horizon(row.Newest); horizon > row.Sealed {
			for _, g := range p.granularities {
				if err := s.granularity(ctx, p, g, row, horizon, measures); err != nil {
					return err
				}
			}
			row.Sealed = horizon
			s.marks = append(s.marks, mark{row.Metric, horizon})
		}
		measures = stillNeeded(p, row.Sealed, measures)
	}
	if len(measures) > 0 {
		run := segment.RawRun{Metric: row.Metric, Policy: row.Policy, Measures: measures}
		if err := s.raw.addRaw(ctx, run); err != nil {
			return err
		}
	}
	return s.state.addState(ctx, *row)
}

// stillNeeded cuts raw measures that only sealed buckets hold: they are kept from the
// start of the first unsealed bucket of every granularity, with one predecessor
// for differences.
func stillNeeded(p *sealPolicy, sealed int64, measures []ingest.Measure) []ingest.Measure {
	if sealed == ingest.MinTime {
		return measures
	}
	cut := sealed
	for _, g := range p.granularities {
		cut = min(cut, ingest.Floor(sealed, g))
	}
	i, _ := slices.BinarySearchFunc(measures, cut, func(m ingest.Measure,
		t int64) int {
		return byTime(m, ingest.Measure{Time: t})
	})
	if i > 0 && p.policy.Methods.AnyRate() {
		i--
	}
	return measures[i:]
}

// granularity seals the buckets of one granularity that end after the old mark and
// not after the new one.
func (s *seal) granularity(ctx context.Context, p *sealPolicy, g time.Duration, row *segment.StateRow, horizon int64,
	measures []ingest.Measure) error {
	from, to := ingest.Floor(row.Sealed, g), ingest.Floor(horizon, g)
	from = max(from, oldestKept(p.policy, g, row.Newest))
	def, _ := p.policy.Find(g)
	s.begin()
	i, _ := slices.BinarySearchFunc(measures, from, func(m ingest.Measure,
		t int64) int {
		return byTime(m, ingest.Measure{Time: t})
	})
	for i < len(measures) {
		start := ingest.Floor(measures[i].Time, g)
		if start >= to {
			break
		}
		j := aggregate.BucketEnd(measures, i, g)
		if start >= from {
			p.plan.Bucket(measures, i, j, p.values, p.present)
			s.append(p, start)
			if len(s.run.Times) == sealChunk {
				if err := s.end(ctx, row.Metric, g, def.Timespan); err != nil {
					return err
				}
				s.begin()
			}
		}
		i = j
	}
	return s.end(ctx, row.Metric, g, def.Timespan)
}

// sealChunk is how many rows of a series are computed before they are encoded.
const sealChunk = 1 << 12

func (s *seal) begin() {
	s.run.Times = s.run.Times[:0]
	for k := range s.values {
		s.values[k], s.present[k] = s.values[k][:0], s.present[k][:0]
	}
}

// append adds the bucket that the plan has just computed.
func (s *seal) append(p *sealPolicy, start int64) {
	s.run.Times = append(s.run.Times, start)
	for k, c := range p.column {
		s.values[c] = append(s.values[c], p.values[k])
		s.present[c] = append(s.present[c], p.present[k])
	}
}

// end gives the rows of a metric and granularity to the segment. A method that the
// metric's policy doesn't have has no values.
func (s *seal) end(ctx context.Context, id ingest.MetricID, g, timespan time.Duration) error {
	if len(s.run.Times) == 0 {
		return nil
	}
	s.run.Metric, s.run.Granularity = id, g
	for c := range s.values {
		s.run.Values[c], s.run.Present[c] = s.values[c], s.present[c]
		if len(s.values[c]) == 0 {
			s.run.Values[c], s.run.Present[c] = nil, nil
		}
	}
	return s.sealed.add(ctx, s.run, timespan)
}

// freshTaken clears the marks of new measures, for a seal that looks at all that
// has been flushed.
func (w *writer) freshTaken() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.table.metrics {
		w.table.metrics[i].fresh = false
	}
}

// freshAgain is for a seal that has failed: everything counts as new.
func (w *writer) freshAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.table.index {
		w.table.metrics[i].fresh = true
	}
}

// A stateWalk goes through state segments in order.
type stateWalk struct {
	scans  []*segment.StateScan
	names  []string // of their segments
	row    segment.StateRow
	ok     bool
	failed error
	set    *scanSet
	pace   pace
}

// close ends what is being read ahead.
func (s *stateWalk) close() { s.set.close() }

func (w *writer) newStateWalk(ctx context.Context, segments []entry) (*stateWalk, error) {
	set, err := w.openAll(ctx, segments)
	if err != nil {
		return nil, err
	}
	s := &stateWalk{set: set}
	for _, seg := range segments {
		f := set.of(&seg)
		s.scans, s.names = append(s.scans, f.ScanState(ctx)), append(s.names, seg.Name)
	}
	s.advance()
	return s, nil
}

func (s *stateWalk) advance() {
	for s.ok = false; len(s.scans) > 0 && s.failed == nil; s.scans, s.names = s.scans[1:], s.names[1:] {
		if s.scans[0].Next() {
			s.row, s.ok = s.scans[0].Row(), true
			return
		}
		if err := s.scans[0].Err(); err != nil {
			s.failed = &segmentError{s.names[0], err}
		}
	}
}

func (s *stateWalk) more() bool             { return s.ok }
func (s *stateWalk) head() segment.StateRow { return s.row }
func (s *stateWalk) err() error             { return s.failed }

func (s *stateWalk) take() segment.StateRow {
	row := s.row
	s.advance()
	s.pace.spent(1)
	return row
}
