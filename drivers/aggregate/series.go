package aggregate

import (
	"time"

	"millrace/ingest"
)

// usualBucket is how many measures of a bucket need no memory but the stack's.
const usualBucket = 64

// Series appends the rows of one method at granularity g (g > 0): those of the
// buckets with from ≤ start < to that have measures in raw. All of raw is looked
// at for what comes before a measure (see [Plan.Bucket]), also outside the range.
func Series(dst, raw []ingest.Measure, g time.Duration, m ingest.Method, from, to int64) []ingest.Measure {
	var scratch [2 * usualBucket]float64
	s := statistics{needs: needsOf(m), x: scratch[:0:usualBucket], ordered: scratch[usualBucket:usualBucket]}
	i := Search(raw, from)
	if i < len(raw) && ingest.Floor(raw[i].Time, g) < from {
		i = BucketEnd(raw, i, g) // the bucket began before from
	}
	for i < len(raw) {
		start := ingest.Floor(raw[i].Time, g)
		if start >= to && to != ingest.MaxTime {
			break
		}
		j := BucketEnd(raw, i, g)
		if m.IsRate() {
			s = s.of(appendDifferences(s.x[:0], raw, i, j))
		} else {
			s = s.of(appendValues(s.x[:0], raw, i, j))
		}
		if v, ok := s.value(m.Base()); ok {
			dst = append(dst, ingest.Measure{Time: start, Value: v})
		}
		i = j
	}
	return dst
}

// BucketEnd returns the index behind the last measure that shares the bucket of
// raw[i] at granularity g (g > 0).
func BucketEnd(raw []ingest.Measure, i int, g time.Duration) int {
	last := lastOfBucket(raw[i].Time, g)
	j := i + 1
	for j < len(raw) && raw[j].Time <= last {
		j++
	}
	return j
}

// lastOfBucket is the last instant of the bucket that holds t. Unlike the
// beginning of the next bucket it never lies outside int64.
func lastOfBucket(t int64, g time.Duration) int64 {
	r := t % int64(g)
	if r < 0 {
		r += int64(g)
	}
	left := int64(g) - 1 - r
	if t > ingest.MaxTime-left {
		return ingest.MaxTime
	}
	return t + left
}

// Resample appends the rows of an aggregated series, aggregated again into buckets
// of every (> 0). Rows count as values: a mean is one of means, unweighted, a
// count counts rows, and a rate: method is the method without "rate:", since its
// rows are differences already. dst may be rows[:0].
func Resample(dst, rows []ingest.Measure, every time.Duration, m ingest.Method) []ingest.Measure {
	return Series(dst, rows, every, m.Base(), ingest.MinTime, ingest.MaxTime)
}

// ResampleCalendar is Resample into calendar groups; a row's time is the first
// instant of its group.
func ResampleCalendar(dst, rows []ingest.Measure, c Calendar, m ingest.Method) []ingest.Measure {
	var scratch [2 * usualBucket]float64
	s := statistics{needs: needsOf(m), x: scratch[:0:usualBucket], ordered: scratch[usualBucket:usualBucket]}
	for i := 0; i < len(rows); {
		start, last := c.group(rows[i].Time)
		j := i + 1
		for j < len(rows) && rows[j].Time <= last {
			j++
		}
		s = s.of(appendValues(s.x[:0], rows, i, j))
		if v, ok := s.value(m.Base()); ok {
			dst = append(dst, ingest.Measure{Time: start, Value: v})
		}
		i = j
	}
	return dst
}
