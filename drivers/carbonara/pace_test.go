package carbonara

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"millrace/ingest"
)

// turnsBeside counts how often another goroutine gets the only processor while work goes on.
func turnsBeside(t *testing.T, work func()) int64 {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var turns atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	before := turns.Load()
	work()
	n := turns.Load() - before
	close(stop)
	<-stopped
	return n
}

// Whoever waits for a processor beside the housekeeping gets one after every few thousand rows.
func TestHousekeepingLetsOthersRun(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([]ingest.MetricID, 300)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	const each, flushes, step = 100, 4, int64(60e9)
	const rows = flushes * 300 * each
	f := func(name string, c Config) {
		t.Helper()
		c.MergeWidth, c.serial = flushes, true
		d, err := New(t.Context(), newMemoryStore(), benchPolicies(), 1, c)
		if err != nil {
			t.Fatal(err)
		}
		w, _, err := d.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(flushes) {
			r := benchRecord(ids, 1_700_000_000e9+n*each*step, each, random)
			if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: ingest.Offset(n), Record: r}}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Flush(t.Context(), upTo(ingest.Offset(n)+1)); err != nil {
				t.Fatal(err)
			}
		}
		turns := turnsBeside(t, func() {
			if err := w.Maintain(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if s := d.Stats(); s.Merges+s.Seals == 0 {
			t.Errorf("%s: nothing was done", name)
		}
		if turns < rows/paceRows*3/4 {
			t.Errorf("%s of %d rows: others had %d turns", name, rows, turns)
		}
	}
	f("a merge", Config{SealRows: 1 << 30})
	f("a seal", Config{SealRows: 1})
}
