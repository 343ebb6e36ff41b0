package aggregate

import (
	"math/rand/v2"
	"testing"
	"time"

	"millrace/ingest"
)

func TestParseCalendar(t *testing.T) {
	for _, letter := range []string{"Y", "H", "Q", "M", "W"} {
		if c, ok := ParseCalendar(letter); !ok || c.String() != letter {
			t.Errorf("ParseCalendar(%q) = %v, %v", letter, c, ok)
		}
	}
	for _, text := range []string{"", "y", "D", "1M", "M ", "\x00", "month"} {
		if c, ok := ParseCalendar(text); ok {
			t.Errorf("ParseCalendar(%q) = %v", text, c)
		}
	}
}

func TestCalendarFloor(t *testing.T) {
	f := func(c Calendar, at, want string) {
		t.Helper()
		instant, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Fatal(err)
		}
		got := time.Unix(0, c.Floor(instant.UnixNano())).UTC().Format(time.RFC3339Nano)
		if want += "T00:00:00Z"; got != want {
			t.Errorf("%v.Floor(%s) = %s, want %s", c, at, got, want)
		}
	}
	f(Year, "2017-12-31T23:59:59.999999999Z", "2017-01-01")
	f(Year, "2018-01-01T00:00:00Z", "2018-01-01")
	f(Half, "2018-06-30T23:59:59.999999999Z", "2018-01-01")
	f(Half, "2018-07-01T00:00:00Z", "2018-07-01")
	f(Quarter, "2018-03-31T12:00:00Z", "2018-01-01")
	f(Quarter, "2018-06-30T12:00:00Z", "2018-04-01")
	f(Quarter, "2018-09-30T12:00:00Z", "2018-07-01")
	f(Quarter, "2018-12-31T12:00:00Z", "2018-10-01")
	f(Month, "2016-02-29T12:00:00Z", "2016-02-01")
	f(Month, "1900-03-01T00:00:00Z", "1900-03-01")
	f(Month, "1969-12-31T23:59:59.999999999Z", "1969-12-01")
	f(Week, "2017-12-30T23:59:59Z", "2017-12-24")
	f(Week, "2017-12-31T00:00:00Z", "2017-12-31") // a Sunday
	f(Week, "1970-01-01T00:00:00Z", "1969-12-28")
	f(Week, "2000-02-29T12:00:00Z", "2000-02-27")
}

// TestCalendarFloorEqualsTime compares with package time over all of int64.
func TestCalendarFloorEqualsTime(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for i := range 100_000 {
		at := int64(random.Uint64())
		switch i {
		case 0:
			at = ingest.MinTime
		case 1:
			at = ingest.MaxTime
		}
		instant := time.Unix(0, at).UTC()
		year, month, day := instant.Date()
		date := func(month time.Month, day int) time.Time { return time.Date(year, month, day, 0, 0, 0, 0, time.UTC) }
		for c, first := range map[Calendar]time.Time{
			Year:    date(1, 1),
			Half:    date(1+(month-1)/6*6, 1),
			Quarter: date(1+(month-1)/3*3, 1),
			Month:   date(month, 1),
			Week:    date(month, day-int(instant.Weekday())),
		} {
			want := first.UnixNano()
			if first.Before(time.Unix(0, ingest.MinTime)) {
				want = ingest.MinTime
			}
			if got := c.Floor(at); got != want {
				t.Fatalf("%v.Floor(%d) = %d, want %d", c, at, got, want)
			}
			_, last := c.group(at)
			if last < at || c.Floor(last) != want || last < ingest.MaxTime && c.Floor(last+1) != last+1 {
				t.Fatalf("%v group of %d ends at %d", c, at, last)
			}
		}
	}
}
