package segment

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// finished copies what a writer gives and opens it.
func finished(t testing.TB, e Writer) (*Reader, Info) {
	t.Helper()
	file, description, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), &object{data: slices.Clone(file)}, "a.parquet", int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(t.Context(), description); err != nil {
		t.Fatal(err)
	}
	return f, description
}

func scannedRaw(t testing.TB, f *Reader) []RawRun {
	t.Helper()
	var runs []RawRun
	scan := f.ScanRaw(context.Background())
	for scan.Next() {
		run := scan.Run()
		run.Measures = slices.Clone(run.Measures)
		if n := len(runs); n > 0 && runs[n-1].Metric == run.Metric && runs[n-1].Policy == run.Policy {
			runs[n-1].Measures = append(runs[n-1].Measures, run.Measures...)
			continue
		}
		runs = append(runs, run)
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return runs
}

// bitwise compares floats by their bits.
var bitwise = cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })

// sameRuns compares runs, quickly when they are equal.
func sameRuns(t *testing.T, want, got []RawRun) {
	t.Helper()
	same := slices.EqualFunc(want, got, func(a, b RawRun) bool {
		return a.Metric == b.Metric && a.Policy == b.Policy && slices.EqualFunc(a.Measures, b.Measures, sameMeasure)
	})
	if !same {
		t.Errorf("%d runs, want %d", len(got), len(want))
		t.Error(cmp.Diff(want[:min(len(want), 100)], got[:min(len(got), 100)], bitwise))
	}
}

func sameMeasure(a, b ingest.Measure) bool {
	return a.Time == b.Time && math.Float64bits(a.Value) == math.Float64bits(b.Value)
}

func metricID(n int) ingest.MetricID {
	var id ingest.MetricID
	binary.BigEndian.PutUint64(id[:], uint64(n)*0x9e3779b97f4a7c15>>1)
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func metricIDs(n int) []ingest.MetricID {
	ids := make([]ingest.MetricID, n)
	for i := range ids {
		ids[i] = metricID(i)
	}
	slices.SortFunc(ids, CompareMetrics)
	return ids
}

// oddValues are those that comparisons and conversions could spoil.
var oddValues = []float64{
	0, math.Copysign(0, -1), math.NaN(), math.Float64frombits(0xfff8dead_beef0001),
	math.Float64frombits(0x7ff00000_00000001),
	math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1. / 3,
}

// someRuns makes runs of 1 to most rows.
func someRuns(rng *rand.Rand, metrics, most int) []RawRun {
	var runs []RawRun
	for i, id := range metricIDs(metrics) {
		run := RawRun{Metric: id, Policy: []string{"low", "medium", ""}[i%3]}
		at := rng.Int64N(1e18)
		for range 1 + rng.IntN(most) {
			at += 1 + rng.Int64N(60e9)
			value := math.Round(rng.NormFloat64()*100) / 100
			if rng.IntN(50) == 0 {
				value = oddValues[rng.IntN(len(oddValues))]
			}
			run.Measures = append(run.Measures, ingest.Measure{Time: at, Value: value})
		}
		runs = append(runs, run)
	}
	return runs
}

func TestRawRoundTrip(t *testing.T) {
	e := NewRawWriter() // Kept, as the engine keeps it.
	f := func(name string, runs []RawRun) {
		t.Run(name, func(t *testing.T) {
			for _, run := range runs {
				e.Add(run)
			}
			var rows int64
			for _, run := range runs {
				rows += int64(len(run.Measures))
			}
			if e.Rows() != rows {
				t.Errorf("rows() = %d, want %d", e.Rows(), rows)
			}
			size := e.Size()
			file, d := finished(t, e)
			if e.Rows() != 0 || d.Rows != rows || d.Bytes > size {
				t.Errorf("rows %d after finish, description %+v, size before %d", e.Rows(), d, size)
			}
			sameRuns(t, runs, scannedRaw(t, file))
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	f("empty", nil)
	f("one row", someRuns(rng, 1, 1))
	f("one row each", someRuns(rng, 5000, 1))
	f("few rows each", someRuns(rng, 3000, 10))
	f("many rows each", someRuns(rng, 1000, 150))
	f("a metric larger than row groups", someRuns(rng, 3, 150_000))
	f("after all those, a small one", someRuns(rng, 10, 10))
}

// Timestamps are split into microseconds and a rest, which only files have that need it.
func TestNanoseconds(t *testing.T) {
	f := func(name string, rest bool, measures ...[]ingest.Measure) {
		t.Run(name, func(t *testing.T) {
			var want []RawRun
			e := NewRawWriter()
			for i, id := range metricIDs(len(measures)) {
				want = append(want, RawRun{id, "low", measures[i]})
				e.Add(want[i])
			}
			file, _ := finished(t, e)
			if hasRest := file.rest >= 0; hasRest != rest {
				t.Errorf("there is a column for nanoseconds: %t", hasRest)
			}
			sameRuns(t, want, scannedRaw(t, file))
			for i, run := range want { // Each by its exact time.
				for _, m := range run.Measures[:min(3, len(run.Measures))] {
					found := 0
					err := file.FindRaw(t.Context(), []ingest.MetricID{want[i].Metric}, m.Time, max(m.Time, m.Time+1),
						func(_ int, measures []ingest.Measure, _ string) error {
							if measures[0].Time == m.Time {
								found += len(measures)
							}
							return nil
						})
					if found != 1 && m.Time < ingest.MaxTime-1 || found == 0 || err != nil {
						t.Errorf("%d rows at %d, %v", found, m.Time, err)
					}
				}
			}
		})
	}
	every := func(n int, from, step int64) (measures []ingest.Measure) {
		for i := range n {
			measures = append(measures, ingest.Measure{Time: from + int64(i)*step})
		}
		return measures
	}
	const start = 1_700_000_000_000_000_000
	f("microseconds", false, every(5, start, 1000), every(5, -3000, 1000))
	f("nanoseconds", true, every(2500, -1000, 1), every(9, start, 1))
	f("one of many", true, every(groupRows, start, 1000), every(groupRows, start+1000, 1000), every(3, start, 999))
	f("the ends of time", true, every(3, math.MinInt64, 1), every(3, math.MaxInt64-2, 1))
	f("the ends of time in microseconds", false,
		every(1, math.MinInt64/1000*1000, 1), every(1, math.MaxInt64/1000*1000, 1))
}

func TestRawFind(t *testing.T) {
	for _, most := range []int{1, 20, 300, 20_000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(3, uint64(most)))
			runs := someRuns(rng, 70_000/most, most)
			e := NewRawWriter()
			for _, run := range runs {
				e.Add(run)
			}
			f, d := finished(t, e)
			for range 15 {
				from := d.MinTime + rng.Int64N(d.MaxTime-d.MinTime+1)
				to := from + rng.Int64N(d.MaxTime-from+1)
				if rng.IntN(2) == 0 {
					from, to = ingest.MinTime, ingest.MaxTime
				}
				checkFindRaw(t, f, runs, rng, from, to)
			}
		})
	}
}

func checkFindRaw(t *testing.T, f *Reader, runs []RawRun, rng *rand.Rand, from, to int64) {
	t.Helper()
	var metrics []ingest.MetricID
	var want, got []RawRun
	for range 1 + rng.IntN(20) {
		metrics = append(metrics, runs[rng.IntN(len(runs))].Metric, metricID(-1-rng.IntN(1000)))
	}
	slices.SortFunc(metrics, CompareMetrics)
	metrics = slices.Compact(metrics)
	for _, id := range metrics {
		i, ok := slices.BinarySearchFunc(runs, id, func(r RawRun, id ingest.MetricID) int {
			return CompareMetrics(r.Metric, id)
		})
		if !ok {
			continue
		}
		run := runs[i]
		run.Measures = nil
		for _, m := range runs[i].Measures {
			if from <= m.Time && m.Time < to {
				run.Measures = append(run.Measures, m)
			}
		}
		if len(run.Measures) > 0 {
			want = append(want, run)
		}
	}
	last := 0
	err := f.FindRaw(t.Context(), metrics, from, to, func(i int, measures []ingest.Measure, policy string) error {
		if i < last {
			t.Errorf("metric %d after %d", i, last)
		}
		if n := len(got); n > 0 && got[n-1].Metric == metrics[i] {
			got[n-1].Measures = append(got[n-1].Measures, measures...)
		} else {
			got = append(got, RawRun{metrics[i], policy, slices.Clone(measures)})
		}
		last = i
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sameRuns(t, want, got)
}
