package aggregate

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func TestSeriesRange(t *testing.T) {
	f := func(from, to int64, want ...float64) {
		t.Helper()
		var got []float64
		for _, row := range Series(nil, minutes(), time.Minute, ingest.Count, from, to) {
			got = append(got, row.Value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %d to %d: (-want +got)\n%s", from, to, diff)
		}
	}
	minute := int64(time.Minute)
	f(ingest.MinTime, ingest.MaxTime, 5, 6, 2)
	f(noon, noon+3*minute, 5, 6, 2)
	f(noon+1, noon+3*minute, 6, 2) // a bucket that has begun before is not in the range
	f(noon+minute, noon+2*minute, 6)
	f(noon+minute, noon+2*minute+1, 6, 2)
	f(noon+minute+1, noon+2*minute)
	f(noon+2*minute, noon+minute)
	f(noon+3*minute, ingest.MaxTime)
}

func TestSeriesAppends(t *testing.T) {
	before := ingest.Measure{Time: 1, Value: 2}
	got := Series([]ingest.Measure{before}, minutes(), time.Hour, ingest.Count, ingest.MinTime, ingest.MaxTime)
	if diff := cmp.Diff([]ingest.Measure{before, {Time: noon, Value: 13}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := Series(nil, nil, time.Hour, ingest.Count, ingest.MinTime, ingest.MaxTime); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestSeriesAtTheEndsOfTime(t *testing.T) {
	raw := []ingest.Measure{
		{Time: ingest.MinTime, Value: 1}, {Time: ingest.MinTime + 1, Value: 2}, {Time: 0, Value: 3},
		{Time: ingest.MaxTime - 1, Value: 4}, {Time: ingest.MaxTime, Value: 5},
	}
	f := func(g time.Duration, want ...ingest.Measure) {
		t.Helper()
		got := Series(nil, raw, g, ingest.Sum, ingest.MinTime, ingest.MaxTime)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", g, diff)
		}
	}
	f(time.Hour, ingest.Measure{Time: ingest.MinTime, Value: 3}, ingest.Measure{Time: 0, Value: 3},
		ingest.Measure{Time: ingest.Floor(ingest.MaxTime, time.Hour), Value: 9})
	f(1, raw...)
	f(time.Duration(ingest.MaxTime), ingest.Measure{Time: ingest.MinTime, Value: 1},
		ingest.Measure{Time: -ingest.MaxTime, Value: 2},
		ingest.Measure{Time: 0, Value: 7}, ingest.Measure{Time: ingest.MaxTime, Value: 5})
}

// TestSeriesEqualsPlan walks the buckets by hand.
func TestSeriesEqualsPlan(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	all := ingest.AllMethods()
	methods := all.List()
	plan := NewPlan(methods)
	values, present := make([]float64, len(methods)), make([]bool, len(methods))
	for range 20 {
		raw := oddMeasures(random, 300)
		g := time.Duration(1 + random.Int64N(int64(10*time.Minute)))
		want := make([][]ingest.Measure, len(methods))
		for i := 0; i < len(raw); {
			j := i
			for j < len(raw) && ingest.Floor(raw[j].Time, g) == ingest.Floor(raw[i].Time, g) {
				j++
			}
			if end := BucketEnd(raw, i, g); end != j {
				t.Fatalf("BucketEnd(%v) = %d, want %d", g, end, j)
			}
			plan.Bucket(raw, i, j, values, present)
			for k := range methods {
				if present[k] {
					want[k] = append(want[k], ingest.Measure{Time: ingest.Floor(raw[i].Time, g), Value: values[k]})
				}
			}
			i = j
		}
		for k, m := range methods {
			got := Series(nil, raw, g, m, ingest.MinTime, ingest.MaxTime)
			if diff := cmp.Diff(want[k], got, cmp.Comparer(sameBits)); diff != "" {
				t.Fatalf("%v at %v: (-want +got)\n%s", m, g, diff)
			}
		}
	}
}

func TestResample(t *testing.T) {
	row := func(minute int64, v float64) ingest.Measure {
		return ingest.Measure{Time: noon + minute*int64(time.Minute), Value: v}
	}
	rows := []ingest.Measure{row(0, 0), row(1, 1), row(2, 2), row(3, 3), row(4, 4), row(5, 5)}
	f := func(name string, want ...ingest.Measure) {
		t.Helper()
		before := ingest.Measure{Time: 1}
		got := Resample([]ingest.Measure{before}, rows, 3*time.Minute, method(t, name))
		if diff := cmp.Diff(append([]ingest.Measure{before}, want...), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		in := append([]ingest.Measure(nil), rows...)
		if diff := cmp.Diff(want, Resample(in[:0], in, 3*time.Minute, method(t, name))); diff != "" {
			t.Errorf("%s in place: (-want +got)\n%s", name, diff)
		}
	}
	f("sum", row(0, 3), row(3, 12))
	f("mean", row(0, 1), row(3, 4))
	f("count", row(0, 3), row(3, 3)) // of rows
	f("last", row(0, 2), row(3, 5))
	f("std", row(0, 1), row(3, 1))
	f("rate:mean", row(0, 1), row(3, 4)) // not derived again

	if got := Resample(nil, rows, time.Minute, ingest.Std); got != nil {
		t.Errorf("std of single rows: %v", got)
	}
}

func TestResampleCalendar(t *testing.T) {
	at := func(date string, v float64) ingest.Measure {
		day, err := time.Parse(time.DateOnly, date)
		if err != nil {
			t.Fatal(err)
		}
		return ingest.Measure{Time: day.UnixNano(), Value: v}
	}
	rows := []ingest.Measure{at("2015-03-01", 10), at("2015-03-06", 12), at("2015-04-01", 2), at("2015-04-06", 4),
		at("2015-10-06", 7), at("2016-01-06", 12), at("2016-02-06", 4)}
	f := func(c Calendar, m ingest.Method, want ...ingest.Measure) {
		t.Helper()
		in := append([]ingest.Measure(nil), rows...)
		for _, dst := range [][]ingest.Measure{nil, in[:0]} {
			if diff := cmp.Diff(want, ResampleCalendar(dst, in, c, m)); diff != "" {
				t.Errorf("%v: (-want +got)\n%s", c, diff)
			}
		}
	}
	f(Year, ingest.Mean, at("2015-01-01", 7), at("2016-01-01", 8))
	f(Half, ingest.Mean, at("2015-01-01", 7), at("2015-07-01", 7), at("2016-01-01", 8))
	f(Quarter, ingest.Mean, at("2015-01-01", 11), at("2015-04-01", 3), at("2015-10-01", 7), at("2016-01-01", 8))
	f(Month, ingest.Mean, at("2015-03-01", 11), at("2015-04-01", 3), at("2015-10-01", 7), at("2016-01-01", 12),
		at("2016-02-01", 4))
	f(Week, ingest.Mean, at("2015-03-01", 11), at("2015-03-29", 2), at("2015-04-05", 4), at("2015-10-04", 7),
		at("2016-01-03", 12), at("2016-01-31", 4))
	f(Quarter, ingest.Mean.OfRate(), at("2015-01-01", 11), at("2015-04-01", 3), at("2015-10-01", 7), at("2016-01-01", 8))
	f(Year, ingest.Count, at("2015-01-01", 5), at("2016-01-01", 2))
}

func TestResampleMeanIsUnweighted(t *testing.T) {
	mean := Series(nil, minutes(), time.Minute, ingest.Mean, ingest.MinTime, ingest.MaxTime)
	got := Resample(nil, mean, time.Hour, ingest.Mean)
	if diff := cmp.Diff([]ingest.Measure{{Time: noon, Value: 7.866666666666667}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
