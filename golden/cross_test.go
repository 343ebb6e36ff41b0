package golden_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"millrace/api/gnocchi"
	"millrace/api/operations"
	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// A stored is one series of a cross vector.
type stored struct {
	Method        string
	Granularities []struct {
		Granularity time.Duration `json:"granularity_ns"`
		Points      []point
	}
}

type crossInput struct{ Series map[string]stored }

type queryInput struct {
	Metrics map[string]struct {
		Policy  policy
		Batches [][]point
	}
}

// A crossOp is a question about several metrics.
type crossOp struct {
	References  [][2]string // of a query: the metrics and methods, in order
	Operations  any
	Start, Stop *instant
	Granularity *time.Duration `json:"granularity_ns"`
	Overlap     *float64       `json:"needed_overlap"`
	Fill        any
}

// A crossAnswer is one series of all, or one for each reference.
type crossAnswer struct {
	Error      failed
	Code       string
	Needed     number `json:"needed_percent"`
	Found      number `json:"found_percent"`
	Aggregated []row
	Series     []namedRows
}

type namedRows struct {
	Metric, Method string
	Rows           []row
}

// The original's names of problems.
var problemCodes = map[aggregate.Problem]string{
	aggregate.NoOverlap:     "no_overlap",
	aggregate.OverlapTooLow: "overlap_too_low",
	aggregate.WindowTooLong: "window_longer_than_series",
	aggregate.NotAligned:    "operands_not_aligned",
	aggregate.SeveralLeft:   "several_left",
}

func TestGoldenCross(t *testing.T) {
	golden(t, "cross", answerCross, func(in crossInput, op crossOp) crossAnswer {
		if several(op.Operations) { // R14
			return crossAnswer{Error: true, Code: "several_left"}
		}
		return answerCross(t, in, op)
	})
}

func answerCross(t *testing.T, in crossInput, op crossOp) crossAnswer {
	q := question{t: t, op: op, tree: treeOf(t, op.Operations)}
	names := slices.Sorted(maps.Keys(in.Series))
	for _, name := range names {
		q.refs = append(q.refs, aggregate.Reference{Metric: name, Method: in.Series[name].Method})
	}
	for _, g := range granularitiesOf(in.Series[names[0]]) {
		series := make([][]ingest.Measure, len(names))
		for i, name := range names {
			for _, kept := range in.Series[name].Granularities {
				if kept.Granularity == g {
					series[i] = aggregate.Range(measuresOf(kept.Points), g, op.Start.or(ingest.MinTime), op.Stop.or(ingest.MaxTime))
				}
			}
		}
		if !q.ask(g, series) {
			break
		}
	}
	return q.answer
}

// several says whether operations end in two operands of several series each.
func several(v any) bool {
	list, ok := v.([]any)
	if !ok || len(list) != 3 || list[0] == "metric" {
		return false
	}
	return list[0] != "aggregate" && wide(list[1]) && wide(list[2])
}

func wide(v any) bool {
	list, ok := v.([]any)
	if !ok || len(list) < 3 {
		return false
	}
	_, pair := list[1].([]any)
	return list[0] == "metric" && pair
}

func granularitiesOf(s stored) (list []time.Duration) {
	for _, g := range s.Granularities {
		list = append(list, g.Granularity)
	}
	slices.SortFunc(list, func(a, b time.Duration) int { return int(b - a) })
	return list
}

// A question is put at one granularity after another, until one fails.
type question struct {
	t      *testing.T
	op     crossOp
	tree   aggregate.Operation
	refs   []aggregate.Reference
	answer crossAnswer
}

func (q *question) ask(g time.Duration, series [][]ingest.Measure) bool {
	var all aggregate.Gather
	for _, rows := range series {
		all.Add(rows)
	}
	limits := aggregate.Limits{Values: 1 << 20, Steps: 1 << 20}
	table, err := all.Table(g, limits.Values)
	if err != nil {
		q.t.Fatal(err)
	}
	fill, overlap := fillOf(q.t, q.op)
	if overlap >= 0 {
		err = table.Overlap(overlap, q.op.Start != nil, q.op.Stop != nil)
	} else {
		table.Fill(fill)
	}
	if err == nil {
		table, err = aggregate.Evaluate(q.tree, table, q.refs, limits)
	}
	if err != nil {
		q.answer = problemOf(q.t, err)
		return false
	}
	q.gather(table, fill.Finite())
	return true
}

func (q *question) gather(table *aggregate.Table, finite bool) {
	for i, c := range table.Columns {
		var rows []row
		for _, m := range table.Rows(i, finite) {
			rows = append(rows, row{instant(m.Time), strconv.FormatInt(int64(table.Granularity), 10), number(m.Value)})
		}
		if aggregate.Aggregated(q.tree) {
			q.answer.Aggregated = append(q.answer.Aggregated, rows...)
			continue
		}
		ref := q.refs[c.Series]
		k := slices.IndexFunc(q.answer.Series, func(s namedRows) bool {
			return s.Metric == ref.Metric &&
				s.Method == ref.Method
		})
		if k < 0 {
			k = len(q.answer.Series)
			q.answer.Series = append(q.answer.Series, namedRows{Metric: ref.Metric, Method: ref.Method})
		}
		q.answer.Series[k].Rows = append(q.answer.Series[k].Rows, rows...)
	}
}

func problemOf(t *testing.T, err error) crossAnswer {
	t.Helper()
	t.Logf("refused: %v", err)
	problem, ok := errors.AsType[*aggregate.UnaggregableError](err)
	if !ok {
		t.Fatal(err)
	}
	return crossAnswer{Error: true, Code: problemCodes[problem.Problem], Needed: number(problem.Needed),
		Found: number(problem.Found)}
}

// fillOf is how holes are filled, or the overlap that is needed instead.
func fillOf(t *testing.T, op crossOp) (aggregate.Fill, float64) {
	switch fill := op.Fill.(type) {
	case nil:
		if op.Overlap != nil {
			return aggregate.Fill{}, *op.Overlap
		}
		return aggregate.Fill{}, 100
	case json.Number:
		v, err := fill.Float64()
		if err != nil {
			t.Fatal(err)
		}
		return aggregate.Fill{Kind: aggregate.FillNumber, Number: v}, -1
	default:
		parsed, ok := aggregate.ParseFill(fmt.Sprint(fill))
		if !ok {
			t.Fatalf("no fill: %v", fill)
		}
		return parsed, -1
	}
}

// treeOf reads operations, in which spans are nanoseconds.
func treeOf(t *testing.T, v any) aggregate.Operation {
	t.Helper()
	tree, err := operations.Parse(v, func(v any) (time.Duration, error) {
		ns, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if err != nil {
			return gnocchi.TimespanOf(v)
		}
		return time.Duration(ns), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestGoldenQuery(t *testing.T) {
	for _, run := range runs {
		if run.disturbed {
			continue
		}
		t.Run(run.name, func(t *testing.T) {
			golden(t, "query", func(t *testing.T, in queryInput, op crossOp) crossAnswer {
				return answerQuery(t, run.open, in, op)
			}, nil)
		})
	}
}

// answerQuery lets each metric live in a driver of its own.
func answerQuery(t *testing.T, open func(*testing.T, ingest.Policies) ingest.Driver, in queryInput,
	op crossOp) crossAnswer {
	sessions := map[string]*session{}
	for name, m := range in.Metrics {
		policies := &onePolicy{}
		s := &session{t: t, policies: policies, driver: open(t, policies), metric: ingest.NewMetricID()}
		s.setPolicy(mustComplete(&m.Policy))
		s.open()
		defer s.close()
		for _, batch := range m.Batches {
			s.record(measuresOf(batch))
		}
		sessions[name] = s
	}
	q := question{t: t, op: op, tree: treeOf(t, op.Operations)}
	var policies []*ingest.ArchivePolicy
	var methods []ingest.Method
	for _, ref := range op.References {
		q.refs = append(q.refs, aggregate.Reference{Metric: ref[0], Method: ref[1]})
		policy := sessions[ref[0]].policies.Load()
		m, ok := ingest.ParseMethod(ref[1])
		if !ok || !policy.Methods.Has(m) {
			return crossAnswer{Error: true}
		}
		policies, methods = append(policies, policy), append(methods, m)
	}
	granularities := aggregate.Common(policies)
	if op.Granularity != nil && !slices.Contains(granularities, *op.Granularity) {
		return crossAnswer{Error: true, Code: "granularity_missing"}
	} else if op.Granularity != nil {
		granularities = []time.Duration{*op.Granularity}
	} else if len(granularities) == 0 {
		return crossAnswer{Error: true, Code: "no_common_granularity"}
	}
	for _, g := range granularities {
		series := make([][]ingest.Measure, len(q.refs))
		for i, ref := range q.refs {
			d, _ := policies[i].Find(g)
			series[i] = sessions[ref.Metric].rows(d, methods[i], &read{Start: op.Start, Stop: op.Stop})
		}
		if !q.ask(g, series) {
			break
		}
	}
	return q.answer
}
