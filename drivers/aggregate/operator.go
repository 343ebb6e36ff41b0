package aggregate

import (
	"math"
	"slices"
	"strings"
)

// A UnaryOperator makes one value of one. The zero value does nothing.
type UnaryOperator struct {
	name  string
	apply func(x float64) float64
}

// A BinaryOperator makes one value of two, by the rules of IEEE 754: x/0 is infinite,
// 0/0 is NaN. Comparisons say 1 or 0. The zero value is none.
type BinaryOperator struct {
	name  string
	apply func(x, y float64) float64
}

// The names of the v1 API: the first is the one that String returns.
var unaryOperators = []struct {
	names string
	apply func(x float64) float64
}{
	{"abs absolute", math.Abs},
	{"neg negative", func(x float64) float64 { return -x }},
	{"cos", math.Cos},
	{"sin", math.Sin},
	{"tan", math.Tan},
	{"floor", math.Floor},
	{"ceil", math.Ceil},
}

var binaryOperators = []struct {
	names string
	apply func(x, y float64) float64
}{
	{"+ add", func(x, y float64) float64 { return x + y }},
	{"- sub", func(x, y float64) float64 { return x - y }},
	{"* × mul", func(x, y float64) float64 { return x * y }},
	{"/ ÷ div", func(x, y float64) float64 { return x / y }},
	{"% mod", modulo},
	{"** ^ pow", math.Pow},
	{"== = eq", func(x, y float64) float64 { return truth(x == y) }},
	{"!= ≠ ne", func(x, y float64) float64 { return truth(x != y) }},
	{"< lt", func(x, y float64) float64 { return truth(x < y) }},
	{"> gt", func(x, y float64) float64 { return truth(x > y) }},
	{"<= ≤ le", func(x, y float64) float64 { return truth(x <= y) }},
	{">= ≥ ge", func(x, y float64) float64 { return truth(x >= y) }},
	{"clip_min", func(x, y float64) float64 { return max(x, y) }}, // NaN if either is
	{"clip_max", func(x, y float64) float64 { return min(x, y) }},
	{"max", larger},
}

// ParseUnary finds an operator by any of its names.
func ParseUnary(name string) (UnaryOperator, bool) {
	for _, o := range unaryOperators {
		if names := strings.Fields(o.names); slices.Contains(names, name) {
			return UnaryOperator{names[0], o.apply}, true
		}
	}
	return UnaryOperator{}, false
}

// ParseBinary finds an operator by any of its names.
func ParseBinary(name string) (BinaryOperator, bool) {
	for _, o := range binaryOperators {
		if names := strings.Fields(o.names); slices.Contains(names, name) {
			return BinaryOperator{names[0], o.apply}, true
		}
	}
	return BinaryOperator{}, false
}

// String returns the operator's usual name.
func (o UnaryOperator) String() string { return o.name }

// String returns the operator's usual name.
func (o BinaryOperator) String() string { return o.name }

// Apply applies the operator to two numbers.
func (o BinaryOperator) Apply(x, y float64) float64 { return o.apply(x, y) }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// modulo is the remainder with the sign of the divisor.
func modulo(x, y float64) float64 {
	r := math.Mod(x, y)
	switch {
	case r == 0:
		return math.Copysign(0, y)
	case (r < 0) != (y < 0):
		return r + y
	}
	return r
}

// larger is the larger of two values, of which one may be NaN.
func larger(x, y float64) float64 {
	switch {
	case math.IsNaN(x):
		return y
	case math.IsNaN(y):
		return x
	}
	return max(x, y)
}
