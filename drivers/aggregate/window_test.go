package aggregate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// times makes rows at the times given.
func times(at ...int64) []ingest.Measure {
	var rows []ingest.Measure
	for _, t := range at {
		rows = append(rows, ingest.Measure{Time: t})
	}
	return rows
}

func TestRange(t *testing.T) {
	f := func(from, to int64, want ...int64) {
		t.Helper()
		got := Range(times(-60, 0, 60, 120, 180, 240, 300), 60, from, to)
		if diff := cmp.Diff(times(want...), append([]ingest.Measure(nil), got...)); diff != "" {
			t.Errorf("from %d to %d: (-want +got)\n%s", from, to, diff)
		}
	}
	f(ingest.MinTime, ingest.MaxTime, -60, 0, 60, 120, 180, 240, 300)
	f(179, 240, 120, 180) // from is rounded down, to is exclusive
	f(120, 241, 120, 180, 240)
	f(130, 130, 120) // an empty interval inside a bucket
	f(120, 120)
	f(240, 120)
	f(-1, 1, -60, 0)
	f(301, ingest.MaxTime, 300)
	f(360, ingest.MaxTime)
}

func TestRangeAtTheEndsOfTime(t *testing.T) {
	rows := times(ingest.MinTime, 0, ingest.MaxTime)
	if got := Range(rows, time.Hour, ingest.MinTime, ingest.MaxTime); len(got) != 3 {
		t.Errorf("open: %v", got)
	}
	if got := Range(rows, time.Hour, ingest.MinTime+1, ingest.MaxTime-1); len(got) != 2 {
		t.Errorf("nearly open: %v", got)
	}
	if got := RangeCalendar(rows, Year, ingest.MinTime, ingest.MaxTime); len(got) != 3 {
		t.Errorf("calendar: %v", got)
	}
	if got := RangeCalendar(rows, Year, int64(time.Hour), ingest.MaxTime-1); len(got) != 1 {
		t.Errorf("calendar, from 1970: %v", got)
	}
}

func TestOldest(t *testing.T) {
	f := func(newest int64, timespan time.Duration, want int64) {
		t.Helper()
		if got := Oldest(newest, timespan); got != want {
			t.Errorf("Oldest(%d, %d) = %d, want %d", newest, timespan, got, want)
		}
	}
	f(300, 180, 121)
	f(300, 0, ingest.MinTime)
	f(ingest.MinTime, 1, ingest.MinTime)
	f(ingest.MinTime+1, 1, ingest.MinTime+1)
	f(ingest.MaxTime, time.Duration(ingest.MaxTime), 1)
}

func TestCover(t *testing.T) {
	f := func(from, to, wantFrom, wantTo int64) {
		t.Helper()
		if gotFrom, gotTo := Cover(60, from, to); gotFrom != wantFrom || gotTo != wantTo {
			t.Errorf("Cover(60, %d, %d) = %d, %d, want %d, %d", from, to, gotFrom, gotTo, wantFrom, wantTo)
		}
	}
	f(0, 60, 0, 60)
	f(1, 61, 0, 120)
	f(59, 59, 0, 60) // an empty interval inside a bucket asks for it
	f(60, 60, 60, 60)
	f(180, 60, 180, 180)
	f(-1, 1, -60, 60)
	f(ingest.MinTime, ingest.MaxTime, ingest.MinTime, ingest.MaxTime)
	f(ingest.MinTime, ingest.MinTime, ingest.MinTime, ingest.MinTime)
}

func TestCoverCalendar(t *testing.T) {
	date := func(year int, month time.Month, day int) int64 {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).UnixNano()
	}
	f := func(c Calendar, from, to, wantFrom, wantTo int64) {
		t.Helper()
		if gotFrom, gotTo := CoverCalendar(c, from, to); gotFrom != wantFrom || gotTo != wantTo {
			t.Errorf("CoverCalendar(%v, %d, %d) = %d, %d, want %d, %d", c, from, to, gotFrom, gotTo, wantFrom, wantTo)
		}
	}
	f(Month, date(2015, 3, 6), date(2015, 3, 7), date(2015, 3, 1), date(2015, 4, 1))
	f(Month, date(2015, 3, 1), date(2015, 4, 1), date(2015, 3, 1), date(2015, 4, 1))
	f(Half, date(2015, 12, 31), date(2016, 1, 1)+1, date(2015, 7, 1), date(2016, 7, 1))
	f(Week, date(2015, 3, 6), date(2015, 3, 6), date(2015, 3, 1), date(2015, 3, 8))
	f(Year, date(2015, 1, 1), date(2014, 1, 1), date(2015, 1, 1), date(2015, 1, 1))
	f(Year, ingest.MinTime, ingest.MaxTime, ingest.MinTime, ingest.MaxTime)
}
