package aggregate

import (
	"slices"
	"time"

	"millrace/ingest"
)

// usualBucket is how many measures of a bucket need no memory but the stack's.
const usualBucket = 64

// Series appends the rows of one method at granularity g (g > 0): those of the
// buckets with from ≤ start < to that have measures in raw. All of raw is looked
// at for what comes before a measure (see [Plan.Bucket]), also outside the range.
func Series(dst, raw []ingest.Measure, g time.Duration, m ingest.Method, from, to int64) []ingest.Measure {
	i := Search(raw, from)
	if i < len(raw) && ingest.Floor(raw[i].Time, g) < from {
		i = BucketEnd(raw, i, g) // the bucket began before from
	}
	if i == len(raw) {
		return dst
	}
	var scratch [2 * usualBucket]float64
	s := statistics{needs: needsOf(m), x: scratch[:0:usualBucket], ordered: scratch[usualBucket:usualBucket]}
	base, rate := m.Base(), m.IsRate()
	start, last := ingest.Floor(raw[i].Time, g), lastOfBucket(raw[i].Time, g)
	for start < to || to == ingest.MaxTime {
		j := i + 1
		for j < len(raw) && raw[j].Time <= last {
			j++
		}
		v, ok := 0.0, false
		if !rate {
			v, ok = direct(raw[i:j], base)
		}
		if !ok {
			if rate {
				s = s.of(appendDifferences(s.x[:0], raw, i, j))
			} else {
				s = s.of(appendValues(s.x[:0], raw, i, j))
			}
			v, ok = s.value(base)
		}
		if ok {
			if len(dst) == cap(dst) {
				dst = slices.Grow(dst, mostBuckets(raw[i:], g, to))
			}
			dst = append(dst, ingest.Measure{Time: start, Value: v})
		}
		if i = j; i == len(raw) {
			break
		}
		if t := raw[i].Time; last <= ingest.MaxTime-int64(g) && t <= last+int64(g) { // mostly it is the next bucket
			start, last = last+1, last+int64(g)
		} else {
			start, last = ingest.Floor(t, g), lastOfBucket(t, g)
		}
	}
	return dst
}

// mostBuckets is how many buckets that begin before to have measures in raw at most, of
// which the first does.
func mostBuckets(raw []ingest.Measure, g time.Duration, to int64) int {
	end := max(min(raw[len(raw)-1].Time, to), raw[0].Time)
	return int(min(uint64(len(raw)-1), uint64(end-raw[0].Time)/uint64(g)+1)) + 1
}

// direct computes the methods that need no list of a bucket's values: some never do, and
// no order of a single value is another. What it says equals to the last bit what statistics say.
func direct(bucket []ingest.Measure, m ingest.Method) (v float64, ok bool) {
	switch m {
	case ingest.Mean, ingest.Sum:
		total := 0.0
		for i := range bucket {
			total += bucket[i].Value
		}
		if m == ingest.Mean {
			total /= float64(len(bucket))
		}
		return total, true
	case ingest.Count:
		return float64(len(bucket)), true
	case ingest.First:
		return bucket[0].Value, true
	case ingest.Last:
		return bucket[len(bucket)-1].Value, true
	}
	return bucket[0].Value, len(bucket) == 1 && m != ingest.Std
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
