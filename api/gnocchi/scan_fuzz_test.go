package gnocchi

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

var (
	testNow = time.Date(2016, 11, 1, 15, 7, 12, 500, time.UTC)
	testID  = ingest.MetricID{0x5c, 15: 1}
)

// A scan is what one of the three readers made of a body.
type scan struct {
	Entries []scannedEntry
	Bad     []MeasuresError
	Err     error
}

type scannedEntry struct {
	Metric   string
	Measures []scannedMeasure
}

// A scannedMeasure compares values bit by bit.
type scannedMeasure struct {
	Time int64
	Bits uint64
}

func scanned(b *Batch, err error) scan {
	s := scan{Err: err, Bad: b.Bad}
	for _, e := range b.Entries {
		entry := scannedEntry{Metric: e.Metric.String()}
		for _, m := range e.Measures {
			entry.Measures = append(entry.Measures, scannedMeasure{m.Time, math.Float64bits(m.Value)})
		}
		s.Entries = append(s.Entries, entry)
	}
	return s
}

// FuzzScan has every body read by the scanner, by the slow path and by the oracle,
// as measures of one metric and as a batch, strictly and leniently.
func FuzzScan(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.body))
	}
	for _, stamp := range stamps {
		f.Add(body(2, 2, stamp.write))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, lenient := range []bool{false, true} {
			for name, read := range map[string][3]func(*Batch) error{
				"measures": {
					func(b *Batch) error { return ScanMeasures(data, testNow, b, testID) },
					func(b *Batch) error { return slowMeasures(data, testNow, b, testID) },
					func(b *Batch) error { return oracleMeasures(data, testNow, b, testID) },
				},
				"batch": {
					func(b *Batch) error { return ScanBatch(data, testNow, b) },
					func(b *Batch) error { return slowBatch(data, testNow, b) },
					func(b *Batch) error { return oracleBatch(data, testNow, b) },
				},
			} {
				var scans [3]scan
				for i, read := range read {
					b := Batch{Lenient: lenient}
					scans[i] = scanned(&b, read(&b))
				}
				if diff := cmp.Diff(scans[2], scans[1]); diff != "" {
					t.Errorf("%s of %q, lenient %v: the slow path differs from the oracle\n%s", name, data, lenient, diff)
				}
				if diff := cmp.Diff(scans[2], scans[0]); diff != "" {
					t.Errorf("%s of %q, lenient %v: the scanner differs from the oracle\n%s", name, data, lenient, diff)
				}
			}
		}
	})
}
