package carbonara

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// staleness estimates when half of a sealed segment's rows will have expired, so
// that the segment can be rewritten then and not sooner. Rows expire relative to
// their metric's newest measure; the estimate takes the sack's for it.
type staleness struct {
	samples  []staleSample
	rows     int64
	shortest time.Duration
}

// A staleSample stands for rows that expire at about the same time.
type staleSample struct {
	expires int64
	rows    int64
}

const maxStaleSamples = 4096

// add counts rows of one metric and granularity, which are kept for timespan (0: for ever).
func (s *staleness) add(times []int64, timespan time.Duration) {
	s.rows += int64(len(times))
	if timespan == 0 || len(times) == 0 {
		return
	}
	if s.shortest == 0 || timespan < s.shortest {
		s.shortest = timespan
	}
	middle := times[len(times)/2]
	if middle > math.MaxInt64-int64(timespan) {
		return
	}
	s.samples = append(s.samples, staleSample{middle + int64(timespan), int64(len(times))})
	if len(s.samples) > maxStaleSamples {
		s.thin()
	}
}

// thin joins neighbours in the order of expiry.
func (s *staleness) thin() {
	slices.SortFunc(s.samples, func(a, b staleSample) int { return cmp.Compare(a.expires, b.expires) })
	kept := s.samples[:0]
	for pair := range slices.Chunk(s.samples, 2) {
		joined := pair[len(pair)-1]
		joined.rows = 0
		for _, p := range pair {
			joined.rows += p.rows
		}
		kept = append(kept, joined)
	}
	s.samples = kept
}

// at returns the newest timestamp at which half of the rows have expired; 0 when
// that never happens. What should have expired by now and is still there is of
// metrics that have stopped, and may stay for ever: it is looked at again after half
// the shortest timespan, and later and later, the longer it has been there.
func (s *staleness) at(now int64) int64 {
	slices.SortFunc(s.samples, func(a, b staleSample) int { return cmp.Compare(a.expires, b.expires) })
	expired := int64(0)
	for _, sample := range s.samples {
		if expired += sample.rows; 2*expired < s.rows {
			continue
		}
		if sample.expires > now {
			return sample.expires
		}
		overdue := uint64(now) - uint64(sample.expires) // no overflow, however far apart
		wait := max(1, uint64(s.shortest/2), overdue/2)
		if wait > uint64(math.MaxInt64)-uint64(max(now, 0)) {
			return 0
		}
		return now + int64(wait)
	}
	return 0
}
