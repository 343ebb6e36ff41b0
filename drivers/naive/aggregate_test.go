package naive

import (
	"math"
	"testing"
	"time"

	"millrace/ingest"
)

var (
	nan  = math.NaN()
	inf  = math.Inf(1)
	zero = math.Copysign(0, -1)
)

// minutes makes measures of consecutive minutes out of their values, evenly
// spread inside each.
func minutes(values ...[]float64) []ingest.Measure {
	var raw []ingest.Measure
	for i, minute := range values {
		for j, v := range minute {
			raw = append(raw, ingest.Measure{Time: int64(i)*int64(time.Minute) + int64(j)*int64(5*time.Second), Value: v})
		}
	}
	return raw
}

func method(t *testing.T, name string) ingest.Method {
	t.Helper()
	m, ok := ingest.ParseMethod(name)
	if !ok {
		t.Fatalf("no method %q", name)
	}
	return m
}

// The worked examples of the rules: three minutes of thirteen measures.
func TestAggregateExamples(t *testing.T) {
	raw := minutes([]float64{3, 5, 2, 3, 5}, []float64{8, 11, 22, 10, 42, 9}, []float64{4, 2})
	f := func(name string, want ...float64) {
		t.Helper()
		rows := aggregate(raw, int64(time.Minute), method(t, name))
		if len(rows) != len(want) {
			t.Fatalf("%s: %v, want %v", name, rows, want)
		}
		for i, row := range rows {
			if row.Time != int64(i)*int64(time.Minute) || math.Abs(row.Value-want[i]) > 1e-12*max(1, want[i]) {
				t.Errorf("%s: row %d is %v, want %v", name, i, row, want[i])
			}
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
}

// Bit for bit, in one bucket.
func TestValues(t *testing.T) {
	f := func(name string, want float64, values ...float64) {
		t.Helper()
		rows := aggregate(minutes(values), int64(time.Minute), method(t, name))
		if len(rows) != 1 || math.Float64bits(rows[0].Value) != math.Float64bits(want) &&
			!(math.IsNaN(want) && math.IsNaN(rows[0].Value)) {
			t.Errorf("%s of %v: %v, want %v", name, values, rows, want)
		}
	}
	// NaN sorts last, counts, and spoils what adds.
	f("mean", nan, 1, nan, 3, 2)
	f("sum", nan, 1, nan, 3, 2)
	f("std", nan, 1, nan, 3, 2)
	f("max", nan, 1, nan, 3, 2)
	f("min", 1, 1, nan, 3, 2)
	f("min", nan, nan, nan)
	f("count", 4, 1, nan, 3, 2)
	f("median", 2.5, 1, nan, 3, 2)
	f("10pct", 1.2999999999999998, 1, nan, 3, 2) // 1.3 but for the last bit of the weights
	f("90pct", nan, 1, nan, 3, 2)
	f("first", nan, nan, 1)
	f("last", nan, 1, nan)

	f("sum", nan, 1, inf, -inf)
	f("min", -inf, 1, inf, -inf)
	f("max", inf, 1, inf, -inf)
	f("median", 1, 1, inf, -inf)

	// Of equal values the earlier sorts first.
	f("min", zero, zero, 0)
	f("min", 0, 0, zero)
	f("max", 0, zero, 0)
	f("max", zero, 0, zero)

	// Left to right, without compensation.
	f("sum", 0, 1, 1e100, -1e100)
	f("sum", 0.30000000000000004, 0.1, 0.2)

	// Differences belong to the later measure.
	f("rate:sum", 6, 1, 2, 4, 7)
	f("rate:count", 3, 1, 2, 4, 7)
	f("rate:std", 1, 1, 2, 4, 7)
	f("rate:min", -32, 5, 10, 21, -11)
	f("rate:last", nan, 5, nan)
}

func TestNoRow(t *testing.T) {
	f := func(name string, values ...float64) {
		t.Helper()
		if rows := aggregate(minutes(values), int64(time.Minute), method(t, name)); len(rows) != 0 {
			t.Errorf("%s of %v: %v, want no row", name, values, rows)
		}
	}
	f("std", 3)
	f("rate:max", 3)
	f("rate:std", 3, 4)
}

// The predecessor of a difference is the measure before, whatever the distance.
func TestRateOverHole(t *testing.T) {
	raw := minutes([]float64{10}, nil, nil, []float64{45})
	rows := aggregate(raw, int64(time.Minute), method(t, "rate:mean"))
	if want := (ingest.Measure{Time: int64(3 * time.Minute), Value: 35}); len(rows) != 1 || rows[0] != want {
		t.Errorf("%v, want %v", rows, want)
	}
}

func TestBucketOf(t *testing.T) {
	f := func(at, g, want int64) {
		t.Helper()
		if got := bucketOf(at, g); got != want {
			t.Errorf("bucketOf(%d, %d) = %d, want %d", at, g, got, want)
		}
	}
	f(0, 7, 0)
	f(6, 7, 0)
	f(7, 7, 7)
	f(-1, 7, -7)
	f(-7, 7, -7)
	// Binary64 would round this one up.
	f(1388577600_999999999, int64(time.Second), 1388577600_000000000)
}
