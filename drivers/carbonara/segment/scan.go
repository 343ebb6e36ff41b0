package segment

import (
	"context"
	"time"

	"millrace/ingest"
)

// A groupScan goes through all pages of a segment, one row group in memory.
type groupScan struct {
	ctx     context.Context
	file    *Reader
	reader  groupReader
	group   int // the next to fetch
	page    int // of the open row group
	begin   int // the first row of the page that has not been given out
	size    int // rows of the page
	columns []int
	pages   []int
	failure error
}

func newGroupScan(ctx context.Context, f *Reader) groupScan {
	s := groupScan{ctx: ctx, file: f}
	for i := range f.schema {
		s.columns = append(s.columns, i)
	}
	return s
}

// nextPage decodes the next page of every column; false at the end or on an error.
func (s *groupScan) nextPage() bool {
	if s.failure != nil {
		return false
	}
	s.page++
	if s.reader.group == nil || s.page >= len(s.pages) {
		if s.group == len(s.file.groups) {
			return false
		}
		if s.failure = s.nextGroup(); s.failure != nil {
			return false
		}
	}
	g := s.reader.group
	s.begin, s.size = 0, int(g.starts[s.page+1]-g.starts[s.page])
	if err := s.reader.readPage(s.columns, s.page); err != nil {
		s.failure = s.file.failed(err)
		return false
	}
	s.reader.columns[0].fillRuns()
	return true
}

func (s *groupScan) nextGroup() error {
	s.reader.open(s.file, s.group)
	s.group++
	s.page = 0
	s.pages = s.pages[:0]
	for p := range len(s.reader.group.starts) - 1 {
		s.pages = append(s.pages, p)
	}
	if err := s.reader.fetch(s.ctx, s.columns, s.pages); err != nil {
		return s.file.failed(err)
	}
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
	groupScan
	metric, policy runCursor
	measures       []ingest.Measure // of the page
	current        RawRun
}

// ScanRaw begins a scan of a raw segment.
func (f *Reader) ScanRaw(ctx context.Context) *RawScan {
	f.must(Raw)
	return &RawScan{groupScan: newGroupScan(ctx, f)}
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
	groupScan
	metric, policy runCursor
	current        StateRow
}

// ScanState begins a scan of a state segment.
func (f *Reader) ScanState(ctx context.Context) *StateScan {
	f.must(State)
	return &StateScan{groupScan: newGroupScan(ctx, f)}
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
	groupScan
	metric, span runCursor
	values       [][]float64 // of the page, per asked method
	present      [][]bool
	mean         derivedMean
	current      SealedRun
}

// ScanSealed begins a scan of a sealed segment.
func (f *Reader) ScanSealed(ctx context.Context) *SealedScan {
	f.must(Sealed)
	s := &SealedScan{
		groupScan: newGroupScan(ctx, f),
		values:    make([][]float64, len(f.asked)), present: make([][]bool, len(f.asked)),
	}
	s.current.Values = make([][]float64, len(f.asked))
	s.current.Present = make([][]bool, len(f.asked))
	return s
}

func (s *SealedScan) Next() bool {
	if s.begin == s.size {
		if !s.nextPage() {
			return false
		}
		s.takePage()
	}
	metrics, spans := &s.reader.columns[0], &s.reader.columns[1]
	begin, end := s.begin, min(s.metric.at(metrics.runs, s.begin), s.span.at(spans.runs, s.begin))
	s.current.Metric, s.current.Granularity = metrics.metric(s.metric.run), time.Duration(spans.span(s.span.run))
	s.current.Times = s.reader.columns[2].ints[begin:end:end]
	for i := range s.values {
		s.current.Values[i], s.current.Present[i] = nil, nil
		if s.present[i] != nil && anyOf(s.present[i][begin:end]) {
			s.current.Values[i], s.current.Present[i] = s.values[i][begin:end:end], s.present[i][begin:end:end]
		}
	}
	s.begin = end
	return true
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
