package benchmarks

import (
	"sync"
	"testing"
	"time"
)

// A quantile is at least the one asked for, and at most 5 % more.
func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(.5); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	var adding sync.WaitGroup
	for w := range 4 {
		adding.Go(func() {
			for i := w; i < 1000; i += 4 {
				h.add(time.Duration(i+1) * time.Millisecond)
			}
		})
	}
	adding.Wait()
	f := func(q float64, want time.Duration) {
		t.Helper()
		if got := h.quantile(q); got < want || float64(got) > float64(want)*histogramGrowth*1.0001 {
			t.Errorf("quantile %g: %s, want %s", q, got, want)
		}
	}
	f(.001, time.Millisecond)
	f(.5, 500*time.Millisecond)
	f(.9, 900*time.Millisecond)
	f(.99, 990*time.Millisecond)
	if got := h.quantile(1); got != time.Second {
		t.Errorf("the longest: %s", got)
	}

	var ends histogram
	ends.add(0)
	ends.add(time.Hour) // beyond the last bucket
	if got := ends.quantile(1); got != time.Hour {
		t.Errorf("the longest: %s", got)
	}
	if got := ends.quantile(.5); got > 2*time.Microsecond {
		t.Errorf("the shorter of two: %s", got)
	}
}
