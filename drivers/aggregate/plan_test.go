package aggregate

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var (
	nan     = math.NaN()
	inf     = math.Inf(1)
	negZero = math.Copysign(0, -1)
)

// minutes is the series of Gnocchi's own tests: three buckets of one minute, a
// measure every ten seconds.
func minutes() []ingest.Measure {
	var raw []ingest.Measure
	for minute, values := range [][]float64{{3, 5, 2, 3, 5}, {8, 11, 22, 10, 42, 9}, {4, 2}} {
		for i, v := range values {
			at := time.Duration(minute)*time.Minute + time.Duration(i)*10*time.Second
			raw = append(raw, ingest.Measure{Time: noon + int64(at), Value: v})
		}
	}
	return raw
}

const noon = 1388577600_000000000 // 2014-01-01T12:00:00Z

// seconds makes measures one second apart.
func seconds(values ...float64) []ingest.Measure {
	raw := make([]ingest.Measure, len(values))
	for i, v := range values {
		raw[i] = ingest.Measure{Time: noon + int64(i)*int64(time.Second), Value: v}
	}
	return raw
}

func method(t testing.TB, name string) ingest.Method {
	t.Helper()
	m, ok := ingest.ParseMethod(name)
	if !ok {
		t.Fatalf("no method %q", name)
	}
	return m
}

func TestMethodsOverMinutes(t *testing.T) {
	f := func(name string, want ...float64) {
		t.Helper()
		rows := Series(nil, minutes(), time.Minute, method(t, name), ingest.MinTime, ingest.MaxTime)
		var wantRows []ingest.Measure
		for i, v := range want {
			wantRows = append(wantRows, ingest.Measure{Time: noon + int64(i)*int64(time.Minute), Value: v})
		}
		near := cmp.Comparer(func(a, b float64) bool { return a == b })
		if strings.HasSuffix(name, "pct") {
			near = cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(1, math.Abs(b)) })
		}
		if diff := cmp.Diff(wantRows, rows, near); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	f("first", 3, 8, 4)
	f("last", 5, 9, 2)
	f("count", 5, 6, 2)
	f("sum", 18, 102, 6)
	f("mean", 3.6, 17, 3)
	f("min", 2, 8, 2)
	f("max", 5, 42, 4)
	f("median", 3, 10.5, 3)
	f("50pct", 3, 10.5, 3)
	f("56pct", 3.48, 10.8, 3.12)
	f("1pct", 2.04, 8.05, 2.02)
	f("99pct", 5, 41, 3.98)
	f("std", 1.3416407864998738, 13.2664991614216, 1.4142135623730951)

	// Differences: 2 -3 1 2 | 3 3 11 -12 32 -33 | -5 -2; the first measure has none.
	f("rate:first", 2, 3, -5)
	f("rate:last", 2, -33, -2)
	f("rate:count", 4, 6, 2)
	f("rate:sum", 2, 4, -7)
	f("rate:mean", 0.5, 0.6666666666666666, -3.5)
	f("rate:min", -3, -33, -5)
	f("rate:max", 2, 32, -2)
	f("rate:median", 1.5, 3, -3.5)
	f("rate:95pct", 2, 26.75, -2.15)
	f("rate:std", 2.3804761428476167, 21.878452108562584, 2.1213203435596424)
}

// TestOddValues has one bucket per line. What is missing from want has no row.
func TestOddValues(t *testing.T) {
	f := func(values []float64, want map[string]float64) {
		t.Helper()
		for _, name := range []string{"mean", "sum", "last", "max", "min", "std", "median", "first", "count", "10pct",
			"25pct", "50pct", "90pct"} {
			raw := seconds(values...)
			var got [1]float64
			var present [1]bool
			NewPlan([]ingest.Method{method(t, name)}).Bucket(raw, 0, len(raw), got[:], present[:])
			w, ok := want[name]
			same := sameBits(got[0], w)
			if strings.HasSuffix(name, "pct") { // interpolation has its rounding
				same = same || math.Abs(got[0]-w) <= 1e-12*math.Abs(w)
			}
			if present[0] != ok || !same {
				t.Errorf("%s of %v = %v (%v), want %v (%v)", name, values, got[0], present[0], w, ok)
			}
		}
	}
	f([]float64{7}, map[string]float64{"mean": 7, "sum": 7, "last": 7, "max": 7, "min": 7, "median": 7, "first": 7,
		"count": 1, "10pct": 7, "25pct": 7, "50pct": 7, "90pct": 7})
	f([]float64{1, nan, 3, 2}, map[string]float64{"mean": nan, "sum": nan, "last": 2, "max": nan, "min": 1, "std": nan,
		"median": 2.5, "first": 1, "count": 4, "10pct": 1.3, "25pct": 1.75, "50pct": 2.5, "90pct": nan})
	f([]float64{nan, nan}, map[string]float64{"mean": nan, "sum": nan, "last": nan, "max": nan, "min": nan, "std": nan,
		"median": nan, "first": nan, "count": 2, "10pct": nan, "25pct": nan, "50pct": nan, "90pct": nan})
	f([]float64{nan}, map[string]float64{"mean": nan, "sum": nan, "last": nan, "max": nan, "min": nan, "median": nan,
		"first": nan, "count": 1, "10pct": nan, "25pct": nan, "50pct": nan, "90pct": nan})
	f([]float64{1, inf, -inf}, map[string]float64{"mean": nan, "sum": nan, "last": -inf, "max": inf, "min": -inf,
		"std":    nan,
		"median": 1, "first": 1, "count": 3, "10pct": -inf, "25pct": -inf, "50pct": 1, "90pct": inf})
	f([]float64{-inf, inf}, map[string]float64{"mean": nan, "sum": nan, "last": inf, "max": inf, "min": -inf, "std": nan,
		"median": nan, "first": -inf, "count": 2, "10pct": nan, "25pct": nan, "50pct": nan, "90pct": nan})
	f([]float64{inf, 1, 2, 3, 4}, map[string]float64{"mean": inf, "sum": inf, "last": 4, "max": inf, "min": 1, "std": nan,
		"median": 3, "first": inf, "count": 5, "10pct": 1.4, "25pct": 2, "50pct": 3, "90pct": inf})
	f([]float64{negZero}, map[string]float64{"mean": 0, "sum": 0, "last": negZero, "max": negZero, "min": negZero,
		"median": negZero, "first": negZero, "count": 1, "10pct": negZero, "25pct": negZero, "50pct": negZero,
		"90pct": negZero})
	f([]float64{0, negZero, 1}, map[string]float64{"mean": 1. / 3, "sum": 1, "last": 1, "max": 1, "min": 0,
		"std":    0.5773502691896258,
		"median": negZero, "first": 0, "count": 3, "10pct": 0, "25pct": 0, "50pct": negZero, "90pct": 0.8})
	f([]float64{negZero, 0}, map[string]float64{"mean": 0, "sum": 0, "last": 0, "max": 0, "min": negZero, "std": 0,
		"median": 0, "first": negZero, "count": 2, "10pct": 0, "25pct": 0, "50pct": 0, "90pct": 0})
	f([]float64{1.5e308, 1.5e308, 1.5e308}, map[string]float64{"mean": inf, "sum": inf, "last": 1.5e308, "max": 1.5e308,
		"min": 1.5e308, "std": inf, "median": 1.5e308, "first": 1.5e308, "count": 3, "10pct": 1.5e308, "25pct": 1.5e308,
		"50pct": 1.5e308, "90pct": 1.5e308})
	f([]float64{0.1, 0.2, 0.3}, map[string]float64{"mean": 0.20000000000000004, "sum": 0.6000000000000001, "last": 0.3,
		"max": 0.3,
		"min": 0.1, "std": 0.09999999999999999, "median": 0.2, "first": 0.1, "count": 3, "10pct": 0.12000000000000001,
		"25pct": 0.15000000000000002, "50pct": 0.2, "90pct": 0.28})
	f([]float64{1e16, 1, -1e16}, map[string]float64{"mean": 0, "sum": 0, "last": -1e16, "max": 1e16, "min": -1e16,
		"std":    1e16,
		"median": 1, "first": 1e16, "count": 3, "10pct": -8e15, "25pct": -5e15, "50pct": 1, "90pct": 8e15})
}

func TestRatePredecessor(t *testing.T) {
	at := func(d time.Duration, v float64) ingest.Measure {
		return ingest.Measure{Time: noon + int64(d), Value: v}
	}
	raw := []ingest.Measure{
		at(0, 50), at(4*time.Second, 55), at(62*time.Second, 65), at(74*time.Second, 66), at(84*time.Second, 70),
		at(182*time.Second, 105), at(202*time.Second, 5), at(222*time.Second, 7), at(249*time.Second, 23),
	}
	f := func(name string, from time.Duration, want ...ingest.Measure) {
		t.Helper()
		got := Series(nil, raw, time.Minute, method(t, name), noon+int64(from), ingest.MaxTime)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s from %v: (-want +got)\n%s", name, from, diff)
		}
	}
	// The hole at 12:02 is bridged, and a counter that begins anew gives a negative value.
	f("rate:first", 0, at(0, 5), at(time.Minute, 10), at(3*time.Minute, 35), at(4*time.Minute, 16))
	f("rate:min", 0, at(0, 5), at(time.Minute, 1), at(3*time.Minute, -100), at(4*time.Minute, 16))
	// A lower bound hides buckets, but not what comes before a measure.
	f("rate:first", 2*time.Minute, at(3*time.Minute, 35), at(4*time.Minute, 16))
	// One difference is no deviation.
	f("rate:std", 0, at(time.Minute, 4.58257569495584), at(3*time.Minute, 70.37755323965163))
}

// TestPlanEqualsPlansOfOne computes all 216 methods together and each alone, over
// measures with every kind of odd value.
func TestPlanEqualsPlansOfOne(t *testing.T) {
	all := ingest.AllMethods()
	methods := all.List()
	together := NewPlan(methods)
	if diff := cmp.Diff(methods, together.Methods()); diff != "" {
		t.Fatal(diff)
	}
	values, present := make([]float64, len(methods)), make([]bool, len(methods))
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		raw := oddMeasures(random, 1+random.IntN(90))
		i := random.IntN(len(raw))
		j := i + 1 + random.IntN(len(raw)-i)
		together.Bucket(raw, i, j, values, present)
		for k, m := range methods {
			var v [1]float64
			var ok [1]bool
			NewPlan([]ingest.Method{m}).Bucket(raw, i, j, v[:], ok[:])
			if ok[0] != present[k] || !sameBits(v[0], values[k]) {
				t.Fatalf("%v of raw[%d:%d], raw = %v: alone %v (%v), together %v (%v)", m, i, j, raw, v[0], ok[0], values[k],
					present[k])
			}
		}
	}
}

// TestPlanEqualsDefinition compares with the definitions written down in the
// plainest way.
func TestPlanEqualsDefinition(t *testing.T) {
	all := ingest.AllMethods()
	methods := all.List()
	plan := NewPlan(methods)
	values, present := make([]float64, len(methods)), make([]bool, len(methods))
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		raw := oddMeasures(random, 1+random.IntN(200))
		i := random.IntN(len(raw))
		j := i + 1 + random.IntN(len(raw)-i)
		plan.Bucket(raw, i, j, values, present)
		var plain, differences []float64
		for k := i; k < j; k++ {
			plain = append(plain, raw[k].Value)
			if k > 0 {
				differences = append(differences, raw[k].Value-raw[k-1].Value)
			}
		}
		for k, m := range methods {
			x := plain
			if m.IsRate() {
				x = differences
			}
			want, ok := define(m.Base(), x)
			if ok != present[k] || !sameBits(want, values[k]) {
				t.Fatalf("%v of %v = %v (%v), want %v (%v)", m, x, values[k], present[k], want, ok)
			}
		}
	}
}

func define(m ingest.Method, x []float64) (float64, bool) {
	n := len(x)
	if n == 0 || m == ingest.Std && n == 1 {
		return 0, false
	}
	s := slices.Clone(x)
	slices.SortStableFunc(s, func(a, b float64) int {
		switch {
		case a < b || a == a && b != b:
			return -1
		case a > b || a != a && b == b:
			return 1
		}
		return 0
	})
	total := 0.0
	for _, v := range x {
		total += v
	}
	switch m {
	case ingest.Count:
		return float64(n), true
	case ingest.Sum:
		return total, true
	case ingest.Mean:
		return total / float64(n), true
	case ingest.First:
		return x[0], true
	case ingest.Last:
		return x[n-1], true
	case ingest.Min:
		return s[0], true
	case ingest.Max:
		return s[n-1], true
	case ingest.Median:
		if n%2 == 0 {
			return (s[n/2-1] + s[n/2]) / 2, true
		}
		return s[n/2], true
	case ingest.Std:
		squares := 0.0
		for _, v := range x {
			squares += float64((v - total/float64(n)) * (v - total/float64(n)))
		}
		return math.Sqrt(squares / float64(n-1)), true
	}
	q, _ := m.Quantile()
	h := float64((n-1)*q) / 100
	lo, hi := math.Floor(h), math.Ceil(h)
	if lo == hi {
		return s[int(lo)], true
	}
	return float64(s[int(lo)]*(hi-h)) + float64(s[int(hi)]*(h-lo)), true
}

// oddMeasures makes n measures with a good share of repeated, infinite, zero and
// missing values.
func oddMeasures(random *rand.Rand, n int) []ingest.Measure {
	raw := make([]ingest.Measure, n)
	at := noon + random.Int64N(int64(time.Hour))
	for i := range raw {
		at += 1 + random.Int64N(int64(time.Minute))
		v := random.NormFloat64() * 100
		switch random.IntN(12) {
		case 0:
			v = math.Round(v / 50)
		case 1:
			v = []float64{nan, inf, -inf}[random.IntN(3)]
		case 2:
			v = []float64{0, negZero, math.MaxFloat64, math.SmallestNonzeroFloat64}[random.IntN(4)]
		}
		raw[i] = ingest.Measure{Time: at, Value: v}
	}
	if random.IntN(3) > 0 { // a bucket without the infinities, which make most methods NaN
		for i := range raw {
			if math.IsInf(raw[i].Value, 0) || raw[i].Value != raw[i].Value {
				raw[i].Value = 1
			}
		}
	}
	return raw
}

// sameBits tells −0 from +0 and takes all NaN for one.
func sameBits(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}
