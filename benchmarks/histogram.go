package benchmarks

import (
	"math"
	"sync/atomic"
	"time"
)

// A histogram counts durations in buckets that grow by 5 %: from a microsecond to
// minutes in a few hundred counters. Many goroutines may add at once.
type histogram struct {
	counts  [histogramBuckets]atomic.Int64
	longest atomic.Int64
}

const (
	histogramBuckets = 400
	histogramGrowth  = 1.05
)

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > time.Microsecond {
		i = int(math.Log(float64(d)/float64(time.Microsecond)) / math.Log(histogramGrowth))
	}
	h.counts[min(i, histogramBuckets-1)].Add(1)
	for {
		old := h.longest.Load()
		if int64(d) <= old || h.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// quantile returns the duration that a share q of those added did not exceed,
// within 5 %; the longest for q = 1.
func (h *histogram) quantile(q float64) time.Duration {
	if q >= 1 {
		return time.Duration(h.longest.Load())
	}
	total := int64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	need, seen := int64(math.Ceil(q*float64(total))), int64(0)
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= need && seen > 0 {
			return min(time.Duration(float64(time.Microsecond)*math.Pow(histogramGrowth, float64(i+1))),
				time.Duration(h.longest.Load()))
		}
	}
	return 0
}
