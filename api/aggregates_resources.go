package api

import (
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

// A selection of resources says of which resources the metrics are wanted.
type resourceSelection struct {
	of      *index.ResourceType
	search  index.Search
	groupBy []string // attributes; none: all in one group
	match   func(pattern, name string) bool
	details bool // the resources are wanted too
}

// A group are resources that have the same values for the attributes grouped by.
type group struct {
	key    string // the values as JSON, to tell groups apart
	values gnocchi.Object
	states []state
}

// A state is a resource, or a past state of one, with those of its metrics that are
// wanted.
type state struct {
	id        ingest.MetricID
	from, to  int64 // when it was so; MinTime and MaxTime where that is open
	columns   []column
	resource  []byte // as JSON, when wanted
	ofHistory bool   // the question is to be put to every state for its own time
}

// groups finds resources with metrics that the references name, by groups, in the order
// of what they are grouped by.
func (q *request) groups(sel resourceSelection, refs []aggregate.Reference) ([]group, error) {
	sorts := index.DefaultSorts()
	fields := make([]index.Field, len(sel.groupBy))
	if len(sel.groupBy) > 0 {
		sorts = nil
		for i, name := range sel.groupBy {
			sorts = append(sorts, name+":asc-nullslast")
			fields[i], _ = sel.of.Field(name, sel.search.History) // an unknown one is no key to sort by
		}
	}
	var all []group
	columns := 0
	err := q.index.Resources(q.ctx, sel.search, index.Page{Sorts: sorts}, func(r *index.Resource) error {
		s := sel.state(r, refs)
		if len(s.columns) == 0 {
			return nil
		}
		if columns += len(s.columns); columns > q.config.MaxPoints/columnPoints+1 {
			return q.tooManyPoints()
		}
		values := gnocchi.Object{}
		for i, name := range sel.groupBy {
			values = append(values, gnocchi.Member{Name: name, Value: shownField(r, sel.of, &fields[i])})
		}
		key := string(gnocchi.Marshal(values))
		if n := len(all); n == 0 || all[n-1].key != key {
			all = append(all, group{key: key, values: values})
		}
		last := &all[len(all)-1]
		last.states = append(last.states, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	openFirst(all)
	return all, q.findColumns(all)
}

// openFirst lets the first state of every resource reach back to the beginning: there
// may be measures from before somebody created it here.
func openFirst(all []group) {
	first := map[ingest.MetricID]*state{}
	for i := range all {
		for k := range all[i].states {
			s := &all[i].states[k]
			if f := first[s.id]; f == nil || s.from < f.from {
				first[s.id] = s
			}
		}
	}
	for _, s := range first {
		s.from = ingest.MinTime
	}
}

// columnPoints is how many points in memory a column is worth.
const columnPoints = 16

func (sel *resourceSelection) state(r *index.Resource, refs []aggregate.Reference) state {
	s := state{id: r.ID, from: r.RevisionStart, to: ingest.MaxTime, ofHistory: sel.search.History}
	if r.RevisionEnd != nil {
		s.to = *r.RevisionEnd
	}
	for _, ref := range refs {
		for _, m := range r.Metrics {
			if sel.match(ref.Metric, m.Name) {
				s.columns = append(s.columns, column{ref: ref, metric: m.ID, path: []string{r.ID.String(), m.Name, ref.Method}})
			}
		}
	}
	if sel.details && len(s.columns) > 0 {
		s.resource = appendResource(nil, r, sel.of, true, nil)
	}
	return s
}

// shownField is what a resource has in a field, as its representation shows it.
func shownField(r *index.Resource, t *index.ResourceType, f *index.Field) any {
	if a := t.Attribute(f.Name); a != nil && f.Kind != index.FieldTime {
		return r.Value(a)
	}
	v := r.Get(f)
	if ns, ok := v.(int64); ok && f.Kind == index.FieldTime {
		return instantOf(&ns)
	}
	return v
}

// findColumns looks the metrics of all columns up. Those that were deleted a moment
// ago are left out.
func (q *request) findColumns(all []group) error {
	var ids []ingest.MetricID
	for i := range all {
		for _, s := range all[i].states {
			for _, c := range s.columns {
				ids = append(ids, c.metric)
			}
		}
	}
	infos, _, err := q.lookup(ids)
	if err != nil {
		return err
	}
	find := policies{index: q.index}
	n := 0
	for i := range all {
		for k := range all[i].states {
			s := &all[i].states[k]
			kept := s.columns[:0]
			for _, c := range s.columns {
				info := &infos[n]
				n++
				if !info.Found {
					continue
				}
				if c.policy, err = find.get(q.ctx, info.Policy); err != nil {
					return err
				}
				kept = append(kept, c)
			}
			s.columns = kept
		}
	}
	return nil
}

// columns are those of all states of a group.
func (g *group) columns() []column {
	var all []column
	for i := range g.states {
		all = append(all, g.states[i].columns...)
	}
	return all
}

// metricsOf returns the metrics of groups, each once.
func metricsOf(all []group) []ingest.MetricID {
	var ids []ingest.MetricID
	for i := range all {
		for _, c := range all[i].columns() {
			ids = append(ids, c.metric)
		}
	}
	return distinct(ids)
}

// A result is the answer for one group.
type result struct {
	group  *group
	asked  *question
	tables []*aggregate.Table
}

// aggregateResources answers a question about the metrics of resources.
func (q *request) aggregateResources(asked question, sel resourceSelection, refresh bool) error {
	if sel.search.History {
		if !aggregate.Aggregated(asked.tree) {
			return badRequest(cause{cause: "Operations is invalid",
				reason: "use_history needs operations that make one series of all: an aggregate around them does"})
		}
		sel.search.Where = asked.during(sel.of, sel.search.Where)
	}
	sel.match = index.MatchGlob
	all, err := q.groups(sel, aggregate.References(asked.tree))
	if err != nil {
		return err
	}
	if err := q.settle(refresh, metricsOf(all)...); err != nil {
		return err
	}
	s := q.share()
	defer s.end()
	results, err := asked.answers(s, all)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return noneNamed(asked.tree)
	}
	out := q.stream()
	defer out.close()
	if len(sel.groupBy) == 0 {
		results[0].write(out, sel.details)
		return out.end()
	}
	out.text("[")
	for i, r := range results {
		if i > 0 {
			out.text(", ")
		}
		out.text(`{"group": `)
		out.value(r.group.values)
		out.text(`, "measures": `)
		r.write(out, sel.details)
		out.text("}")
	}
	out.text("]")
	return out.end()
}

// searchOf reads the search of an aggregation: a tree, a filter, or none. With groups
// it may be among past states too.
func (q *request) searchOf(values url.Values, of *index.ResourceType, condition any) (search index.Search, err error) {
	search.Type = of
	if values.Has("groupby") {
		if search.History, err = flag(values, "use_history", false); err != nil {
			return search, err
		}
	}
	switch filter, isText := condition.(string); {
	case condition == nil:
	case isText:
		search.Where, err = q.filterOf(filter, of, search.History)
	default:
		search.Where, err = q.conditionOf(condition, of, search.History)
		err = below(err, "search")
	}
	if err != nil {
		return search, err
	}
	search.Scope, err = q.scope(auth.SearchResource)
	return search, err
}

// onlyOnce returns names in their order, each once.
func onlyOnce(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// noneNamed is the answer when no resource has a metric of these names.
func noneNamed(tree aggregate.Operation) error {
	var names []string
	for _, r := range aggregate.References(tree) {
		names = append(names, r.Metric)
	}
	slices.Sort(names)
	return notFound("Metric ['" + strings.Join(slices.Compact(names), "', '") + "'] does not exist")
}

// write writes the measures of a group, and its resources.
func (r *result) write(out *stream, details bool) {
	out.text(`{"measures": `)
	r.asked.writeMeasures(out, r.tables)
	if details {
		out.text(`, "references": [`)
		seen := map[ingest.MetricID]bool{}
		for _, s := range r.group.states {
			if seen[s.id] {
				continue
			}
			if len(seen) > 0 {
				out.text(", ")
			}
			seen[s.id] = true
			out.text(string(s.resource))
		}
		out.text("]")
	}
	out.text("}")
}

// during narrows a search to the states that a range touches, if both its ends
// are given.
func (asked *question) during(of *index.ResourceType, where *index.Expr) *index.Expr {
	if !asked.hasStart || !asked.hasStop {
		return where
	}
	begun, _ := of.Field("revision_start", true)
	ended, _ := of.Field("revision_end", true)
	both := &index.Expr{Op: index.OpAnd, Args: []index.Expr{
		{Op: index.OpLt, Field: begun, Value: asked.stop},
		{Op: index.OpOr, Args: []index.Expr{
			{Op: index.OpGe, Field: ended, Value: asked.start},
			{Op: index.OpEq, Field: ended, Value: nil},
		}},
	}}
	if where != nil {
		both.Args = append(both.Args, *where)
	}
	return both
}

// inTime puts the question to every state for the time that it lasted, and adds what
// they say: of a bucket that a state lasted for a part of, it has that part of the value.
func (asked *question) inTime(s *share, states []state) ([]*aggregate.Table, error) {
	sums := make([]map[int64]float64, len(asked.granularities))
	for i := range sums {
		sums[i] = map[int64]float64{}
	}
	spans := slices.Clone(asked.granularities)
	answered := false
	for i := range states {
		own := *asked
		own.columns = states[i].columns
		own.start, own.stop = max(states[i].from, asked.start), min(states[i].to, asked.stop)
		own.hasStart, own.hasStop = own.start > ingest.MinTime, own.stop < ingest.MaxTime
		if len(own.columns) == 0 || own.start >= own.stop {
			continue
		}
		if err := own.methods(); err != nil {
			return nil, err
		}
		err := own.addTo(sums, spans, s)
		if err != nil && !errors.Is(err, errNoSeries) {
			return nil, err
		}
		answered = answered || err == nil
	}
	if !answered {
		return nil, errNoSeries
	}
	tables := make([]*aggregate.Table, len(sums))
	for i, sum := range sums {
		tables[i] = tableOfSums(spans[i], sum)
	}
	return tables, nil
}

// addTo adds what one state says to the sums of each granularity, and notes which
// granularity the rows have.
func (asked *question) addTo(sums []map[int64]float64, spans []time.Duration, s *share) error {
	before := s.bytes
	tables, err := asked.compute(s)
	if err != nil {
		return err
	}
	more := 0
	for i, t := range tables {
		spans[i] = t.Granularity
		had := len(sums[i])
		for _, r := range asked.cutRows(t, 0) {
			sums[i][r.Time] += r.Value * covered(r.Time, t.Granularity, asked.start, asked.stop)
		}
		more += len(sums[i]) - had
	}
	const perSum = 3 // rows' worth of memory that an entry of a map takes
	return s.hold(perSum*more - int((s.bytes-before)/bytesPerRow))
}

func tableOfSums(g time.Duration, sums map[int64]float64) *aggregate.Table {
	t := &aggregate.Table{Granularity: g}
	for at := range sums {
		t.Times = append(t.Times, at)
	}
	slices.Sort(t.Times)
	values := make([]float64, len(t.Times))
	for i, at := range t.Times {
		values[i] = sums[at]
	}
	t.Columns = []aggregate.Column{{Values: values}}
	return t
}

// covered is how much of the bucket at t lies in [from, to): 0 to 1. Open ends
// cover all.
func covered(t int64, g time.Duration, from, to int64) float64 {
	end := t + int64(g)
	part := min(end, to) - max(t, from)
	return float64(max(part, 0)) / float64(g)
}
