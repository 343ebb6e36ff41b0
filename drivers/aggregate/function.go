package aggregate

import (
	"math"
	"slices"
	"strings"

	"millrace/ingest"
)

// A Function makes one value of several, of which those that are NaN don't count:
// of several series at one time, or of several rows of one series.
type Function uint8

// The functions. rate: with each of them is the difference, from row to row, of
// what it says.
const (
	OfMean Function = iota
	OfMedian
	OfStd // of the population: divided by n
	OfMin
	OfMax
	OfSum // of nothing: 0; mean, median, std, min, max and var of nothing are NaN
	OfVar // as OfStd
	OfCount

	rateOf Function = 1 << 7
)

var functionNames = [...]string{"mean", "median", "std", "min", "max", "sum", "var", "count"}

// ParseFunction finds a function by its name, as mean or rate:mean.
func ParseFunction(name string) (Function, bool) {
	base, rate := strings.CutPrefix(name, ratePrefix)
	i := slices.Index(functionNames[:], base)
	if i < 0 {
		return 0, false
	}
	if rate {
		return Function(i) | rateOf, true
	}
	return Function(i), true
}

const ratePrefix = "rate:"

// String returns the function's name.
func (f Function) String() string {
	if f&rateOf != 0 {
		return ratePrefix + functionNames[f&^rateOf]
	}
	return functionNames[f]
}

// of is what the function, its rate apart, says of x, whose memory it uses.
func (f Function) of(x []float64) float64 {
	n := 0
	for _, v := range x {
		if v == v {
			x[n] = v
			n++
		}
	}
	x = x[:n]
	switch f &^ rateOf {
	case OfCount:
		return float64(n)
	case OfSum:
		return sum(x)
	}
	if n == 0 {
		return math.NaN()
	}
	switch f &^ rateOf {
	case OfMean:
		return sum(x) / float64(n)
	case OfMedian:
		slices.Sort(x)
		return median(x)
	case OfStd:
		return math.Sqrt(variance(x))
	case OfVar:
		return variance(x)
	}
	lo, hi := extremes(x)
	if f&^rateOf == OfMin {
		return lo
	}
	return hi
}

// variance is the population's. The conversion prevents fused multiplication, as in
// deviation.
func variance(x []float64) float64 {
	mean, total := sum(x)/float64(len(x)), 0.0
	for _, v := range x {
		d := v - mean
		total += float64(d * d)
	}
	return total / float64(len(x))
}

// across applies the function to every row of the columns.
func (f Function) across(columns []Column, rows int) []float64 {
	switch f &^ rateOf {
	case OfMean, OfSum, OfCount:
		return f.total(columns, rows)
	}
	out, scratch := make([]float64, rows), make([]float64, len(columns))
	for i := range out {
		for k, c := range columns {
			scratch[k] = c.Values[i]
		}
		out[i] = f.of(scratch)
	}
	return out
}

// totalRows is how many rows total sums up at a time: they stay in the processor's cache.
const totalRows = 1024

// total is across for functions of the sum and the count. It goes down the columns, as
// they are in memory; each row is summed up from the first column on, as by sum.
func (f Function) total(columns []Column, rows int) []float64 {
	out := make([]float64, rows)
	var counts [totalRows]uint32
	for from := 0; from < rows; from += totalRows {
		sums := out[from:min(from+totalRows, rows)]
		n := counts[:len(sums)]
		clear(n)
		for _, c := range columns {
			for i, v := range c.Values[from:][:len(sums)] {
				if v == v {
					sums[i] += v
					n[i]++
				}
			}
		}
		for i := range sums {
			switch f &^ rateOf {
			case OfCount:
				sums[i] = float64(n[i])
			case OfMean:
				if sums[i] /= float64(n[i]); n[i] == 0 {
					sums[i] = math.NaN()
				}
			}
		}
	}
	return out
}

// rolling applies the function to every window of so many values.
func (f Function) rolling(values []float64, window int) []float64 {
	out, scratch := make([]float64, len(values)-window+1), make([]float64, window)
	for i := range out {
		copy(scratch, values[i:])
		out[i] = f.of(scratch)
	}
	return out
}

// resampled returns the rows of a column in longer buckets. Holes are values.
func (o Resampled) resampled(times []int64, values []float64) []ingest.Measure {
	rows := make([]ingest.Measure, len(times))
	for i, t := range times {
		rows[i] = ingest.Measure{Time: t, Value: values[i]}
	}
	if o.Calendar != 0 {
		return ResampleCalendar(nil, rows, o.Calendar, o.Method)
	}
	return Series(nil, rows, o.Every, o.Method, ingest.MinTime, ingest.MaxTime)
}
