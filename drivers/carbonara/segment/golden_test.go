package segment

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// The segments in testdata are of format version 2 and must stay readable; as long
// as the version is 2, the same rows make the same bytes. With
// MILLRACE_UPDATE_GOLDEN set they are written anew.
func TestGolden(t *testing.T) {
	a, b := ingest.MetricID{0: 0x0a, 6: 0x40, 8: 0x80, 15: 1}, ingest.MetricID{0: 0xb0, 6: 0x40, 8: 0x80, 15: 2}
	const start = 1_700_000_040_000_000_000
	at := func(minute int) int64 { return start + int64(minute)*int64(time.Minute) }

	raws := []RawRun{
		{a, "low", []ingest.Measure{{Time: at(0), Value: 1.25}, {Time: at(1), Value: -3}, {Time: at(1) + 1, Value: 1e300}}},
		{b, "high", []ingest.Measure{{Time: -1, Value: 0}, {Time: at(0), Value: math.Inf(1)}, {Time: at(1), Value: 2}}},
	}
	raw := NewRawWriter()
	for _, run := range raws {
		raw.Add(run)
	}
	raw.Late([]LateTotal{{b, 300}})
	golden(t, raw, func(f *Reader) {
		if diff := cmp.Diff(raws, scannedRaw(t, f)); diff != "" {
			t.Error(diff)
		}
		lates, err := f.Lates()
		if diff := cmp.Diff([]LateTotal{{b, 300}}, lates); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})

	states := []StateRow{{a, "low", at(2), 0, ingest.MinTime}, {b, "high", at(1), 300, at(0)}}
	state := NewStateWriter()
	for _, row := range states {
		state.Add(row)
	}
	golden(t, state, func(f *Reader) {
		var got []StateRow
		scan := f.ScanState(t.Context())
		for scan.Next() {
			got = append(got, scan.Row())
		}
		if diff := cmp.Diff(states, got); diff != "" || scan.Err() != nil {
			t.Error(scan.Err(), diff)
		}
	})

	methods := []ingest.Method{ingest.Mean, ingest.Sum, ingest.Max, ingest.Count, ingest.Percentile(95).OfRate()}
	yes := []bool{true, true}
	sealeds := []SealedRun{
		{a, time.Minute, []int64{at(0), at(1)}, [][]float64{{2, 5}, {4, 5}, {3, 5}, {2, 1}, {0, 4}},
			[][]bool{yes, yes, yes, yes, {false, true}}},
		{a, time.Hour, []int64{at(0)}, [][]float64{{3}, {9}, {5}, {3}, nil},
			[][]bool{yes[:1], yes[:1], yes[:1], yes[:1], nil}},
		{b, time.Minute, []int64{at(0)}, [][]float64{nil, nil, {math.Inf(-1)}, nil, {-1.5}},
			[][]bool{nil, nil, yes[:1], nil, yes[:1]}},
	}
	sealed := NewSealedWriter(methods)
	for _, run := range sealeds {
		sealed.Add(run)
	}
	golden(t, sealed, func(f *Reader) {
		if diff := cmp.Diff(methods, f.Methods()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(sealeds, scannedSealed(t, f)); diff != "" {
			t.Error(diff)
		}
	})
}

// golden compares a file with the one in testdata, and has that checked.
func golden(t *testing.T, e Writer, check func(*Reader)) {
	t.Helper()
	file, d, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", string(d.Kind)+".parquet")
	if os.Getenv("MILLRACE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, old) {
		t.Errorf("%s has changed", path)
	}
	f, err := Open(t.Context(), &object{data: old}, path, int64(len(old)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
	check(f)
}
