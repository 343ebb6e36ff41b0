package segment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"millrace/ingest"
)

func visitNothing(int, []ingest.Measure, string) error { return nil }

// Requests are what S3 charges for, and what a lookup waits for.
func TestRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 13))
	e := NewRawWriter()
	runs := someRuns(rng, 2000, 200)
	for _, run := range runs {
		e.Add(run)
	}
	f, _ := finished(t, e)
	store := f.source.(*object)
	expect := func(what string, want int64, do func()) {
		t.Helper()
		store.reads.Store(0)
		do()
		if got := store.reads.Load(); got != want {
			t.Errorf("%s: %d reads, want %d", what, got, want)
		}
	}
	find := func(metrics ...ingest.MetricID) {
		t.Helper()
		err := f.FindRaw(t.Context(), metrics, ingest.MinTime, ingest.MaxTime, visitNothing)
		if err != nil {
			t.Error(err)
		}
	}
	inner := f.groups[1].metrics[3][0] // of one row group
	expect("open", 1, func() {
		if _, err := Open(t.Context(), store, f.name, f.size); err != nil {
			t.Error(err)
		}
	})
	expect("scan", int64(len(f.groups)), func() { scannedRaw(t, f) })
	expect("find one metric", 1, func() { find(inner) })
	expect("find one in each of two row groups", 2, func() { find(runs[0].Metric, inner) })
	expect("find nothing", 0, func() { find(ingest.MetricID{0: 0xff}) })
	expect("find at another time", 0, func() {
		err := f.FindRaw(t.Context(), []ingest.MetricID{inner}, -2, -1, visitNothing)
		if err != nil {
			t.Error(err)
		}
	})

	for _, run := range runs[:100] {
		e.Add(RawRun{run.Metric, run.Policy, run.Measures[:1]})
	}
	small, _ := finished(t, e)
	store = small.source.(*object)
	expect("a small segment is read when it is opened", 0, func() {
		if n := len(scannedRaw(t, small)); n != 100 {
			t.Errorf("%d runs", n)
		}
	})
}

// A gatedSource tells of reads and lets them wait.
type gatedSource struct {
	Source
	asked, gate chan bool
}

func (s gatedSource) ReadRanges(ctx context.Context, name string, ranges []Range) ([][]byte, int64, error) {
	s.asked <- true
	<-s.gate
	return s.Source.ReadRanges(ctx, name, ranges)
}

// A scan reads the first row group before somebody asks for rows, and the next one
// while the rows of this one are given out.
func TestReadAhead(t *testing.T) {
	run := longSeries(3 * groupRows)
	e := NewSealedWriter([]ingest.Method{ingest.Max})
	e.Add(run)
	f, _ := finished(t, e)
	gated := gatedSource{f.source, make(chan bool), make(chan bool)}
	f.source = gated
	scan := f.ScanSealed(t.Context())
	rows := 0
	for group := range 3 {
		<-gated.asked
		gated.gate <- true
		for rows <= group*groupRows && scan.Next() { // up to the first page of this row group
			rows += len(scan.Run().Times)
		}
	}
	for scan.Next() {
		rows += len(scan.Run().Times)
	}
	if rows != 3*groupRows || scan.Err() != nil {
		t.Errorf("%d rows, %v", rows, scan.Err())
	}
}

func TestConcurrentReaders(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 17))
	e := NewRawWriter()
	runs := someRuns(rng, 5000, 30)
	for _, run := range runs {
		e.Add(run)
	}
	f, d := finished(t, e)
	var readers sync.WaitGroup
	for worker := range 8 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(17, uint64(worker)))
			if worker == 0 {
				if err := f.Verify(t.Context(), d); err != nil {
					t.Error(err)
				}
			}
			for range 50 {
				run := runs[rng.IntN(len(runs))]
				rows := 0
				err := f.FindRaw(t.Context(), []ingest.MetricID{run.Metric}, ingest.MinTime, ingest.MaxTime,
					func(_ int, measures []ingest.Measure, policy string) error {
						for _, m := range measures {
							if !sameMeasure(m, run.Measures[rows]) || policy != run.Policy {
								return fmt.Errorf("row %d is %v of %s, not %v of %s", rows, m, policy, run.Measures[rows], run.Policy)
							}
							rows++
						}
						return nil
					})
				if err != nil || rows != len(run.Measures) {
					t.Errorf("%d of %d rows, %v", rows, len(run.Measures), err)
				}
			}
		})
	}
	readers.Wait()
}
