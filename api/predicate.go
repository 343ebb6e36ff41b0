package api

import (
	"encoding/json"
	"strconv"

	"millrace/drivers/aggregate"
)

// A predicate says whether a value is one that a search looks for.
type predicate func(value float64) bool

// An operand of a comparison is computed from the value.
type operand func(value float64) float64

var comparisons = map[string]bool{"==": true, "!=": true, "<": true, ">": true, "<=": true, ">=": true}

var arithmetic = map[string]bool{"+": true, "-": true, "*": true, "/": true, "%": true, "**": true}

// predicateOf reads the body of /v1/search/metric:
//
//	{CMP: number}       the value compares so with a number
//	{CMP: [X, X]}       two operands do
//	{"and": [Q, …]}     and, ∧, or, ∨ of such objects
//
// where X is a number, {ARITH: number} for value ARITH number, or {ARITH: [X, X]}.
func predicateOf(v any) (predicate, error) {
	name, of, err := onlyKey(v)
	if err != nil {
		return nil, err
	}
	switch name {
	case "and", "∧":
		return severalOf(name, of, false)
	case "or", "∨":
		return severalOf(name, of, true)
	case "not":
		return nil, badRequest("Unknown operator not")
	}
	compare, ok := aggregate.ParseBinary(name)
	if !ok || !comparisons[compare.String()] {
		return nil, &invalidError{message: "extra keys not allowed", path: []any{name}}
	}
	left, right, err := operandsOf(name, of)
	if err != nil {
		return nil, below(err, name)
	}
	return func(value float64) bool { return compare.Apply(left(value), right(value)) != 0 }, nil
}

// onlyKey takes an object with exactly one key apart.
func onlyKey(v any) (name string, of any, err error) {
	o, ok := v.(object)
	switch {
	case !ok:
		return "", nil, wrong("expected a dictionary")
	case len(o.keys) < 1:
		return "", nil, wrong("length of value must be at least 1")
	case len(o.keys) > 1:
		return "", nil, wrong("length of value must be at most 1")
	}
	return o.keys[0], o.values[o.keys[0]], nil
}

// severalOf is true when any of several predicates is, or when all are.
func severalOf(name string, v any, anyOf bool) (predicate, error) {
	var parts []predicate
	err := list(1, func(v any) error {
		part, err := predicateOf(v)
		parts = append(parts, part)
		return err
	})(v)
	if err != nil {
		return nil, below(err, name)
	}
	return func(value float64) bool {
		for _, part := range parts {
			if part(value) == anyOf {
				return anyOf
			}
		}
		return !anyOf
	}, nil
}

// operandsOf reads what an operator has: a number, which meets the value, or two
// operands.
func operandsOf(name string, v any) (left, right operand, err error) {
	if number, ok := numberOf(v); ok {
		return func(value float64) float64 { return value }, func(float64) float64 { return number }, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, nil, wrong("expected a number or a list of two")
	}
	if len(items) != 2 {
		return nil, nil, wrong("Binary operator " + name + " needs 2 arguments, " + strconv.Itoa(len(items)) + " given")
	}
	if left, err = operandOf(items[0]); err != nil {
		return nil, nil, below(err, 0)
	}
	if right, err = operandOf(items[1]); err != nil {
		return nil, nil, below(err, 1)
	}
	return left, right, nil
}

func operandOf(v any) (operand, error) {
	if number, ok := numberOf(v); ok {
		return func(float64) float64 { return number }, nil
	}
	name, of, err := onlyKey(v)
	if err != nil {
		return nil, err
	}
	operator, ok := aggregate.ParseBinary(name)
	if !ok || !arithmetic[operator.String()] {
		return nil, &invalidError{message: "extra keys not allowed", path: []any{name}}
	}
	left, right, err := operandsOf(name, of)
	if err != nil {
		return nil, below(err, name)
	}
	return func(value float64) float64 { return operator.Apply(left(value), right(value)) }, nil
}

// numberOf is a number of JSON; one out of range is infinite.
func numberOf(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, _ := n.Float64()
	return f, true
}
