// Package operations reads the operations of /v1/aggregates: prefix notation, as
// lists of JSON or as an s-expression in a string, into a tree that
// drivers/aggregate can evaluate.
//
//	["aggregate", "mean", ["metric", ["7b02…", "mean"], ["e1f4…", "mean"]]]
//	(aggregate mean (metric (7b02… mean) (e1f4… mean)))
//
// The grammar and the wording of what is wrong are the v1 API's. Beyond it, aggregate
// takes any number of nodes, whose series it puts side by side: Aodh sends it
// one "metric" for each of an alarm's metrics.
package operations

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// An InvalidError says what is wrong with operations, and where: Path are the indexes
// of the lists, from the outermost.
type InvalidError struct {
	Message string
	Path    []int
}

func (e *InvalidError) Error() string { return e.Message }

// A NoMetricError says that operations are about no metric at all.
type NoMetricError struct{ Operations any }

func (e *NoMetricError) Error() string { return "At least one 'metric' is required" }

// Parse reads operations from what a JSON document has for them: a string, or lists
// ([]any) of strings, json.Numbers, bools and lists. timespan reads the duration of a
// resample. Errors are a [SyntaxError] for a string that is no expression, an
// [InvalidError], and a [NoMetricError].
func Parse(v any, timespan func(v any) (time.Duration, error)) (aggregate.Operation, error) {
	if text, ok := v.(string); ok {
		list, err := parseExpression(text)
		if err != nil {
			return nil, err
		}
		v = list
	}
	list, ok := v.([]any)
	if !ok {
		return nil, invalid("Expected a tuple/list, got a %s", kindOf(v))
	}
	p := parser{timespan: timespan}
	tree, err := p.operation(list)
	if err != nil {
		return nil, err
	}
	if len(aggregate.References(tree)) == 0 {
		return nil, &NoMetricError{plain(v)}
	}
	return tree, nil
}

func invalid(format string, args ...any) error {
	return &InvalidError{Message: fmt.Sprintf(format, args...)}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case json.Number:
		return "number"
	case string, token:
		return "str"
	case []any:
		return "list"
	}
	return "dict"
}

type parser struct {
	timespan func(v any) (time.Duration, error)
}

// operation reads one list.
func (p parser) operation(list []any) (aggregate.Operation, error) {
	if len(list) == 0 {
		return nil, invalid("Operation must not be empty")
	}
	if len(list) < 2 {
		return nil, invalid("Operation need at least one argument")
	}
	name, ok := textOf(list[0])
	if !ok {
		return nil, invalid("Operation must begin with a name, got a %s", kindOf(list[0]))
	}
	args := list[1:]
	read, ok := map[string]func(string, []any) (aggregate.Operation, error){
		"metric": p.metric, "aggregate": p.aggregate, "rolling": p.rolling, "resample": p.resample, "clip": p.clip,
		"rateofchange": p.change, "rateofchangesec": p.change,
	}[name]
	if ok {
		return read(name, args)
	}
	if operator, ok := aggregate.ParseUnary(name); ok && len(args) == 1 {
		of, err := p.node(name, args[0])
		return aggregate.Unary{Operator: operator, Of: of}, err
	}
	if operator, ok := aggregate.ParseBinary(name); ok && len(args) == 2 {
		return p.binary(operator, name, args[0], args[1])
	}
	return nil, wrongOperation(name)
}

func wrongOperation(name string) error { return invalid("'%s' operation invalid", name) }

// node reads a list or a number, an argument of the operation that name names.
func (p parser) node(name string, v any) (aggregate.Operation, error) {
	if list, ok := v.([]any); ok {
		return p.operation(list)
	}
	if number, ok := numberOf(v); ok {
		return aggregate.Number(number), nil
	}
	return nil, wrongOperation(name)
}

func (p parser) binary(operator aggregate.BinaryOperator, name string, x, y any) (aggregate.Operation, error) {
	left, err := p.node(name, x)
	if err != nil {
		return nil, err
	}
	right, err := p.node(name, y)
	return aggregate.Binary{Operator: operator, Left: left, Right: right}, err
}

// metric reads a reference, or a list of them.
func (p parser) metric(_ string, args []any) (aggregate.Operation, error) {
	if len(args) == 2 {
		if r, ok := referenceOf(args); ok {
			return aggregate.Metrics{r}, nil
		}
	}
	var metrics aggregate.Metrics
	for i, v := range args {
		pair, ok := v.([]any)
		if !ok {
			return nil, &InvalidError{"expected a list of a metric and an aggregation method", []int{i}}
		}
		r, ok := referenceOf(pair)
		if !ok {
			return nil, &InvalidError{"expected a metric and an aggregation method", []int{i}}
		}
		metrics = append(metrics, r)
	}
	return metrics, nil
}

func referenceOf(pair []any) (r aggregate.Reference, ok bool) {
	if len(pair) != 2 {
		return r, false
	}
	metric, isText := textOf(pair[0])
	method, alsoText := textOf(pair[1])
	return aggregate.Reference{Metric: metric, Method: method}, isText && alsoText
}

func (p parser) aggregate(name string, args []any) (aggregate.Operation, error) {
	f, ok := functionOf(args[0])
	if !ok || len(args) < 2 {
		return nil, wrongOperation(name)
	}
	across := aggregate.Across{Function: f}
	for _, v := range args[1:] {
		of, err := p.node(name, v)
		if err != nil {
			return nil, err
		}
		across.Of = append(across.Of, of)
	}
	return across, nil
}

func (p parser) rolling(name string, args []any) (aggregate.Operation, error) {
	if len(args) != 3 {
		return nil, wrongOperation(name)
	}
	f, ok := functionOf(args[0])
	window, isNumber := numberOf(args[1])
	if !ok || !isNumber || window < 1 || window > math.MaxInt32 || window != math.Trunc(window) {
		return nil, wrongOperation(name)
	}
	of, err := p.node(name, args[2])
	return aggregate.Rolling{Function: f, Window: int(window), Of: of}, err
}

func (p parser) resample(name string, args []any) (aggregate.Operation, error) {
	if len(args) != 3 {
		return nil, wrongOperation(name)
	}
	text, _ := textOf(args[0])
	method, ok := ingest.ParseMethod(text)
	if !ok {
		return nil, wrongOperation(name)
	}
	every := args[1]
	if t, ok := every.(token); ok {
		every = string(t)
	}
	span, err := p.timespan(every)
	if err != nil {
		return nil, wrongOperation(name)
	}
	of, err := p.node(name, args[2])
	return aggregate.Resampled{Method: method, Every: span, Of: of}, err
}

// clip is the larger of a value and one bound, and the smaller of that and the other.
func (p parser) clip(name string, args []any) (aggregate.Operation, error) {
	if len(args) != 2 && len(args) != 3 {
		return nil, wrongOperation(name)
	}
	atLeast, _ := aggregate.ParseBinary("clip_min")
	clipped, err := p.binary(atLeast, name, args[0], args[1])
	if err != nil || len(args) == 2 {
		return clipped, err
	}
	most, err := p.node(name, args[2])
	atMost, _ := aggregate.ParseBinary("clip_max")
	return aggregate.Binary{Operator: atMost, Left: clipped, Right: most}, err
}

func (p parser) change(name string, args []any) (aggregate.Operation, error) {
	if len(args) != 1 {
		return nil, wrongOperation(name)
	}
	of, err := p.node(name, args[0])
	return aggregate.Change{PerSecond: name == "rateofchangesec", Of: of}, err
}

func functionOf(v any) (aggregate.Function, bool) {
	text, _ := textOf(v)
	return aggregate.ParseFunction(text)
}

func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case token:
		return string(v), true
	}
	return "", false
}

// numberOf is a number, or what can be taken for one: a numeral in a string, a bool.
func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		return parseNumber(string(v))
	case string:
		return parseNumber(v)
	case token:
		return parseNumber(string(v))
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// parseNumber reads a numeral as Python's float does; one out of range is infinite.
func parseNumber(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, "xXpP_") {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || math.IsInf(f, 0)
}
