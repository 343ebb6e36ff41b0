package segment

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func TestState(t *testing.T) {
	e := NewStateWriter()
	f := func(rows []StateRow) {
		t.Helper()
		for _, row := range rows {
			e.Add(row)
		}
		size := e.Size()
		file, d := finished(t, e)
		if d.Rows != int64(len(rows)) || d.Bytes > size {
			t.Errorf("description %+v, size before %d, %d rows", d, size, len(rows))
		}
		var scanned, found, want []StateRow
		scan := file.ScanState(t.Context())
		for scan.Next() {
			scanned = append(scanned, scan.Row())
		}
		if scan.Err() != nil {
			t.Fatal(scan.Err())
		}
		if !slices.Equal(rows, scanned) {
			t.Error(cmp.Diff(rows, scanned))
		}
		metrics := []ingest.MetricID{metricID(-1)}
		for i := 0; i < len(rows); i += 1 + len(rows)/7 {
			metrics, want = append(metrics, rows[i].Metric), append(want, rows[i])
		}
		slices.SortFunc(metrics, CompareMetrics)
		err := file.FindState(t.Context(), metrics, func(i int, row StateRow) error {
			if row.Metric != metrics[i] {
				t.Errorf("row of %v for %v", row.Metric, metrics[i])
			}
			found = append(found, row)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Error(diff)
		}
	}
	f(nil)
	f([]StateRow{{metricID(1), "", math.MaxInt64, math.MaxUint64, math.MinInt64}})
	rng := rand.New(rand.NewPCG(1, 3))
	var rows []StateRow
	for i, id := range metricIDs(70_000) {
		policy := []string{"low", "high"}[i/3%2]
		rows = append(rows, StateRow{id, policy, rng.Int64(), uint64(rng.IntN(3)), int64(rng.Uint64())})
	}
	f(rows)
}

func TestLates(t *testing.T) {
	e := NewRawWriter()
	want := []LateTotal{{metricID(1), 1}, {metricID(2), math.MaxUint64}, {metricID(3), 0}}
	e.Late(want[:2])
	e.Late(want[2:])
	f, d := finished(t, e)
	if d.Rows != 0 {
		t.Errorf("%d rows", d.Rows)
	}
	got, err := f.Lates()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}

	for i := range 100_000 { // more than the first read of a tail
		e.Late([]LateTotal{{metricID(i), uint64(i)}})
	}
	f, _ = finished(t, e)
	if got, err = f.Lates(); err != nil || len(got) != 100_000 || got[99_999] != (LateTotal{metricID(99_999), 99_999}) {
		t.Error(err, len(got))
	}
	f, _ = finished(t, e)
	if got, err = f.Lates(); err != nil || got != nil {
		t.Errorf("totals of the segment before: %v, %v", got, err)
	}
}
