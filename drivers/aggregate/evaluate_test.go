package aggregate

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var (
	a = Metrics{{"a", "mean"}}
	b = Metrics{{"b", "mean"}}
	c = Metrics{{"c", "mean"}}
	// all but c
	ab = Metrics{{"b", "mean"}, {"a", "mean"}, {"a", "mean"}}
)

func unary(t testing.TB, name string, of Operation) Operation {
	o, ok := ParseUnary(name)
	if !ok {
		t.Fatalf("no operator %q", name)
	}
	return Unary{o, of}
}

func binary(t testing.TB, name string, left, right Operation) Operation {
	o, ok := ParseBinary(name)
	if !ok {
		t.Fatalf("no operator %q", name)
	}
	return Binary{o, left, right}
}

// three is a table of a, b and c with a row per second from 0 on.
func three(t testing.TB) (*Table, []Reference) {
	return tableOf(t, pairs(0, 1, 1e9, 2, 2e9, 3, 3e9, 4), pairs(0, 10, 1e9, 20, 2e9, 30, 3e9, 40),
			pairs(1e9, -5, 3e9, 5)),
		[]Reference{a[0], b[0], c[0]}
}

func TestEvaluate(t *testing.T) {
	f := func(tree Operation, want ...[]float64) *Table {
		t.Helper()
		table, refs := three(t)
		result, err := Evaluate(tree, table, refs, Limits{1000, 1000})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, valuesOf(result), sameNaN); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		return result
	}
	f(a, []float64{1, 2, 3, 4})
	f(ab, []float64{1, 2, 3, 4}, []float64{10, 20, 30, 40}) // in the order of the series, each once
	f(c, []float64{nan, -5, nan, 5})
	f(Across{OfSum, []Operation{ab}}, []float64{11, 22, 33, 44})
	f(Across{OfMean, []Operation{a, c, b}}, []float64{5.5, 17.0 / 3, 16.5, 49.0 / 3}) // several operands
	f(Across{OfCount, []Operation{a, c}}, []float64{1, 2, 1, 2})
	f(Across{OfMean | rateOf, []Operation{a, b}}, []float64{5.5, 5.5, 5.5})
	f(Rolling{OfSum, 3, ab}, []float64{6, 9}, []float64{60, 90})
	f(Rolling{OfMax | rateOf, 2, a}, []float64{1, 1})
	f(Rolling{OfMin, 2, c}, []float64{-5, -5, 5})
	f(Rolling{OfMean, 4, a}, []float64{2.5})
	f(Change{false, ab}, []float64{1, 1, 1}, []float64{10, 10, 10})
	f(Change{true, b}, []float64{nan, 10, 10, 10})
	f(unary(t, "neg", a), []float64{-1, -2, -3, -4})
	f(binary(t, "+", a, Number(1)), []float64{2, 3, 4, 5})
	f(binary(t, "-", Number(1), a), []float64{0, -1, -2, -3})
	f(binary(t, "-", a, binary(t, "*", Number(2), Number(3))), []float64{-5, -4, -3, -2})
	f(binary(t, "-", unary(t, "abs", Number(-1)), a), []float64{0, -1, -2, -3})
	f(binary(t, "/", a, b), []float64{.1, .1, .1, .1})
	f(Across{OfSum, []Operation{binary(t, "-", ab, a)}}, []float64{9, 18, 27, 36}) // one column meets all
	f(Across{OfSum, []Operation{binary(t, "-", a, ab)}}, []float64{-9, -18, -27, -36})
	f(Across{OfSum, []Operation{binary(t, "*", ab, ab)}}, []float64{101, 404, 909, 1616})
	f(binary(t, "-", a, a), []float64{0, 0, 0, 0})
	f(Across{OfSum, []Operation{binary(t, "-", binary(t, "+", a, Number(1)), ab)}}, []float64{-7, -16, -25, -34})

	resampled := f(Resampled{Method: ingest.Mean, Every: 2 * time.Second, Of: ab}, []float64{1.5, 3.5}, []float64{15, 35})
	if diff := cmp.Diff([]int64{0, 2e9}, resampled.Times); diff != "" || resampled.Granularity != 2*time.Second {
		t.Errorf("granularity %v\n%s", resampled.Granularity, diff)
	}
	f(Resampled{Method: ingest.Sum.OfRate(), Every: 2 * time.Second, Of: b}, []float64{10, 20})
	byYear := f(Resampled{Method: ingest.Sum, Calendar: Year, Of: a}, []float64{10})
	if byYear.Granularity != 0 || byYear.Times[0] != 0 {
		t.Errorf("by year: %v at %v", byYear.Granularity, byYear.Times)
	}
	f(Resampled{Method: ingest.Std, Every: 2 * time.Second, Of: a}, []float64{math.Sqrt(.5), math.Sqrt(.5)})
}

// What an operation computes in place is never what another one reads.
func TestEvaluateLeavesOperandsAlone(t *testing.T) {
	table, refs := three(t)
	tree := Across{OfSum, []Operation{a, unary(t, "neg", a), Change{true, a}, binary(t, "*", a, Number(100)), a}}
	result, err := Evaluate(tree, table, refs, Limits{1000, 1000})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]float64{{101, 203, 304, 405}}, valuesOf(result)); diff != "" {
		t.Error(diff)
	}
}

func TestEvaluateProblems(t *testing.T) {
	f := func(tree Operation, want Problem, reason string) {
		t.Helper()
		table, refs := three(t)
		_, err := Evaluate(tree, table, refs, Limits{1000, 1000})
		if bad, ok := errors.AsType[*UnaggregableError](err); !ok || bad.Problem != want || bad.Reason != reason {
			t.Errorf("got %v, want %s", err, reason)
		}
	}
	f(Rolling{OfMean, 5, a}, WindowTooLong, "Rolling window '5' is greater than serie length '4'")
	f(binary(t, "+", Resampled{Method: ingest.Mean, Every: time.Minute, Of: a}, b), NotAligned,
		"Can't compute timeseries with different granularity 60.0 <> 1.0")
	f(binary(t, "+", a, Rolling{OfMean, 2, a}), NotAligned,
		"Can't compute timeseries with different timestamps: 4 <> 3 of granularity 1.0")
	f(Across{OfSum, []Operation{a, Change{false, a}}}, NotAligned,
		"Can't compute timeseries with different timestamps: 4 <> 3 of granularity 1.0")
	f(binary(t, "+", ab, Metrics{a[0], b[0], c[0]}), DifferentSize, "Can't compute timeseries of 2 series with one of 3")
	f(Across{OfSum, []Operation{Number(1)}}, NotASeries, notASeries().Error())
	f(Change{false, Number(1)}, NotASeries, notASeries().Error())
	f(Number(1), NotASeries, notASeries().Error())
	f(Metrics{{"d", "mean"}}, NoSeries, "There is no series for a metric operation")
	f(binary(t, "+", ab, ab), SeveralLeft,
		"The operations leave 2 series that can't be told apart: an aggregate around them makes one of them")
}

func TestEvaluateLimits(t *testing.T) {
	f := func(tree Operation, limits Limits, steps bool) {
		t.Helper()
		table, refs := three(t)
		_, err := Evaluate(tree, table, refs, limits)
		if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Steps != steps {
			t.Errorf("%v: %v", limits, err)
		}
	}
	sum := Across{OfSum, []Operation{a, b}}
	f(sum, Limits{12 + 3, 1000}, false) // 12 are in the table
	f(sum, Limits{1000, 7}, true)
	f(Rolling{OfSum, 2, a}, Limits{1000, 5}, true)
	f(unary(t, "neg", a), Limits{12 + 3, 1000}, false)
	f(Resampled{Method: ingest.Mean, Every: time.Minute, Of: a}, Limits{12 + 19, 1000}, false)
	f(Rolling{OfSum, 2, Rolling{OfSum, 1, a}}, Limits{12 + 4 + 2, 1000}, false)

	// Room is given back: however long a chain, it holds one table more than there is.
	var chain Operation = a
	for range 10 {
		chain = binary(t, "+", binary(t, "+", chain, b), Number(1))
	}
	table, refs := three(t)
	if _, err := Evaluate(chain, table, refs, Limits{12 + 4, 1000}); err != nil {
		t.Error(err)
	}
}

func TestFunctions(t *testing.T) {
	f := func(name string, x []float64, want float64) {
		t.Helper()
		function, ok := ParseFunction(name)
		if !ok || function.String() != name {
			t.Fatalf("%q is %v, %v", name, function, ok)
		}
		if got := function.of(append([]float64(nil), x...)); !cmp.Equal(got, want, sameNaN) {
			t.Errorf("%s of %v = %v, want %v", name, x, got, want)
		}
	}
	x := []float64{9, nan, 24, 1}
	f("mean", x, 34.0/3)
	f("median", x, 9)
	f("median", []float64{4, nan, 1}, 2.5)
	f("std", x, math.Sqrt(variance([]float64{9, 24, 1})))
	f("var", x, (math.Pow(9-34.0/3, 2)+math.Pow(24-34.0/3, 2)+math.Pow(1-34.0/3, 2))/3)
	f("var", []float64{5}, 0)
	f("min", x, 1)
	f("max", x, 24)
	f("sum", x, 34)
	f("count", x, 3)
	f("sum", []float64{inf, 1}, inf)
	for _, name := range functionNames {
		want := nan
		if name == "sum" || name == "count" {
			want = 0
		}
		f(name, []float64{nan, nan}, want)
		f(name, nil, want)
		f("rate:"+name, nil, want)
	}
	for _, name := range []string{"first", "last", "95pct", "rate:", "", "rate:rate:mean"} {
		if _, ok := ParseFunction(name); ok {
			t.Errorf("%q is a function", name)
		}
	}
}

func TestOperators(t *testing.T) {
	f := func(name string, x, y, want float64) {
		t.Helper()
		o, ok := ParseBinary(name)
		if !ok {
			t.Fatalf("no operator %q", name)
		}
		if got := o.Apply(x, y); !cmp.Equal(got, want, sameNaN) {
			t.Errorf("%v %s %v = %v, want %v", x, name, y, got, want)
		}
	}
	f("+", 1, 2, 3)
	f("add", 1, 2, 3)
	f("sub", 1, 2, -1)
	f("×", 3, 2, 6)
	f("÷", 1, 0, inf)
	f("/", 0, 0, nan)
	f("%", 7, 3, 1)
	f("mod", -7, 3, 2)
	f("%", 7, -3, -2)
	f("%", -7, -3, -1)
	f("%", -6, 3, 0)
	f("%", 1, 0, nan)
	f("%", -5, inf, inf)
	f("**", 2, 10, 1024)
	f("^", 2, -1, .5)
	f("=", 1, 1, 1)
	f("eq", nan, nan, 0)
	f("≠", nan, 1, 1)
	f("lt", 1, 2, 1)
	f(">", nan, 1, 0)
	f("≤", 2, 2, 1)
	f("ge", 1, 2, 0)
	f("max", nan, 1, 1)
	f("max", 1, nan, 1)
	f("max", 1, 2, 2)
	f("max", nan, nan, nan)
	f("clip_min", 1, 5, 5)
	f("clip_max", 1, 5, 1)
	f("clip_min", nan, 5, nan)
	if o, _ := ParseBinary("pow"); o.String() != "**" {
		t.Errorf("pow is %q", o)
	}
	if o, _ := ParseUnary("absolute"); o.String() != "abs" {
		t.Errorf("absolute is %q", o)
	}
}

func TestAggregated(t *testing.T) {
	f := func(tree Operation, want bool, refs ...Reference) {
		t.Helper()
		if got := Aggregated(tree); got != want {
			t.Errorf("%v: %v", tree, got)
		}
		if diff := cmp.Diff(refs, References(tree)); diff != "" {
			t.Errorf("%v: %s", tree, diff)
		}
	}
	f(a, false, a[0])
	f(ab, false, b[0], a[0])
	f(binary(t, "+", a, Number(1)), false, a[0])
	f(binary(t, "+", Number(1), Number(1)), false)
	f(binary(t, "+", b, unary(t, "neg", a)), true, b[0], a[0])
	f(Across{OfSum, []Operation{a}}, true, a[0])
	f(Change{false, Rolling{OfSum, 1, Resampled{Method: ingest.Mean, Every: 1, Of: Across{OfSum, []Operation{a}}}}}, true,
		a[0])
}

// A dashboard's usual question: 100 metrics, a day of minutes.
func BenchmarkEvaluate(bench *testing.B) {
	const metrics, rows = 100, 1440
	series := make([]ingest.Measure, rows)
	for i := range series {
		series[i] = ingest.Measure{Time: int64(i) * int64(time.Minute), Value: float64(i%97) / 7}
	}
	refs := make([]Reference, metrics)
	all := make(Metrics, metrics)
	for i := range refs {
		refs[i] = Reference{string(rune('a' + i)), "mean"}
		all[i] = refs[i]
	}
	for _, name := range []string{"mean", "median", "std"} {
		f, _ := ParseFunction(name)
		bench.Run(name, func(bench *testing.B) {
			bench.ReportAllocs()
			for bench.Loop() {
				var g Gather
				for range metrics {
					g.Add(series)
				}
				table, err := g.Table(time.Minute, 1<<20)
				if err != nil {
					bench.Fatal(err)
				}
				table.Fill(Fill{Kind: FillDrop})
				if _, err := Evaluate(Across{f, []Operation{all}}, table, refs, Limits{1 << 20, 1 << 20}); err != nil {
					bench.Fatal(err)
				}
			}
			perMeasure(bench, metrics*rows)
		})
	}
}

// TestAcrossRows computes each row by itself.
func TestAcrossRows(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const rows = totalRows*2 + 7
	columns := make([]Column, 5)
	for k := range columns {
		columns[k].Values = make([]float64, rows)
		for i, m := range oddMeasures(random, rows) {
			columns[k].Values[i] = m.Value
			if i%11 == 0 || random.IntN(3) == 0 {
				columns[k].Values[i] = nan
			}
		}
	}
	for f := OfMean; f <= OfCount; f++ {
		got := f.across(columns, rows)
		for i := range rows {
			var row []float64
			for _, c := range columns {
				row = append(row, c.Values[i])
			}
			if want := f.of(row); !sameBits(want, got[i]) {
				t.Fatalf("%s of row %d: %v, want %v", f, i, got[i], want)
			}
		}
	}
}
