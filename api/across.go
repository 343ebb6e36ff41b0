package api

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/drivers/aggregate"
	"millrace/index"
	"millrace/ingest"
)

// This file is what everything that reads several metrics has in common: which
// series, of which granularities, within which memory.

// A column is one series of a question.
type column struct {
	ref    aggregate.Reference // as the operations have it
	metric ingest.MetricID
	policy *ingest.ArchivePolicy
	method ingest.Method
	path   []string // the keys under which the answer has the series when it stands alone
}

// A question is a computation over several series.
type question struct {
	across
	tree          aggregate.Operation
	columns       []column
	granularities []time.Duration // coarsest first

	ahead [][][]ingest.Measure // by granularity and column, what was read already; nil: nothing was
}

// across are the parameters of a question.
type across struct {
	start, stop       int64
	hasStart, hasStop bool
	granularity       time.Duration // 0: all that the series have in common
	fill              aggregate.Fill
	overlap           float64 // percent that is needed where nothing is filled; < 0: filled
	resample          resample
	emptyOverlaps     bool // no data at all is no lack of overlap
}

const mustBeFill = "Must be a float, 'dropna', 'null', 'ffill', 'bfill', 'full_ffill' or 'full_bfill'"

// across reads the parameters. Without fill and needed_overlap absent is meant.
func (q *request) across(values url.Values, absent aggregate.Fill, overlap float64) (a across, err error) {
	a.hasStart, a.hasStop = values.Has("start"), values.Has("stop")
	if a.start, err = q.instant(values, "start", ingest.MinTime); err != nil {
		return a, err
	}
	if a.stop, err = q.instant(values, "stop", ingest.MaxTime); err != nil {
		return a, err
	}
	text, given, err := scalar(values, "granularity")
	if err != nil {
		return a, err
	}
	if given {
		if a.granularity, err = gnocchi.ParseTimespan(text); err != nil {
			return a, badArgument("granularity", err.Error())
		}
	}
	a.fill, a.overlap = absent, overlap
	if text, given, err = scalar(values, "needed_overlap"); err != nil {
		return a, err
	}
	if given {
		needed, ok := gnocchi.ParseFloat(text)
		if !ok || needed != needed {
			return a, badArgument("needed_overlap", "Must be a number")
		}
		a.fill, a.overlap = aggregate.Fill{}, max(needed, 0)
	}
	if text, given, err = scalar(values, "fill"); err != nil || !given {
		return a, err
	}
	fill, ok := aggregate.ParseFill(text)
	if !ok {
		number, isNumber := gnocchi.ParseFloat(text)
		if !isNumber {
			return a, badArgument("fill", mustBeFill)
		}
		fill = aggregate.Fill{Kind: aggregate.FillNumber, Number: number}
	}
	a.fill, a.overlap = fill, -1
	return a, nil
}

// lookup finds metrics. missing are the indexes of those that don't exist.
func (q *request) lookup(ids []ingest.MetricID) (infos []index.MetricInfo, missing []int, err error) {
	entries := make([]ingest.Entry, len(ids))
	for i, id := range ids {
		entries[i].Metric = id
	}
	infos = make([]index.MetricInfo, len(ids))
	missing, err = q.index.Lookup(q.ctx, entries, infos)
	return infos, missing, err
}

// permitAll asks whether the caller may do something to all metrics.
func (q *request) permitAll(r auth.Rule, ids []ingest.MetricID, infos []index.MetricInfo) error {
	for i := range infos {
		if err := q.permitTarget(r, ids[i], infos[i].Creator); err != nil {
			return err
		}
	}
	return nil
}

// policies finds archive policies, each once.
type policies struct {
	index *index.Index
	found map[string]*ingest.ArchivePolicy
}

func (p *policies) get(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	if policy := p.found[name]; policy != nil {
		return policy, nil
	}
	policy, err := p.index.Policy(ctx, name)
	if err == nil {
		if p.found == nil {
			p.found = map[string]*ingest.ArchivePolicy{}
		}
		p.found[name] = policy
	}
	return policy, err
}

// notAggregable is the answer to a question that can't be computed.
func notAggregable(reason string, detail any) error {
	return badRequest(cause{cause: "Metrics cannot be aggregated", reason: reason, detail: detail})
}

// references are the columns' references, each once.
func references(columns []column) []any {
	seen := map[aggregate.Reference]bool{}
	list := []any{}
	for _, c := range columns {
		if !seen[c.ref] {
			seen[c.ref] = true
			list = append(list, []any{c.ref.Metric, c.ref.Method})
		}
	}
	return list
}

// series finds the granularities and methods of the columns, and complains of them in
// Gnocchi's order.
func (asked *question) series() error {
	if err := asked.common(); err != nil {
		return err
	}
	if err := asked.methods(); err != nil {
		return err
	}
	return asked.given()
}

// common finds the granularities that all columns have, unless one is asked for.
func (asked *question) common() error {
	if asked.granularity != 0 {
		return nil
	}
	all := make([]*ingest.ArchivePolicy, len(asked.columns))
	for i, c := range asked.columns {
		all[i] = c.policy
	}
	if asked.granularities = aggregate.Common(all); len(asked.granularities) == 0 {
		return notAggregable("No granularity match", references(asked.columns))
	}
	return nil
}

// given takes the granularity that is asked for, which all columns must have.
func (asked *question) given() error {
	if asked.granularity == 0 {
		return nil
	}
	var missing []any
	for _, c := range asked.columns {
		if _, ok := c.policy.Find(asked.granularity); !ok {
			missing = append(missing, []any{c.ref.Metric, c.ref.Method, asked.granularity.Seconds()})
		}
	}
	if missing != nil {
		return notAggregable("Granularities are missing", missing)
	}
	asked.granularities = []time.Duration{asked.granularity}
	return nil
}

// maxSteps bounds what one question computes: a second or two.
const maxSteps = 1 << 30

// compute answers a question with one table for each granularity. What the tables
// hold stays counted in s.
func (asked *question) compute(s *share) ([]*aggregate.Table, error) {
	defer s.leave()
	refs := make([]aggregate.Reference, len(asked.columns))
	for i, c := range asked.columns {
		refs[i] = c.ref
	}
	limits := aggregate.Limits{Values: 2 * s.q.config.MaxPoints, Steps: maxSteps}
	tables := make([]*aggregate.Table, 0, len(asked.granularities))
	for i := range asked.granularities {
		table, rows, err := asked.read(s, i, s.left())
		if err != nil {
			return nil, err
		}
		if asked.overlap >= 0 && !(asked.emptyOverlaps && len(table.Times) == 0) {
			err = table.Overlap(asked.overlap, asked.hasStart, asked.hasStop)
		} else if asked.overlap < 0 {
			table.Fill(asked.fill)
		}
		if err == nil {
			table, err = aggregate.Evaluate(asked.tree, table, refs, limits)
		}
		if err != nil {
			s.free(rows)
			return nil, s.q.explain(err, asked)
		}
		kept := len(table.Times) * len(table.Columns)
		if err := s.hold(kept - rows); err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	return tables, nil
}

// errNoSeries says that there is no metric for a part of the operations.
var errNoSeries = errors.New("no metric for an operation")

// explain makes an answer of why a question can't be computed.
func (q *request) explain(err error, asked *question) error {
	if limit, ok := errors.AsType[*aggregate.LimitError](err); ok {
		if limit.Steps {
			return notAggregable("This takes too many steps to compute: "+lessWork+", or a shorter rolling window", nil)
		}
		return q.tooManyPoints()
	}
	if problem, ok := errors.AsType[*aggregate.UnaggregableError](err); ok {
		if problem.Problem == aggregate.NoSeries {
			return errNoSeries
		}
		return notAggregable(problem.Reason, references(asked.columns))
	}
	return err
}

// read makes a table of the series of one granularity, which had so many rows.
func (asked *question) read(s *share, granularity, most int) (table *aggregate.Table, rows int, err error) {
	if asked.ahead != nil {
		return asked.takeAhead(s, granularity, most)
	}
	return asked.gather(s, asked.granularities[granularity], most)
}

// rowsPerFetch is about how many rows are asked of the driver at one time.
const rowsPerFetch = 1 << 18

// gather reads the series of one granularity, several at a time, of at most so many
// points in all. They are read in the order in which drivers keep them, so that
// neighbours come together, and stand in the table in the question's order.
func (asked *question) gather(s *share, g time.Duration, most int) (table *aggregate.Table, rows int, err error) {
	from, to := asked.resample.bounds(asked.start, asked.stop)
	order := asked.byPlace(s.q.sacks)
	var all aggregate.Gather
	queries, dst := []ingest.Query{}, [][]ingest.Measure{}
	for done := 0; done < len(order); {
		queries = queries[:0]
		for expected, atMost := 0, 0; done+len(queries) < len(order) && expected < rowsPerFetch && atMost < 8*rowsPerFetch; {
			c := &asked.columns[order[done+len(queries)]]
			query := c.query(g, from, to)
			rows := expectedRows(c.policy, g, from, to)
			atMost += rows
			if rows == rowsPerFetch { // or any number
				query.Limit = most - all.Points() + 1
			}
			if done > 0 { // as many as there were, and more
				rows = min(rows, 2*all.Points()/done+1)
			}
			expected += rows
			queries = append(queries, query)
		}
		dst = append(dst[:0], make([][]ingest.Measure, len(queries))...)
		if err := s.fetch(queries, dst); err != nil {
			return nil, 0, err
		}
		before := all.Points()
		for i, rows := range dst {
			all.Put(order[done+i], rows)
		}
		done += len(queries)
		if all.Points() > most {
			return nil, 0, s.q.tooManyPoints()
		}
		if err := s.hold(all.Points() - before); err != nil {
			return nil, 0, err
		}
	}
	if table, err = all.Table(g, most); err != nil {
		return nil, 0, s.q.explain(err, asked)
	}
	return table, all.Points(), nil
}

// byPlace orders the columns by sack and metric.
func (asked *question) byPlace(sacks int) []int {
	order := make([]int, len(asked.columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return byPlace(asked.columns[a].metric, asked.columns[b].metric, sacks)
	})
	return order
}

// expectedRows is how many rows a read may bring.
func expectedRows(policy *ingest.ArchivePolicy, g time.Duration, from, to int64) int {
	n := int64(rowsPerFetch)
	if d, ok := policy.Find(g); ok && d.Points > 0 {
		n = min(n, d.Points)
	}
	if from > ingest.MinTime && to < ingest.MaxTime && to > from {
		n = min(n, int64(uint64(to-from)/uint64(g))+1)
	}
	return int(n)
}

// cutRows returns the rows of a table's column that were asked for.
func (asked *question) cutRows(t *aggregate.Table, column int) []ingest.Measure {
	rows := t.Rows(column, asked.overlap < 0 && asked.fill.Finite())
	switch r := asked.resample; {
	case r.calendar != 0:
		return aggregate.RangeCalendar(rows, r.calendar, asked.start, asked.stop)
	case r.every != 0:
		return aggregate.Range(rows, r.every, asked.start, asked.stop)
	}
	return rows
}

// writeList writes the rows of the only column of every table, as a list.
func (asked *question) writeList(out *stream, tables []*aggregate.Table) {
	out.text("[")
	for _, t := range tables {
		out.rows(asked.cutRows(t, 0), asked.resample.column(t.Granularity))
	}
	out.text("]")
}

// writeMeasures writes what /v1/aggregates has under "measures": the only series, or
// each under its path.
func (asked *question) writeMeasures(out *stream, tables []*aggregate.Table) {
	if aggregate.Aggregated(asked.tree) {
		out.text(`{"aggregated": `)
		asked.writeList(out, tables)
		out.text("}")
		return
	}
	order := make([]int, len(asked.columns))
	for i := range order {
		order[i] = i
	}
	byPath := func(a, b int) int { return slices.Compare(asked.columns[a].path, asked.columns[b].path) }
	slices.SortStableFunc(order, byPath)
	order = slices.CompactFunc(order, func(a, b int) bool { return byPath(a, b) == 0 })
	var open []string
	out.text("{")
	for n, i := range order {
		path := asked.columns[i].path
		same := 0
		for same < len(open) && open[same] == path[same] {
			same++
		}
		if n > 0 {
			out.text(strings.Repeat("}", len(open)-1-same) + ", ")
		}
		for k := same; k < len(path); k++ {
			out.value(path[k])
			out.text(": ")
			if k+1 < len(path) {
				out.text("{")
			}
		}
		open = path
		out.text("[")
		for _, t := range tables {
			out.rows(asked.cutRows(t, i), asked.resample.column(t.Granularity))
		}
		out.text("]")
	}
	out.text(strings.Repeat("}", max(len(open), 1)))
}
