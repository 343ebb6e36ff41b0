package segment

import (
	"context"
	"time"

	"millrace/ingest"
)

// A groupScan goes through the pages of a segment that may hold rows with
// from ≤ time < to. It holds one row group in memory and reads the next one meanwhile;
// the first is read as soon as the scan is made. When a scan is left before its end,
// what is being read is forgotten.
type groupScan struct {
	ctx      context.Context
	file     *Reader
	from, to int64 // MaxTime is no end
	reader   groupReader
	group    int              // the one that is being read
	ahead    chan *groupAhead // gets it; nil at the end
	free     *groupAhead      // memory of the one before
	page     int              // index of pages, of the open row group
	begin    int              // the first row of the page that has not been given out
	size     int              // rows of the page
	columns  []int
	pages    []int // of the open row group
	failure  error
}

// A groupAhead is a row group that is read before it is needed.
type groupAhead struct {
	fetched fetched
	pages   []int
	err     error
}

func newGroupScan(ctx context.Context, f *Reader, from, to int64) *groupScan {
	s := &groupScan{ctx: ctx, file: f, from: from, to: to, group: -1, free: new(groupAhead)}
	for i := range f.schema {
		s.columns = append(s.columns, i)
	}
	s.readAhead()
	return s
}

// readAhead begins to read the next row group that has pages of the scan.
func (s *groupScan) readAhead() {
	next := s.free
	s.ahead, next.pages = nil, next.pages[:0]
	for len(next.pages) == 0 {
		if s.group++; s.group >= len(s.file.groups) {
			return
		}
		g := &s.file.groups[s.group]
		for p := range len(g.starts) - 1 {
			if g.overlaps(p, s.from, s.to) {
				next.pages = append(next.pages, p)
			}
		}
	}
	g := &s.file.groups[s.group]
	s.ahead = make(chan *groupAhead, 1)
	if s.file.whole != nil {
		next.err = next.fetched.read(s.ctx, s.file, g, s.columns, next.pages)
		s.ahead <- next
		return
	}
	go func(ahead chan<- *groupAhead) {
		next.err = next.fetched.read(s.ctx, s.file, g, s.columns, next.pages)
		ahead <- next
	}(s.ahead)
}

// overlaps says whether a page may hold rows with from ≤ time < to; MaxTime is no end.
func (g *rowGroup) overlaps(page int, from, to int64) bool {
	return g.times[page][1] >= from && (g.times[page][0] < to || to == ingest.MaxTime)
}

// nextPage decodes the next page of every column; false at the end or on an error.
func (s *groupScan) nextPage() bool {
	if s.failure != nil {
		return false
	}
	s.page++
	if s.reader.group == nil || s.page >= len(s.pages) {
		if s.ahead == nil {
			return false
		}
		if s.failure = s.nextGroup(); s.failure != nil {
			return false
		}
	}
	g, page := s.reader.group, s.pages[s.page]
	s.begin, s.size = 0, int(g.starts[page+1]-g.starts[page])
	if err := s.reader.readPage(s.columns, page); err != nil {
		s.failure = s.file.failed(err)
		return false
	}
	s.reader.columns[0].fillRuns()
	return true
}

// nextGroup takes the row group over that was read ahead, and has the next one read.
func (s *groupScan) nextGroup() error {
	got := <-s.ahead
	if got.err != nil {
		return s.file.failed(got.err)
	}
	s.reader.open(s.file, s.group)
	s.reader.fetched, got.fetched = got.fetched, s.reader.fetched
	s.pages, got.pages = got.pages, s.pages
	s.page, s.free = 0, got
	s.readAhead()
	return nil
}

func (s *groupScan) Err() error { return s.failure }

// A runCursor is a position among the runs of a page.
type runCursor struct {
	run int
}

// at moves forward to the run that holds row, and returns where it ends.
func (c *runCursor) at(runs []pageRun, row int) (end int) {
	if row == 0 {
		c.run = 0
	}
	for int(runs[c.run].end) <= row {
		c.run++
	}
	return int(runs[c.run].end)
}

// A RawScan gives the runs of a raw segment. A metric's rows come in several runs
// where a page ends in them.
type RawScan struct {
	*groupScan
	metric, policy runCursor
	measures       []ingest.Measure // of the page
	current        RawRun
}

// ScanRaw begins a scan of a raw segment.
func (f *Reader) ScanRaw(ctx context.Context) *RawScan {
	f.must(Raw)
	return &RawScan{groupScan: newGroupScan(ctx, f, ingest.MinTime, ingest.MaxTime)}
}

// must panics if the segment is of another kind.
func (f *Reader) must(k Kind) {
	if f.kind != k {
		panic("BUG: segment " + f.name + " is " + string(f.kind) + ", not " + string(k))
	}
}

func (s *RawScan) Next() bool {
	if s.begin == s.size {
		if !s.nextPage() {
			return false
		}
		s.measures = s.measures[:0]
		times, values := s.reader.columns[2].ints, s.reader.columns[3].doubles
		for i, t := range times {
			s.measures = append(s.measures, ingest.Measure{Time: t, Value: values[i]})
		}
	}
	metrics, policies := &s.reader.columns[0], &s.reader.columns[1]
	end := min(s.metric.at(metrics.runs, s.begin), s.policy.at(policies.runs, s.begin))
	s.current = RawRun{metrics.metric(s.metric.run), policies.policy(s.policy.run), s.measures[s.begin:end:end]}
	s.begin = end
	return true
}

func (s *RawScan) Run() RawRun { return s.current }

// A StateScan gives the rows of a state segment.
type StateScan struct {
	*groupScan
	metric, policy runCursor
	current        StateRow
}

// ScanState begins a scan of a state segment.
func (f *Reader) ScanState(ctx context.Context) *StateScan {
	f.must(State)
	return &StateScan{groupScan: newGroupScan(ctx, f, ingest.MinTime, ingest.MaxTime)}
}

func (s *StateScan) Next() bool {
	if s.begin == s.size && !s.nextPage() {
		return false
	}
	s.metric.at(s.reader.columns[0].runs, s.begin)
	s.policy.at(s.reader.columns[1].runs, s.begin)
	s.current = s.reader.stateRow(s.reader.columns[0].metric(s.metric.run), s.policy.run, s.begin)
	s.begin++
	return true
}

// stateRow returns a row of the page; policy is the run that it is in.
func (r *groupReader) stateRow(id ingest.MetricID, policy, row int) StateRow {
	return StateRow{
		Metric: id, Policy: r.columns[1].policy(policy),
		Newest: r.columns[2].ints[row], Late: uint64(r.columns[3].ints[row]), Sealed: r.columns[4].ints[row],
	}
}

func (s *StateScan) Row() StateRow { return s.current }

// A SealedScan gives the runs of a sealed segment, with the mean in each row that
// has a sum and a count, if the segment was written with a mean. A series' rows
// come in several runs where a page ends in them.
type SealedScan struct {
	*groupScan
	metric, span runCursor
	values       [][]float64 // of the page, per asked method
	present      [][]bool
	mean         derivedMean
	current      SealedRun
}

// ScanSealed begins a scan of a sealed segment.
func (f *Reader) ScanSealed(ctx context.Context) *SealedScan {
	return f.ScanSealedWithin(ctx, ingest.MinTime, ingest.MaxTime)
}

// ScanSealedWithin begins a scan of the rows of a sealed segment with
// from ≤ time < to; MaxTime is no end. Pages without any are not read.
func (f *Reader) ScanSealedWithin(ctx context.Context, from, to int64) *SealedScan {
	f.must(Sealed)
	s := &SealedScan{
		groupScan: newGroupScan(ctx, f, from, to),
		values:    make([][]float64, len(f.asked)), present: make([][]bool, len(f.asked)),
	}
	s.current.Values = make([][]float64, len(f.asked))
	s.current.Present = make([][]bool, len(f.asked))
	return s
}

func (s *SealedScan) Next() bool {
	for {
		if s.begin == s.size {
			if !s.nextPage() {
				return false
			}
			s.takePage()
		}
		metrics, spans, times := &s.reader.columns[0], &s.reader.columns[1], s.reader.columns[timeAt].ints
		run := min(s.metric.at(metrics.runs, s.begin), s.span.at(spans.runs, s.begin))
		begin, end := narrow(times, s.begin, run, s.from, s.to)
		if s.begin = run; begin == end {
			continue
		}
		s.current.Metric, s.current.Granularity = metrics.metric(s.metric.run), time.Duration(spans.span(s.span.run))
		s.current.Times = times[begin:end:end]
		for i := range s.values {
			s.current.Values[i], s.current.Present[i] = nil, nil
			if s.present[i] != nil && anyOf(s.present[i][begin:end]) {
				s.current.Values[i], s.current.Present[i] = s.values[i][begin:end:end], s.present[i][begin:end:end]
			}
		}
		return true
	}
}

func (s *SealedScan) takePage() {
	for i, c := range s.file.columns {
		s.values[i], s.present[i] = nil, nil
		if c >= 0 {
			s.values[i], s.present[i] = s.reader.columns[c].doubles, s.reader.columns[c].present
		}
	}
	mean, sum, count := quotient(s.file.asked)
	if mean >= 0 && sum >= 0 && count >= 0 {
		s.values[mean], s.present[mean] = s.mean.derive(
			s.values[mean], s.present[mean], s.values[sum], s.present[sum], s.values[count], s.present[count])
	}
}

func (s *SealedScan) Run() SealedRun { return s.current }

func anyOf(flags []bool) bool {
	for _, f := range flags {
		if f {
			return true
		}
	}
	return false
}

// A derivedMean fills in the means that were left out.
type derivedMean struct {
	values  []float64
	present []bool
}

// derive returns the means of a page: the stored one, where there is one, or else
// the quotient of sum and count, where both are present.
func (d *derivedMean) derive(means []float64, hasMean []bool, sums []float64, hasSum []bool,
	counts []float64, hasCount []bool) ([]float64, []bool) {
	if hasSum == nil || hasCount == nil {
		return means, hasMean
	}
	d.values, d.present = d.values[:0], d.present[:0]
	for i := range hasSum {
		switch {
		case hasMean != nil && hasMean[i]:
			d.values, d.present = append(d.values, means[i]), append(d.present, true)
		case hasSum[i] && hasCount[i]:
			d.values, d.present = append(d.values, sums[i]/counts[i]), append(d.present, true)
		default:
			d.values, d.present = append(d.values, 0), append(d.present, false)
		}
	}
	return d.values, d.present
}
