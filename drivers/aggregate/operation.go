package aggregate

import (
	"slices"
	"time"

	"millrace/ingest"
)

// An Operation is a tree of what is to be computed of several series: one of
// [Number], [Metrics], [Across], [Rolling], [Resampled], [Change], [Unary] and [Binary].
type Operation interface {
	// eval computes the node.
	eval(e *evaluation) (operand, error)
	// parts are the nodes that it is computed of.
	parts() []Operation
}

// A Number stands for itself.
type Number float64

// Metrics are the series whose references are among these, in the order of the series.
type Metrics []Reference

// A Reference is what a tree calls a series: the id or the name of a metric, or a
// pattern for names, and an aggregation method.
type Reference struct{ Metric, Method string }

// Across makes one series of all the columns of its parts, row by row.
type Across struct {
	Function Function
	Of       []Operation
}

// Rolling applies a function to the last Window rows of a column, at every row
// that has so many.
type Rolling struct {
	Function Function
	Window   int // ≥ 1
	Of       Operation
}

// Resampled aggregates every column into longer buckets, as [Series] does with
// measures: a "rate:" method is one of the differences between rows. Into calendar
// groups it is as [ResampleCalendar], and the result has no granularity.
type Resampled struct {
	Method   ingest.Method
	Every    time.Duration // > 0, unless there is a Calendar
	Calendar Calendar      // 0: none
	Of       Operation
}

// Change is the difference to the row before: the first row goes. Per second it is
// divided by the time between the two rows, and the first row is NaN.
type Change struct {
	PerSecond bool
	Of        Operation
}

// Unary applies an operator to every value.
type Unary struct {
	Operator UnaryOperator
	Of       Operation
}

// Binary applies an operator to every two values at the same place. A single
// column, or a number, meets every column of the other side.
type Binary struct {
	Operator    BinaryOperator
	Left, Right Operation
}

func (Number) parts() []Operation      { return nil }
func (Metrics) parts() []Operation     { return nil }
func (o Across) parts() []Operation    { return o.Of }
func (o Rolling) parts() []Operation   { return []Operation{o.Of} }
func (o Resampled) parts() []Operation { return []Operation{o.Of} }
func (o Change) parts() []Operation    { return []Operation{o.Of} }
func (o Unary) parts() []Operation     { return []Operation{o.Of} }
func (o Binary) parts() []Operation    { return []Operation{o.Left, o.Right} }

// References returns the references of a tree, each once, in the order in which
// they are written.
func References(tree Operation) []Reference {
	var refs []Reference
	seen := map[Reference]bool{}
	var walk func(o Operation)
	walk = func(o Operation) {
		if metrics, ok := o.(Metrics); ok {
			for _, r := range metrics {
				if !seen[r] {
					seen[r] = true
					refs = append(refs, r)
				}
			}
		}
		for _, part := range o.parts() {
			walk(part)
		}
	}
	walk(tree)
	return refs
}

// Aggregated says whether a tree makes one series of all, whatever they are: it has
// an [Across], or a [Binary] of two sides that have series.
func Aggregated(tree Operation) bool {
	switch o := tree.(type) {
	case Across:
		return true
	case Binary:
		if hasSeries(o.Left) && hasSeries(o.Right) {
			return true
		}
	}
	return slices.ContainsFunc(tree.parts(), Aggregated)
}

func hasSeries(o Operation) bool {
	if _, ok := o.(Metrics); ok {
		return true
	}
	return slices.ContainsFunc(o.parts(), hasSeries)
}
