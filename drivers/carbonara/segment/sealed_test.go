package segment

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// cloneSealed copies a run that a scan gave.
func cloneSealed(run SealedRun) SealedRun {
	c := SealedRun{Metric: run.Metric, Granularity: run.Granularity, Times: slices.Clone(run.Times)}
	for i := range run.Values {
		c.Values = append(c.Values, slices.Clone(run.Values[i]))
		c.Present = append(c.Present, slices.Clone(run.Present[i]))
	}
	return c
}

// A cell is one value of a sealed segment.
type cell struct {
	Metric      ingest.MetricID
	Granularity time.Duration
	Time        int64
	Method      string
	Bits        uint64
}

// cells lists the values that are present in runs, however the runs are cut.
func cells(runs []SealedRun, methods []ingest.Method) []cell {
	var list []cell
	for _, run := range runs {
		for row, at := range run.Times {
			for i, m := range methods {
				if run.Present[i] != nil && run.Present[i][row] {
					list = append(list, cell{run.Metric, run.Granularity, at, m.String(), math.Float64bits(run.Values[i][row])})
				}
			}
		}
	}
	return list
}

func rowsOfRuns(runs []SealedRun) (rows int) {
	for _, run := range runs {
		rows += len(run.Times)
	}
	return rows
}

func scannedSealed(t testing.TB, f *Reader) []SealedRun {
	t.Helper()
	var runs []SealedRun
	scan := f.ScanSealed(t.Context())
	for scan.Next() {
		runs = append(runs, cloneSealed(scan.Run()))
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return runs
}

func sameCells(t *testing.T, want, got []cell) {
	t.Helper()
	if !slices.Equal(want, got) {
		t.Errorf("%d cells, want %d", len(got), len(want))
		t.Error(cmp.Diff(want[:min(len(want), 1000)], got[:min(len(got), 1000)]))
	}
}

// someSealed makes runs whose values are missing here and there.
func someSealed(rng *rand.Rand, metrics, most int, methods []ingest.Method) []SealedRun {
	var runs []SealedRun
	for _, id := range metricIDs(metrics) {
		for _, granularity := range []time.Duration{time.Second, time.Minute, time.Hour}[rng.IntN(3):] {
			run := SealedRun{Metric: id, Granularity: granularity}
			at := ingest.Floor(rng.Int64N(1e18), granularity)
			for range 1 + rng.IntN(most) {
				at += int64(granularity) * (1 + rng.Int64N(3))
				run.Times = append(run.Times, at)
			}
			for range methods {
				values, present := make([]float64, len(run.Times)), make([]bool, len(run.Times))
				density := rng.IntN(4)
				for row := range values {
					present[row] = rng.IntN(3) < density
					if values[row] = rng.NormFloat64(); rng.IntN(50) == 0 {
						values[row] = oddValues[rng.IntN(len(oddValues))]
					}
				}
				if !anyOf(present) && rng.IntN(2) == 0 {
					values, present = nil, nil
				}
				run.Values, run.Present = append(run.Values, values), append(run.Present, present)
			}
			runs = append(runs, run)
		}
	}
	return runs
}

// divideMeans sets the means of rows with sum and count to their quotient, as the
// aggregation does.
func divideMeans(runs []SealedRun, methods []ingest.Method) {
	mean, sum, count := quotient(methods)
	for _, run := range runs {
		for row := range run.Times {
			if run.Present[sum] == nil || run.Present[count] == nil || !run.Present[sum][row] || !run.Present[count][row] {
				continue
			}
			if run.Present[mean] == nil {
				run.Values[mean], run.Present[mean] = make([]float64, len(run.Times)), make([]bool, len(run.Times))
			}
			run.Present[mean][row], run.Values[mean][row] = true, run.Values[sum][row]/run.Values[count][row]
		}
	}
}

func TestSealedRoundTrip(t *testing.T) {
	f := func(name string, methods []ingest.Method, prepare func([]SealedRun), metrics, most int) {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(most)))
			runs := someSealed(rng, metrics, most, methods)
			prepare(runs)
			e := NewSealedWriter(methods)
			encode := func(runs []SealedRun) ([]byte, *Reader) {
				for _, run := range runs {
					e.Add(run)
				}
				if e.Rows() != int64(rowsOfRuns(runs)) {
					t.Errorf("rows() = %d, want %d", e.Rows(), rowsOfRuns(runs))
				}
				size := e.Size()
				file, d := finished(t, e)
				if d.Bytes > size {
					t.Errorf("%d bytes, size before %d", d.Bytes, size)
				}
				return file.source.(*object).data, file
			}
			first, file := encode(runs)
			if diff := cmp.Diff(methods, file.Methods()); diff != "" {
				t.Error(diff)
			}
			got := scannedSealed(t, file)
			sameCells(t, cells(runs, methods), cells(got, methods))
			if n := rowsOfRuns(got); n != rowsOfRuns(runs) {
				t.Errorf("%d rows, want %d", n, rowsOfRuns(runs))
			}
			if again, _ := encode(got); !slices.Equal(first, again) {
				t.Error("what was scanned encodes to another file")
			}
		})
	}
	asTheyAre := func([]SealedRun) {}
	some := []ingest.Method{ingest.Max, ingest.Percentile(95).OfRate(), ingest.Last}
	f("one row", some, asTheyAre, 1, 1)
	f("small", some, asTheyAre, 20, 5)
	f("large", some, asTheyAre, 160, 500)
	f("no methods", nil, asTheyAre, 5, 5)
	f("mean without a count", []ingest.Method{ingest.Mean, ingest.Sum}, asTheyAre, 20, 50)
	divide := func(runs []SealedRun) { divideMeans(runs, defaultMethods()) }
	f("means that are quotients", defaultMethods(), divide, 40, 500)
	f("a method that comes late", some, func(runs []SealedRun) {
		for _, run := range runs[:len(runs)-1] {
			run.Values[2], run.Present[2] = nil, nil
		}
		last := runs[len(runs)-1]
		last.Values[2], last.Present[2] = make([]float64, len(last.Times)), make([]bool, len(last.Times))
		last.Present[2][len(last.Times)-1] = true
	}, 160, 500)
	all := ingest.AllMethods()
	f("all methods", all.List(), func(runs []SealedRun) { divideMeans(runs, all.List()) }, 3, 30)
}

func TestSealedMean(t *testing.T) {
	methods := []ingest.Method{ingest.Sum, ingest.Mean, ingest.Count}
	rows := func(means []float64, hasMean, hasSum, hasCount []bool) SealedRun {
		return SealedRun{
			Metric: metricID(1), Granularity: time.Minute, Times: []int64{0, 60e9, 120e9}[:len(hasSum)],
			Values:  [][]float64{{10, 20, 30}, means, {4, 4, 4}},
			Present: [][]bool{hasSum, hasMean, hasCount},
		}
	}
	f := func(name string, run SealedRun, wantColumn bool, want []float64) {
		t.Run(name, func(t *testing.T) {
			e := NewSealedWriter(methods)
			e.Add(run)
			file, _ := finished(t, e)
			if got := file.columnOf(ingest.Mean) >= 0; got != wantColumn {
				t.Errorf("mean has a column: %t", got)
			}
			var found, scanned []float64
			err := file.FindSealed(t.Context(), []Want{everything(run, ingest.Mean)},
				func(_ int, rows []ingest.Measure) error {
					for _, m := range rows {
						found = append(found, m.Value)
					}
					return nil
				})
			if err != nil {
				t.Fatal(err)
			}
			for _, run := range scannedSealed(t, file) {
				for i, p := range run.Present[1] {
					if p {
						scanned = append(scanned, run.Values[1][i])
					}
				}
			}
			if diff := cmp.Diff([][]float64{want, want}, [][]float64{found, scanned}); diff != "" {
				t.Error(diff)
			}
		})
	}
	yes, no := []bool{true, true, true}, []bool{false, false, false}
	f("the quotient is left out", rows([]float64{2.5, 5, 7.5}, yes, yes, yes), false, []float64{2.5, 5, 7.5})
	f("another value stays", rows([]float64{2.5, 5.5, 7.5}, yes, yes, yes), true, []float64{2.5, 5.5, 7.5})
	f("without a count it stays", rows([]float64{2.5, 5, 7.5}, yes, yes, no), true, []float64{2.5, 5, 7.5})
	f("without a count in one row", rows([]float64{2.5, 5, 7.5}, yes, yes, []bool{true, false, true}), true,
		[]float64{2.5, 5, 7.5})
	f("a sum and a count have a mean", rows(nil, nil, yes, []bool{true, false, true}), false, []float64{2.5, 7.5})
}

// everything asks for all rows of a series.
func everything(run SealedRun, m ingest.Method) Want {
	return Want{Metric: run.Metric, Granularity: run.Granularity, Method: m, From: ingest.MinTime, To: ingest.MaxTime}
}

// longSeries makes one series of rows, a second apart.
func longSeries(rows int) SealedRun {
	run := SealedRun{Metric: metricID(1), Granularity: time.Second}
	run.Values, run.Present = make([][]float64, 1), make([][]bool, 1)
	for i := range rows {
		run.Times = append(run.Times, int64(i)*int64(time.Second))
		run.Values[0], run.Present[0] = append(run.Values[0], float64(i)), append(run.Present[0], true)
	}
	return run
}

// A long series is read a piece at a time: what a piece costs doesn't depend on how
// long the series is.
func TestLongSeries(t *testing.T) {
	const rows, piece = 3*groupRows + 5000, 10_000
	run := longSeries(rows)
	e := NewSealedWriter([]ingest.Method{ingest.Max})
	e.Add(run)
	f, _ := finished(t, e)
	source := f.source.(*object)
	want := everything(run, ingest.Max)
	want.Limit = piece
	pieces := 0
	for next := 0; next < rows; pieces++ {
		source.reads.Store(0)
		source.bytes.Store(0)
		begin := next
		err := f.FindSealed(t.Context(), []Want{want}, func(_ int, got []ingest.Measure) error {
			for _, m := range got {
				if m != (ingest.Measure{Time: run.Times[next], Value: run.Values[0][next]}) {
					return fmt.Errorf("row %d is %v", next, m)
				}
				next++
			}
			return nil
		})
		if err != nil || next-begin != min(piece, rows-begin) {
			t.Fatal(err, begin, next)
		}
		// A piece lies in two row groups at most; in each the first page and the last may be
		// read for a few rows, and a gap between two columns.
		most := f.size*(piece+2*2*2048)/rows + 2*joinGap
		if reads, bytes := source.reads.Load(), source.bytes.Load(); reads > 2 || bytes > most {
			t.Errorf("%d rows from %d on: %d reads of %d bytes of %d", piece, begin, reads, bytes, f.size)
		}
		want.From = run.Times[next-1] + 1
	}
	if pieces != (rows+piece-1)/piece {
		t.Errorf("%d pieces", pieces)
	}
}

// A scan of a part of the time reads only pages that may have some of it.
func TestScanWithin(t *testing.T) {
	run := longSeries(3 * groupRows)
	e := NewSealedWriter([]ingest.Method{ingest.Max})
	e.Add(run)
	f, _ := finished(t, e)
	source := f.source.(*object)
	check := func(first, last int, reads int64) {
		t.Helper()
		source.reads.Store(0)
		source.bytes.Store(0)
		var got []SealedRun
		scan := f.ScanSealedWithin(t.Context(), run.Times[first], run.Times[last])
		for scan.Next() {
			got = append(got, cloneSealed(scan.Run()))
		}
		_, rest := run.Cut(first)
		want, _ := rest.Cut(last - first)
		methods := f.Methods()
		if !slices.Equal(cells([]SealedRun{want}, methods), cells(got, methods)) || scan.Err() != nil {
			t.Errorf("from %d to %d: %d rows, %v", first, last, rowsOfRuns(got), scan.Err())
		}
		most := f.size*int64(last-first+2*2*2048)/int64(len(run.Times)) + reads*joinGap
		if source.reads.Load() != reads || source.bytes.Load() > most {
			t.Errorf("from %d to %d: %d reads of %d bytes", first, last, source.reads.Load(), source.bytes.Load())
		}
	}
	check(0, len(run.Times)-1, 3)
	check(5, 5, 1)
	check(5, 6, 1)
	check(groupRows+5000, groupRows+5001, 1)
	check(groupRows-10, groupRows+10, 2)
}

func TestSealedFind(t *testing.T) {
	methods := append(defaultMethods(), ingest.Percentile(95))
	for _, most := range []int{3, 40, 2000} {
		rng := rand.New(rand.NewPCG(11, uint64(most)))
		runs := someSealed(rng, max(3, 6_000/most), most, methods)
		divideMeans(runs, methods)
		e := NewSealedWriter(methods)
		for _, run := range runs {
			e.Add(run)
		}
		f, d := finished(t, e)
		for i := range 30 {
			checkFindSealed(t, f, d, runs, methods, rng, i%2 == 1)
		}
	}
}

func checkFindSealed(t *testing.T, f *Reader, d Info, runs []SealedRun, methods []ingest.Method, rng *rand.Rand,
	limits bool) {
	t.Helper()
	var wants []Want
	for range 1 + rng.IntN(10) {
		run := runs[rng.IntN(len(runs))]
		want := everything(run, methods[rng.IntN(len(methods))])
		switch rng.IntN(6) {
		case 0:
			want.Metric = metricID(-1)
		case 1:
			want.Granularity = time.Hour
		case 2:
			want.Method = ingest.First // not in the segment
		case 3:
			want.From = d.MinTime + rng.Int64N(d.MaxTime-d.MinTime+1)
			want.To = want.From + rng.Int64N(d.MaxTime-want.From+1)
		}
		if limits && rng.IntN(3) > 0 {
			want.Limit = 1 + rng.IntN(3000)
		}
		wants = append(wants, want)
	}
	slices.SortFunc(wants, compareWants)
	wants = slices.CompactFunc(wants, func(a, b Want) bool { return compareWants(a, b) == 0 })
	got, want := make([][]ingest.Measure, len(wants)), make([][]ingest.Measure, len(wants))
	for i, w := range wants {
		want[i] = rowsOfWant(w, runs, methods)
	}
	last := 0
	err := f.FindSealed(t.Context(), wants, func(i int, rows []ingest.Measure) error {
		if i < last && !limits {
			t.Errorf("want %d after %d", i, last)
		}
		last, got[i] = i, append(got[i], rows...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, bitwise); diff != "" {
		t.Error(diff)
	}
}

func compareWants(a, b Want) int {
	if c := CompareMetrics(a.Metric, b.Metric); c != 0 {
		return c
	}
	if a.Granularity != b.Granularity {
		return int(a.Granularity - b.Granularity)
	}
	return int(a.Method) - int(b.Method)
}

func rowsOfWant(w Want, runs []SealedRun, methods []ingest.Method) (rows []ingest.Measure) {
	defer func() {
		if w.Limit > 0 {
			rows = rows[:min(len(rows), w.Limit)]
		}
	}()
	method := slices.Index(methods, w.Method)
	for _, run := range runs {
		if method < 0 || run.Metric != w.Metric || run.Granularity != w.Granularity || run.Present[method] == nil {
			continue
		}
		for i, at := range run.Times {
			if run.Present[method][i] && w.From <= at && at < w.To {
				rows = append(rows, ingest.Measure{Time: at, Value: run.Values[method][i]})
			}
		}
	}
	return rows
}
