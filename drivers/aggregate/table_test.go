package aggregate

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// pairs makes rows of times and values in turn.
func pairs(timesAndValues ...float64) []ingest.Measure {
	var list []ingest.Measure
	for i := 0; i < len(timesAndValues); i += 2 {
		list = append(list, ingest.Measure{Time: int64(timesAndValues[i]), Value: timesAndValues[i+1]})
	}
	return list
}

func tableOf(t testing.TB, series ...[]ingest.Measure) *Table {
	t.Helper()
	var g Gather
	for _, rows := range series {
		g.Add(rows)
	}
	table, err := g.Table(time.Second, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func valuesOf(t *Table) [][]float64 {
	var all [][]float64
	for _, c := range t.Columns {
		all = append(all, c.Values)
	}
	return all
}

var sameNaN = cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })

func TestTable(t *testing.T) {
	table := tableOf(t, pairs(1, 10, 3, 30), nil, pairs(2, 20, 3, 33), pairs(2, 21, 3, 34))
	if diff := cmp.Diff([]int64{1, 2, 3}, table.Times); diff != "" {
		t.Error(diff)
	}
	want := [][]float64{{10, nan, 30}, {nan, nan, nan}, {nan, 20, 33}, {nan, 21, 34}}
	if diff := cmp.Diff(want, valuesOf(table), sameNaN); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(pairs(1, 10, 3, 30), table.Rows(0, true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(pairs(1, 10, 2, nan, 3, 30), table.Rows(0, false), sameNaN); diff != "" {
		t.Error(diff)
	}
}

// Series may come in any order.
func TestGatherPut(t *testing.T) {
	var g Gather
	g.Put(2, pairs(1, 12, 2, 22))
	g.Put(0, pairs(1, 10, 2, 20))
	g.Put(3, pairs(2, 23))
	table, err := g.Table(time.Second, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]float64{{10, 20}, {nan, nan}, {12, 22}, {nan, 23}}
	if diff := cmp.Diff(want, valuesOf(table), sameNaN); diff != "" || g.Points() != 5 {
		t.Errorf("%d points\n%s", g.Points(), diff)
	}
}

func TestTableLimit(t *testing.T) {
	var g Gather
	for i := range 10 { // no two have a time in common: 10 rows, 10 columns
		g.Add(pairs(float64(i), 1))
	}
	if g.Points() != 10 {
		t.Errorf("%d points", g.Points())
	}
	_, err := g.Table(time.Second, 99)
	if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Errorf("99 cells: %v", err)
	}
	if _, err := g.Table(time.Second, 100); err != nil {
		t.Errorf("100 cells: %v", err)
	}
	var none Gather
	if table, err := none.Table(time.Second, 0); err != nil || table.size() != 0 {
		t.Errorf("no series: %v, %v", table, err)
	}
}

// TestTableEqualsMap compares tables of random series with what a map says.
func TestTableEqualsMap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		series := make([][]ingest.Measure, random.IntN(6))
		all := map[int64]bool{}
		for i := range series {
			for at := range int64(8) {
				if random.IntN(3) > 0 {
					series[i] = append(series[i], ingest.Measure{Time: at, Value: random.Float64()})
					all[at] = true
				}
			}
			if i > 0 && random.IntN(2) == 0 {
				series[i] = slices.Clone(series[i-1]) // the usual case: the same times
			}
		}
		clear(all)
		for _, rows := range series {
			for _, r := range rows {
				all[r.Time] = true
			}
		}
		table := tableOf(t, series...)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(all)), table.Times,
			cmp.Transformer("nil", func(x []int64) []int64 { return append([]int64{}, x...) })); diff != "" {
			t.Fatal(diff)
		}
		for i, rows := range series {
			if got := table.Rows(i, true); !slices.Equal(got, rows) {
				t.Fatalf("series %d: %v, want %v", i, got, rows)
			}
		}
	}
}

func TestFill(t *testing.T) {
	f := func(fill Fill, finite bool, want ...float64) {
		t.Helper()
		table := tableOf(t, pairs(2, 20, 4, 40), pairs(1, 0, 2, 0, 3, 0, 4, 0, 5, 0))
		table.Fill(fill)
		if diff := cmp.Diff(want, table.Columns[0].Values, sameNaN); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", fill, diff)
		}
		if fill.Finite() != finite {
			t.Errorf("%v.Finite() is %v", fill, fill.Finite())
		}
	}
	byName := func(name string) Fill {
		fill, ok := ParseFill(name)
		if !ok {
			t.Fatalf("no fill %q", name)
		}
		return fill
	}
	f(Fill{}, false, nan, 20, nan, 40, nan)
	f(Fill{Kind: FillNumber, Number: 7}, false, 7, 20, 7, 40, 7)
	f(byName("null"), false, nan, 20, nan, 40, nan)
	f(byName("dropna"), true, nan, 20, nan, 40, nan)
	f(byName("ffill"), true, nan, 20, 20, 40, 40)
	f(byName("bfill"), true, 20, 20, 40, 40, nan)
	f(byName("full_ffill"), true, 20, 20, 20, 40, 40)
	f(byName("full_bfill"), true, 20, 20, 40, 40, 40)
	if _, ok := ParseFill("0"); ok {
		t.Error("a number is no name")
	}
	empty := tableOf(t, nil, pairs(1, 1))
	empty.Fill(byName("full_bfill"))
	if !math.IsNaN(empty.Columns[0].Values[0]) {
		t.Error("an empty series was filled")
	}
}

func TestOverlap(t *testing.T) {
	early, late := pairs(1, 1, 2, 1, 3, 1, 4, 1), pairs(3, 2, 4, 2, 5, 2, 6, 2)
	f := func(a, b []ingest.Measure, needed float64, start, stop bool, problem Problem, reason string, times ...int64) {
		t.Helper()
		table := tableOf(t, a, b)
		err := table.Overlap(needed, start, stop)
		bad, _ := errors.AsType[*UnaggregableError](err)
		switch {
		case reason == "" && err != nil:
			t.Error(err)
		case reason == "":
			if diff := cmp.Diff(times, append([]int64(nil), table.Times...)); diff != "" {
				t.Error(diff)
			}
		case bad == nil || bad.Problem != problem || bad.Reason != reason:
			t.Errorf("got %v, want %s", err, reason)
		}
	}
	f(early, late, 100, false, false, 0, "", 3, 4)
	f(early, late, 50, true, false, 0, "", 1, 2, 3, 4)
	f(early, late, 51, true, false, OverlapTooLow, "Less than 51.000000% of datapoints overlap in this timespan (50.00%)")
	f(early, late, 50, false, true, 0, "", 3, 4, 5, 6)
	f(early, late, 0, true, true, 0, "", 1, 2, 3, 4, 5, 6)
	f(early, late, 100, true, true, OverlapTooLow,
		"Less than 100.000000% of datapoints overlap in this timespan (33.33%)")
	f(early, nil, 100, false, false, NoOverlap, "No overlap")
	f(early, nil, 0, false, false, 0, "", 1, 2, 3, 4)
	f(nil, nil, 1, false, false, NoOverlap, "No overlap")
	f(nil, nil, 0, false, false, 0, "")
	f(pairs(1, 1, 2, nan), pairs(1, 1, 2, 2), 100, false, false, 0, "", 1) // a NaN that was stored is a hole
}

func TestCommon(t *testing.T) {
	policy := func(granularities ...time.Duration) *ingest.ArchivePolicy {
		p := &ingest.ArchivePolicy{}
		for _, g := range granularities {
			p.Definitions = append(p.Definitions, ingest.Definition{Granularity: g})
		}
		return p
	}
	f := func(want []time.Duration, policies ...*ingest.ArchivePolicy) {
		t.Helper()
		if got := Common(policies); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	a := policy(1, 60, 3600)
	f(nil)
	f([]time.Duration{3600, 60, 1}, a)
	f([]time.Duration{3600, 1}, a, a, policy(3600, 300, 1))
	f(nil, a, policy(7))
	if len(a.Definitions) != 3 {
		t.Error("the policy was changed")
	}
}
