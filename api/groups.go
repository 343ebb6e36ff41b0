package api

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"time"

	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// answers puts the question to every group. Groups that lack a metric which the
// operations need have no answer. The driver is asked for many small groups at a time.
func (asked *question) answers(s *share, all []group) ([]result, error) {
	var results []result
	for len(all) > 0 {
		piece, err := asked.piece(s, all)
		if err != nil {
			return nil, err
		}
		if len(piece) > 1 {
			if err := readAhead(s, piece); err != nil {
				return nil, err
			}
		}
		for i := range piece {
			tables, err := piece[i].ofGroup(s, all[i].states)
			if errors.Is(err, errNoSeries) {
				piece[i].dropAhead(s)
				continue
			}
			if err != nil {
				return nil, err
			}
			results = append(results, result{&all[i], &piece[i], tables})
		}
		all = all[len(piece):]
	}
	return results, nil
}

// ofGroup answers a question of one group, which has these states.
func (asked *question) ofGroup(s *share, states []state) ([]*aggregate.Table, error) {
	switch {
	case len(asked.columns) == 0:
		return nil, errNoSeries
	case states[0].ofHistory:
		return asked.inTime(s, states)
	}
	return asked.compute(s)
}

// piece makes questions of the first groups, as many as the driver is asked for at one
// time: one at least.
func (asked *question) piece(s *share, all []group) (piece []question, err error) {
	expected, atMost := 0, 0
	for i := range all {
		own := *asked
		own.columns = all[i].columns()
		if len(own.columns) > 0 {
			if err := own.series(); err != nil {
				return nil, err
			}
		}
		few, many := own.rows(s)
		expected, atMost = expected+few, atMost+many
		if i > 0 && (expected > rowsPerFetch || atMost > 8*rowsPerFetch || all[i].states[0].ofHistory) {
			break
		}
		piece = append(piece, own)
		if all[i].states[0].ofHistory { // each state is asked for its own time
			break
		}
	}
	return piece, nil
}

// rows is how many rows the question is expected to bring, and how many it may.
func (asked *question) rows(s *share) (expected, atMost int) {
	from, to := asked.resample.bounds(asked.start, asked.stop)
	for _, g := range asked.granularities {
		for i := range asked.columns {
			most := expectedRows(asked.columns[i].policy, g, from, to)
			atMost += most
			expected += s.expected(most)
		}
	}
	return expected, atMost
}

// readAhead reads the rows of all questions at once, in the order in which drivers keep
// them.
func readAhead(s *share, piece []question) error {
	type place struct{ question, granularity, column int }
	var places []place
	for i := range piece {
		q := &piece[i]
		q.ahead = make([][][]ingest.Measure, len(q.granularities))
		for k := range q.granularities {
			q.ahead[k] = make([][]ingest.Measure, len(q.columns))
			for c := range q.columns {
				places = append(places, place{i, k, c})
			}
		}
	}
	metric := func(p place) ingest.MetricID { return piece[p.question].columns[p.column].metric }
	slices.SortStableFunc(places, func(a, b place) int {
		return byPlace(metric(a), metric(b), s.q.sacks)
	})
	queries := make([]ingest.Query, len(places))
	for i, p := range places {
		q := &piece[p.question]
		from, to := q.resample.bounds(q.start, q.stop)
		queries[i] = q.columns[p.column].query(q.granularities[p.granularity], from, to)
		if expectedRows(queries[i].Policy, queries[i].Granularity, from, to) == rowsPerFetch { // or any number
			queries[i].Limit = s.left() + 1
		}
	}
	dst := make([][]ingest.Measure, len(queries))
	if err := s.fetch(queries, dst); err != nil {
		return err
	}
	rows := 0
	for i, p := range places {
		piece[p.question].ahead[p.granularity][p.column] = dst[i]
		rows += len(dst[i])
	}
	s.ahead += rows
	return s.hold(rows)
}

// query asks for a column's rows.
func (c *column) query(g time.Duration, from, to int64) ingest.Query {
	return ingest.Query{Metric: c.metric, Policy: c.policy, Granularity: g, Method: c.method, From: from, To: to}
}

// dropAhead forgets what was read ahead and isn't needed.
func (asked *question) dropAhead(s *share) {
	n := 0
	for _, columns := range asked.ahead {
		for _, rows := range columns {
			n += len(rows)
		}
	}
	asked.ahead = nil
	s.ahead -= n
	s.free(n)
}

// takeAhead makes a table of the rows of one granularity that were read ahead.
func (asked *question) takeAhead(s *share, granularity, most int) (table *aggregate.Table, rows int, err error) {
	var all aggregate.Gather
	for i, rows := range asked.ahead[granularity] {
		all.Put(i, rows)
	}
	asked.ahead[granularity] = nil
	s.ahead -= all.Points()
	if table, err = all.Table(asked.granularities[granularity], most); err != nil {
		return nil, 0, s.q.explain(err, asked)
	}
	return table, all.Points(), nil
}

// byPlace compares metrics by where drivers keep them.
func byPlace(a, b ingest.MetricID, sacks int) int {
	return cmp.Or(cmp.Compare(ingest.SackOf(a, sacks), ingest.SackOf(b, sacks)), bytes.Compare(a[:], b[:]))
}
