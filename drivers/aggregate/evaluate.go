package aggregate

import (
	"fmt"
	"math"
	"slices"

	"millrace/ingest"
)

// A Problem is why series can't be combined.
type Problem uint8

// The problems.
const (
	NoOverlap Problem = iota
	OverlapTooLow
	WindowTooLong
	NotAligned    // two operands of different granularities, or of different times
	DifferentSize // two operands of several columns each, but not equally many
	NotASeries    // a number where it takes a series
	NoSeries      // a node without any series
	SeveralLeft   // a result of several columns that can't be told apart
)

// An UnaggregableError says why series can't be combined.
type UnaggregableError struct {
	Problem       Problem
	Reason        string  // as the v1 API has it
	Needed, Found float64 // percent, of OverlapTooLow
}

func (e *UnaggregableError) Error() string { return e.Reason }

// A LimitError says that a table has, or a computation needs, more than it may.
type LimitError struct {
	Limit int
	Steps bool // of steps, otherwise of values held at one time
}

func (e *LimitError) Error() string {
	if e.Steps {
		return fmt.Sprintf("this takes more than %d steps", e.Limit)
	}
	return fmt.Sprintf("this takes more than %d values", e.Limit)
}

// Limits bound a computation. Both count values: those held at one time, and those
// looked at, where a window of a hundred rows looks at a hundred.
type Limits struct{ Values, Steps int }

// Evaluate computes a tree over a table, which it may change. refs are what the tree calls
// the table's series, by their number; several series may have the same reference.
// Where the tree is [Aggregated] the result has one column, else one for each
// series. It returns an [UnaggregableError] or a [LimitError] where that can't be.
func Evaluate(tree Operation, t *Table, refs []Reference, limits Limits) (*Table, error) {
	e := evaluation{table: t, columns: map[Reference][]int{}, limits: limits, held: t.size()}
	for i, c := range t.Columns {
		e.columns[refs[c.Series]] = append(e.columns[refs[c.Series]], i)
	}
	result, err := tree.eval(&e)
	if err != nil {
		return nil, err
	}
	if result.table == nil {
		return nil, notASeries()
	}
	if n := len(result.Columns); n != 1 && Aggregated(tree) {
		return nil, &UnaggregableError{Problem: SeveralLeft, Reason: fmt.Sprintf(
			"The operations leave %d series that can't be told apart: an aggregate around them makes one of them", n)}
	}
	return result.table, nil
}

// An evaluation is one computation.
type evaluation struct {
	table   *Table
	columns map[Reference][]int // of the table, ascending
	limits  Limits
	held    int // values of tables that are in use
	steps   int
}

type table = Table

// An operand is the value of a node: a table, or a number.
type operand struct {
	*table
	number float64
	ours   bool // its values belong to nobody else
}

func notASeries() error {
	return &UnaggregableError{Problem: NotASeries, Reason: "An operation that takes series was given a number"}
}

// series evaluates a node that must be a table of at least one column.
func (e *evaluation) series(o Operation) (operand, error) {
	x, err := o.eval(e)
	if err == nil && x.table == nil {
		err = notASeries()
	}
	return x, err
}

// hold counts new values, and steps to compute them.
func (e *evaluation) hold(values, steps int) error {
	e.held += values
	e.steps += steps
	switch {
	case e.held > e.limits.Values:
		return &LimitError{Limit: e.limits.Values}
	case e.steps > e.limits.Steps || steps < 0:
		return &LimitError{Limit: e.limits.Steps, Steps: true}
	}
	return nil
}

// drop says that an operand is not needed any more.
func (e *evaluation) drop(x operand) {
	if x.ours {
		e.held -= x.size()
	}
}

func (t *Table) size() int { return len(t.Times) * len(t.Columns) }

// own returns the operand with values that may be changed.
func (e *evaluation) own(x operand) (operand, error) {
	if err := e.hold(0, x.size()); err != nil || x.ours {
		return x, err
	}
	if err := e.hold(x.size(), 0); err != nil {
		return x, err
	}
	columns := make([]Column, len(x.Columns))
	for i, c := range x.Columns {
		columns[i] = Column{c.Series, slices.Clone(c.Values)}
	}
	return operand{table: &Table{x.Granularity, x.Times, columns}, ours: true}, nil
}

func (o Number) eval(*evaluation) (operand, error) { return operand{number: float64(o)}, nil }

func (o Metrics) eval(e *evaluation) (operand, error) {
	var columns []int
	for _, r := range o {
		columns = append(columns, e.columns[r]...)
	}
	if len(columns) == 0 {
		return operand{}, &UnaggregableError{Problem: NoSeries, Reason: "There is no series for a metric operation"}
	}
	slices.Sort(columns)
	t := &Table{Granularity: e.table.Granularity, Times: e.table.Times}
	for _, i := range slices.Compact(columns) { // a reference may be written twice
		t.Columns = append(t.Columns, e.table.Columns[i])
	}
	return operand{table: t}, nil
}

func (o Across) eval(e *evaluation) (operand, error) {
	all, err := e.series(o.Of[0])
	if err != nil {
		return all, err
	}
	columns := all.Columns
	for _, part := range o.Of[1:] {
		x, err := e.series(part)
		if err != nil {
			return x, err
		}
		if err := aligned(all.table, x.table); err != nil {
			return x, err
		}
		columns = append(slices.Clip(columns), x.Columns...)
	}
	rows := len(all.Times)
	if err := e.hold(rows, rows*len(columns)); err != nil {
		return operand{}, err
	}
	one := Column{columns[0].Series, o.Function.across(columns, rows)}
	result := operand{table: &Table{all.Granularity, all.Times, []Column{one}}, ours: true}
	e.drop(all)
	if o.Function&rateOf != 0 {
		differences(result.table)
	}
	return result, nil
}

func (o Rolling) eval(e *evaluation) (operand, error) {
	x, err := e.series(o.Of)
	if err != nil {
		return x, err
	}
	if n := len(x.Times); o.Window > n {
		return x, &UnaggregableError{Problem: WindowTooLong,
			Reason: fmt.Sprintf("Rolling window '%d' is greater than serie length '%d'", o.Window, n)}
	}
	rows := len(x.Times) - o.Window + 1
	if err := e.hold(rows*len(x.Columns), product(rows*len(x.Columns), o.Window)); err != nil {
		return x, err
	}
	result := operand{table: &Table{x.Granularity, x.Times[o.Window-1:], nil}, ours: true}
	for _, c := range x.Columns {
		result.Columns = append(result.Columns, Column{c.Series, o.Function.rolling(c.Values, o.Window)})
	}
	e.drop(x)
	if o.Function&rateOf != 0 {
		differences(result.table)
	}
	return result, nil
}

// product is a × b, both ≥ 0, or negative where that is beyond int.
func product(a, b int) int {
	if b != 0 && a > int(^uint(0)>>1)/b {
		return -1
	}
	return a * b
}

func (o Resampled) eval(e *evaluation) (operand, error) {
	x, err := e.series(o.Of)
	if err != nil {
		return x, err
	}
	// The rows of one column are held twice in passing.
	if err := e.hold(x.size()+4*len(x.Times), x.size()); err != nil {
		return x, err
	}
	result := operand{table: &Table{Granularity: o.Every}, ours: true}
	for _, c := range x.Columns {
		rows := o.resampled(x.Times, c.Values) // the same times for all: see Resampled.resampled
		times, values := make([]int64, len(rows)), make([]float64, len(rows))
		for i, r := range rows {
			times[i], values[i] = r.Time, r.Value
		}
		result.Times = times
		result.Columns = append(result.Columns, Column{c.Series, values})
	}
	e.held += result.size() - x.size() - 4*len(x.Times)
	e.drop(x)
	return result, nil
}

func (o Change) eval(e *evaluation) (operand, error) {
	x, err := e.series(o.Of)
	if err == nil {
		x, err = e.own(x)
	}
	if err != nil {
		return x, err
	}
	if !o.PerSecond {
		differences(x.table)
		return x, nil
	}
	for _, c := range x.Columns {
		perSecond(x.Times, c.Values)
	}
	return x, nil
}

func (o Unary) eval(e *evaluation) (operand, error) {
	x, err := o.Of.eval(e)
	if err != nil {
		return x, err
	}
	if x.table == nil {
		return operand{number: o.Operator.apply(x.number)}, nil
	}
	if x, err = e.own(x); err != nil {
		return x, err
	}
	for _, c := range x.Columns {
		for i, v := range c.Values {
			c.Values[i] = o.Operator.apply(v)
		}
	}
	return x, nil
}

func (o Binary) eval(e *evaluation) (operand, error) {
	left, err := o.Left.eval(e)
	if err != nil {
		return left, err
	}
	right, err := o.Right.eval(e)
	if err != nil {
		return right, err
	}
	switch {
	case left.table == nil && right.table == nil:
		return operand{number: o.Operator.apply(left.number, right.number)}, nil
	case right.table == nil:
		return o.withNumber(e, left, func(v float64) float64 { return o.Operator.apply(v, right.number) })
	case left.table == nil:
		return o.withNumber(e, right, func(v float64) float64 { return o.Operator.apply(left.number, v) })
	}
	return o.withTable(e, left, right)
}

func (o Binary) withNumber(e *evaluation, x operand, apply func(float64) float64) (operand, error) {
	x, err := e.own(x)
	if err != nil {
		return x, err
	}
	for _, c := range x.Columns {
		for i, v := range c.Values {
			c.Values[i] = apply(v)
		}
	}
	return x, nil
}

// withTable combines two tables column by column, or one column with all of the
// other side, whose values it takes over.
func (o Binary) withTable(e *evaluation, left, right operand) (operand, error) {
	l, r := len(left.Columns), len(right.Columns)
	if err := aligned(left.table, right.table); err != nil {
		return left, err
	}
	if l != r && l != 1 && r != 1 {
		return left, &UnaggregableError{Problem: DifferentSize,
			Reason: fmt.Sprintf("Can't compute timeseries of %d series with one of %d", l, r)}
	}
	into, other := &left, right
	if r > l || r == l && right.ours {
		into, other = &right, left
	}
	var err error
	if *into, err = e.own(*into); err != nil {
		return *into, err
	}
	for k := range into.Columns {
		x, y := left.Columns[min(k, l-1)].Values, right.Columns[min(k, r-1)].Values
		out := into.Columns[k].Values
		for i := range out {
			out[i] = o.Operator.apply(x[i], y[i])
		}
	}
	e.drop(other)
	return *into, nil
}

// aligned says what is wrong when two tables don't have the same times.
func aligned(a, b *Table) error {
	if a.Granularity != b.Granularity {
		return notAligned("Can't compute timeseries with different granularity %s <> %s",
			ingest.FormatSeconds(a.Granularity), ingest.FormatSeconds(b.Granularity))
	}
	if !sameList(a.Times, b.Times) && !slices.Equal(a.Times, b.Times) {
		return notAligned("Can't compute timeseries with different timestamps: %d <> %d of granularity %s",
			len(a.Times), len(b.Times), ingest.FormatSeconds(a.Granularity))
	}
	return nil
}

func notAligned(format string, args ...any) error {
	return &UnaggregableError{Problem: NotAligned, Reason: fmt.Sprintf(format, args...)}
}

// differences makes every value its difference to the one before, and cuts the first row.
func differences(t *Table) {
	if len(t.Times) == 0 {
		return
	}
	t.Times = t.Times[1:]
	for k := range t.Columns {
		values := t.Columns[k].Values
		for i := range t.Times {
			values[i] = values[i+1] - values[i]
		}
		t.Columns[k].Values = values[:len(t.Times)]
	}
}

// perSecond makes every value its difference to the one before over the seconds between.
func perSecond(times []int64, values []float64) {
	for i := len(values) - 1; i > 0; i-- {
		values[i] = (values[i] - values[i-1]) / (float64(times[i]-times[i-1]) / 1e9)
	}
	if len(values) > 0 {
		values[0] = math.NaN()
	}
}
