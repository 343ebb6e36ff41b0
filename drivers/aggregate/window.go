package aggregate

import (
	"sort"
	"time"

	"millrace/ingest"
)

// Search returns the index of the first measure at or after t.
func Search(rows []ingest.Measure, t int64) int {
	return sort.Search(len(rows), func(i int) bool { return rows[i].Time >= t })
}

// Range returns the rows that a query for [from, to) at granularity g means: the
// part of rows with floor(from, g) ≤ time < to. So a bucket that from falls into is
// in, and nothing is when to comes before it.
func Range(rows []ingest.Measure, g time.Duration, from, to int64) []ingest.Measure {
	return between(rows, ingest.Floor(from, g), to)
}

// RangeCalendar is Range for rows of ResampleCalendar.
func RangeCalendar(rows []ingest.Measure, c Calendar, from, to int64) []ingest.Measure {
	return between(rows, c.Floor(from), to)
}

// between returns the rows with from ≤ time < to, all later ones if to is MaxTime.
func between(rows []ingest.Measure, from, to int64) []ingest.Measure {
	rows = rows[Search(rows, from):]
	if to == ingest.MaxTime {
		return rows
	}
	return rows[:Search(rows, to)]
}

// Cover widens [from, to) to whole buckets of every (> 0), the last instants of
// time excepted. It is what must be read for a [Resample] of which
// Range(rows, every, from, to) is wanted, so that its outer buckets are whole too.
func Cover(every time.Duration, from, to int64) (int64, int64) {
	from = ingest.Floor(from, every)
	if to <= from {
		return from, from
	}
	last := lastOfBucket(to-1, every)
	if last == ingest.MaxTime {
		return from, ingest.MaxTime
	}
	return from, last + 1
}

// CoverCalendar is Cover for [ResampleCalendar].
func CoverCalendar(c Calendar, from, to int64) (int64, int64) {
	from = c.Floor(from)
	if to <= from {
		return from, from
	}
	_, last := c.group(to - 1)
	if last == ingest.MaxTime {
		return from, ingest.MaxTime
	}
	return from, last + 1
}

// Oldest returns the earliest time that a row may have when the newest row is at
// newest and rows are kept for a timespan: newest − timespan itself is too early.
// A timespan of 0 keeps rows for ever.
func Oldest(newest int64, timespan time.Duration) int64 {
	if timespan == 0 || newest < ingest.MinTime+int64(timespan) {
		return ingest.MinTime
	}
	return newest - int64(timespan) + 1
}
