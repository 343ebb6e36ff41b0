package aggregate

import (
	"time"

	"millrace/ingest"
)

// A Calendar is a way to group days, named by the letter that the API uses. Groups
// are those of the proleptic Gregorian calendar in UTC.
type Calendar byte

// The calendar groups.
const (
	Year    Calendar = 'Y'
	Half    Calendar = 'H' // from 1 January or 1 July
	Quarter Calendar = 'Q'
	Month   Calendar = 'M'
	Week    Calendar = 'W' // from Sunday
)

// ParseCalendar reads a letter.
func ParseCalendar(text string) (Calendar, bool) {
	if len(text) != 1 {
		return 0, false
	}
	switch c := Calendar(text[0]); c {
	case Year, Half, Quarter, Month, Week:
		return c, true
	}
	return 0, false
}

// String returns the letter.
func (c Calendar) String() string { return string(rune(c)) }

const nsPerDay = int64(24 * time.Hour)

// Floor returns the first instant of the group that holds t, or MinTime if that
// is later.
func (c Calendar) Floor(t int64) int64 {
	first, _ := c.group(t)
	return first
}

// group returns the first and the last instant of the group that holds t, as far
// as int64 reaches.
func (c Calendar) group(t int64) (first, last int64) {
	day := t / nsPerDay
	if t%nsPerDay < 0 {
		day--
	}
	firstDay, nextDay := c.days(day)
	first, last = ingest.MinTime, ingest.MaxTime
	if firstDay >= ingest.MinTime/nsPerDay {
		first = firstDay * nsPerDay
	}
	if nextDay <= ingest.MaxTime/nsPerDay {
		last = nextDay*nsPerDay - 1
	}
	return first, last
}

// days returns the first day of the group of a day, and that of the next group.
// Days count from 1970-01-01, a Thursday.
func (c Calendar) days(day int64) (first, next int64) {
	year, month := civil(day)
	switch c {
	case Week:
		sunday := day - ((day+4)%7+7)%7
		return sunday, sunday + 7
	case Year:
		return dayOf(year, 1), dayOf(year+1, 1)
	case Half:
		month -= (month - 1) % 6
		return dayOf(year, month), dayOf(year, month+6)
	case Quarter:
		month -= (month - 1) % 3
		return dayOf(year, month), dayOf(year, month+3)
	case Month:
		return dayOf(year, month), dayOf(year, month+1)
	}
	panic("BUG: no such calendar group: " + c.String())
}

// civil returns the year and the month (1 to 12) of a day. Inside, years begin in
// March, so that the leap day is their last: Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms". It holds from the year 0 on; int64 nanoseconds begin
// in 1677.
func civil(day int64) (year, month int64) {
	day += epoch
	era, dayOfEra := day/daysPerEra, day%daysPerEra
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	year, month = era*400+yearOfEra, (5*dayOfYear+2)/153+3
	if month > 12 {
		return year + 1, month - 12
	}
	return year, month
}

// dayOf returns the first day of a month (1 to 13: the next January), the inverse of civil.
func dayOf(year, month int64) int64 {
	if month < 3 {
		year, month = year-1, month+12
	}
	era, yearOfEra := year/400, year%400
	dayOfYear := (153*(month-3) + 2) / 5
	return era*daysPerEra + 365*yearOfEra + yearOfEra/4 - yearOfEra/100 + dayOfYear - epoch
}

const (
	daysPerEra = 146097 // 400 years
	epoch      = 719468 // days from 0000-03-01 to 1970-01-01
)
