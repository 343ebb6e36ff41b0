package aggregate

import (
	"math"

	"millrace/ingest"
)

// needs says which of the costlier parts of a statistics are wanted.
type needs uint8

const (
	needValues needs = 1 << iota // count, first, last need nothing more
	needSum
	needDeviation
	needExtremes
	needOrder
)

func needsOf(m ingest.Method) needs {
	switch m.Base() {
	case ingest.Count, ingest.First, ingest.Last:
		return needValues
	case ingest.Sum, ingest.Mean:
		return needValues | needSum
	case ingest.Std:
		return needValues | needSum | needDeviation
	case ingest.Min, ingest.Max:
		return needValues | needExtremes
	default: // median and the percentiles
		return needValues | needOrder
	}
}

// statistics are what the methods without "rate:" say about a list of values.
type statistics struct {
	needs    needs
	x        []float64 // the values in the order of time
	ordered  []float64 // the same in the order of value, NaN last
	sum      float64
	std      float64
	min, max float64
}

// of returns what is to be known about x, using the memory of s. It goes by value
// so that the scratch memory of a caller may live on its stack.
func (s statistics) of(x []float64) statistics {
	s.x = x
	if len(x) == 0 {
		return s
	}
	if s.needs&needSum != 0 {
		s.sum = sum(x)
	}
	if s.needs&needDeviation != 0 {
		s.std = deviation(x, s.sum/float64(len(x)))
	}
	if s.needs&needExtremes != 0 {
		s.min, s.max = extremes(x)
	}
	if s.needs&needOrder != 0 {
		s.ordered = order(s.ordered[:0], x)
	}
	return s
}

// appendValues appends the values of raw[i:j].
func appendValues(dst []float64, raw []ingest.Measure, i, j int) []float64 {
	for _, m := range raw[i:j] {
		dst = append(dst, m.Value)
	}
	return dst
}

// appendDifferences appends the differences at raw[i:j] to the measure before each.
func appendDifferences(dst []float64, raw []ingest.Measure, i, j int) []float64 {
	for k := max(i, 1); k < j; k++ {
		dst = append(dst, raw[k].Value-raw[k-1].Value)
	}
	return dst
}

// value returns what the method m, one without "rate:", says, if it says anything.
func (s *statistics) value(m ingest.Method) (v float64, ok bool) {
	n := len(s.x)
	if n == 0 {
		return 0, false
	}
	switch m {
	case ingest.Mean:
		return s.sum / float64(n), true
	case ingest.Sum:
		return s.sum, true
	case ingest.Last:
		return s.x[n-1], true
	case ingest.Max:
		return s.max, true
	case ingest.Min:
		return s.min, true
	case ingest.Std:
		if n < 2 {
			return 0, false
		}
		return s.std, true
	case ingest.Median:
		return median(s.ordered), true
	case ingest.First:
		return s.x[0], true
	case ingest.Count:
		return float64(n), true
	}
	q, ok := m.Quantile()
	if !ok {
		return 0, false
	}
	return percentile(s.ordered, q), true
}

// sum adds from left to right, beginning at +0 as numpy.bincount does.
func sum(x []float64) float64 {
	total := 0.0
	for _, v := range x {
		total += v
	}
	return total
}

// deviation is the sample's standard deviation, in two passes with n-1 as the
// divisor; 0 for one value. The conversion keeps the compiler from fusing the
// square into the addition, which would round differently on some machines.
func deviation(x []float64, mean float64) float64 {
	if len(x) < 2 {
		return 0
	}
	total := 0.0
	for _, v := range x {
		d := v - mean
		total += float64(d * d)
	}
	return math.Sqrt(total / float64(len(x)-1))
}

// extremes returns the smallest value, NaN only if nothing else is there, and the
// largest, NaN if any is. Of −0 and +0, which are equal, the earlier is the smallest
// and the later the largest: a stable sort has them at its ends.
func extremes(x []float64) (lo, hi float64) {
	lo, hi = x[0], x[0]
	for _, v := range x[1:] {
		if v < lo || lo != lo {
			lo = v
		}
		if v >= hi || v != v {
			hi = v
		}
	}
	return lo, hi
}
