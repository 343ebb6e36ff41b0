package aggregate

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// pairs makes measures of times and values in turn.
func pairs(timesAndValues ...int64) []ingest.Measure {
	var list []ingest.Measure
	for i := 0; i < len(timesAndValues); i += 2 {
		list = append(list, ingest.Measure{Time: timesAndValues[i], Value: float64(timesAndValues[i+1])})
	}
	return list
}

func TestMerge(t *testing.T) {
	f := func(raw, record, want []ingest.Measure) {
		t.Helper()
		before := pairs(99, 99)
		sent := slices.Clone(record)
		got := Merge(slices.Clone(before), raw, record)
		if diff := gocmp.Diff(append(before, want...), got); diff != "" {
			t.Errorf("Merge(%v, %v): (-want +got)\n%s", raw, record, diff)
		}
		if !slices.Equal(sent, record) {
			t.Errorf("Merge(%v, %v) changed the record: %v", raw, sent, record)
		}
		in := slices.Clone(raw)
		if got := Merge(in[:0], in, record); !slices.Equal(want, got) {
			t.Errorf("Merge(%v, %v) in place = %v, want %v", raw, record, got, want)
		}
	}
	f(nil, nil, nil)
	f(pairs(1, 1), nil, pairs(1, 1))
	f(nil, pairs(1, 1), pairs(1, 1))
	f(pairs(1, 1, 2, 2), pairs(3, 3, 4, 4), pairs(1, 1, 2, 2, 3, 3, 4, 4))
	f(pairs(1, 1, 2, 2), pairs(2, 9), pairs(1, 1, 2, 9))       // the record wins
	f(pairs(1, 1), pairs(5, 3, 5, 1, 5, 2), pairs(1, 1, 5, 2)) // the last of the payload wins
	f(pairs(5, 0), pairs(5, 3, 4, 1, 5, 2), pairs(4, 1, 5, 2)) // in whatever order
	f(pairs(3, 3, 4, 4, 5, 5), pairs(1, 1, 4, 9), pairs(1, 1, 3, 3, 4, 9, 5, 5))
	f(pairs(1, 1, 3, 3, 5, 5), pairs(6, 6, 2, 2, 4, 4, 0, 0), pairs(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6))
	f(pairs(ingest.MinTime, 1, ingest.MaxTime, 2), pairs(ingest.MaxTime, 3, ingest.MinTime, 4),
		pairs(ingest.MinTime, 4, ingest.MaxTime, 3))
}

// TestMergeEqualsMap merges records one after another, in place, and compares with
// a map to which they were written.
func TestMergeEqualsMap(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		var raw []ingest.Measure
		want := map[int64]float64{}
		for range random.IntN(10) {
			record := make([]ingest.Measure, random.IntN(20))
			first := random.Int64N(60)
			for i := range record {
				record[i] = ingest.Measure{Time: first + random.Int64N(30), Value: random.Float64()}
				want[record[i].Time] = record[i].Value
			}
			if random.IntN(2) == 0 {
				slices.SortStableFunc(record, func(a, b ingest.Measure) int { return cmp.Compare(a.Time, b.Time) })
			}
			raw = Merge(raw[:0], raw, record)
		}
		var list []ingest.Measure
		for _, at := range slices.Sorted(maps.Keys(want)) {
			list = append(list, ingest.Measure{Time: at, Value: want[at]})
		}
		if !slices.Equal(list, raw) {
			t.Fatalf("got %v, want %v", raw, list)
		}
	}
}
