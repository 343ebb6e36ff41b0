package gnocchi

import "encoding/binary"

// isoTime reads the ISO-8601 time stamp that b begins with: YYYY-MM or YYYY-MM-DD,
// the latter optionally followed by T or one space and HH, HH:MM, HH:MM:SS or
// HH:MM:SS.f…, and that by Z, ±HH, ±HHMM or ±HH:MM. It returns the instant, UTC
// unless an offset says otherwise, and how many bytes of b it took, zero when
// there is no time stamp. The fraction is cut to nanoseconds.
func isoTime(b []byte) (sec, nsec int64, n int) {
	if len(b) >= 19 {
		if sec, ok := isoSeconds(b); ok {
			return isoTail(b, 19, sec)
		}
	}
	return isoParts(b)
}

// The SWAR masks of isoSeconds, little endian. A byte that is xored with its form
// is 0…9 where a digit is due and 0 where punctuation is due; adding the slack then
// sets the top bit of everything else.
const (
	dateForm  = 0x2d30302d30303030 // "0000-00-"
	dateSlack = 0x7f76767f76767676
	timeForm  = 0x30303a30303a3030 // "00:00:00"
	timeSlack = 0x76767f76767f7676
	topBits   = 0x8080808080808080
)

// isoSeconds reads the commonest form, YYYY-MM-DDTHH:MM:SS, eight bytes at a time.
func isoSeconds(b []byte) (sec int64, ok bool) {
	_ = b[18]
	date := binary.LittleEndian.Uint64(b) ^ dateForm
	clock := binary.LittleEndian.Uint64(b[11:]) ^ timeForm
	d1, d0 := b[8]-'0', b[9]-'0'
	if (date|(date+dateSlack)|clock|(clock+timeSlack))&topBits != 0 || d1 > 9 || d0 > 9 || b[10] != 'T' && b[10] != ' ' {
		return 0, false
	}
	// Each byte becomes ten times itself plus its right neighbour.
	date, clock = date*10+date>>8, clock*10+clock>>8
	year, month, day := int(date&0xff)*100+int(date>>16&0xff), int(date>>40&0xff), int(d1)*10+int(d0)
	hour, minute, second := int64(clock&0xff), int64(clock>>24&0xff), int64(clock>>48&0xff)
	if !validDate(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	return daysSinceEpoch(year, month, day)*86400 + hour*3600 + minute*60 + second, true
}

// isoParts reads any form, part by part.
func isoParts(b []byte) (sec, nsec int64, n int) {
	century, ok1 := twoDigits(b, 0)
	years, ok2 := twoDigits(b, 2)
	month, ok3 := twoDigits(b, 5)
	if !ok1 || !ok2 || !ok3 || b[4] != '-' {
		return 0, 0, 0
	}
	year, day, n := century*100+years, 1, 7
	d, hasDay := twoDigits(b, 8)
	if hasDay = hasDay && b[7] == '-'; hasDay {
		day, n = d, 10
	}
	if !validDate(year, month, day) {
		return 0, 0, 0
	}
	sec = daysSinceEpoch(year, month, day) * 86400
	hour, ok := twoDigits(b, 11)
	if !hasDay || !ok || b[10] != 'T' && b[10] != ' ' {
		return sec, 0, n
	}
	var minute, second int
	n = 13
	if minute, ok = twoDigits(b, 14); ok && b[13] == ':' {
		n = 16
		if second, ok = twoDigits(b, 17); ok && b[16] == ':' {
			n = 19
		} else {
			second = 0
		}
	} else {
		minute = 0
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, 0, 0
	}
	return isoTail(b, n, sec+int64(hour*3600+minute*60+second))
}

// isoTail reads what may follow the time of day that ends at b[n]: a fraction,
// after seconds only, and an offset.
func isoTail(b []byte, n int, sec int64) (int64, int64, int) {
	nsec := int64(0)
	if n == 19 && n+1 < len(b) && b[n] == '.' && b[n+1]-'0' <= 9 {
		unit := int64(1e8)
		for n++; n < len(b) && b[n]-'0' <= 9; n++ {
			nsec += int64(b[n]-'0') * unit
			unit /= 10
		}
	}
	if n == len(b) || b[n] == '"' {
		return sec, nsec, n
	}
	switch b[n] {
	case 'Z':
		return sec, nsec, n + 1
	case '+', '-':
		hours, ok := twoDigits(b, n+1)
		if !ok {
			break
		}
		end := n + 3
		minutes, ok := twoDigits(b, end)
		if ok {
			end += 2
		} else if minutes, ok = twoDigits(b, end+1); ok && b[end] == ':' {
			end += 3
		} else {
			minutes = 0
		}
		if hours > 23 || minutes > 59 {
			return 0, 0, 0
		}
		offset := int64(hours*3600 + minutes*60)
		if b[n] == '-' {
			offset = -offset
		}
		return sec - offset, nsec, end
	}
	return sec, nsec, n
}

// twoDigits reads the two digits at b[i:].
func twoDigits(b []byte, i int) (v int, ok bool) {
	if i+1 >= len(b) {
		return 0, false
	}
	hi, lo := b[i]-'0', b[i+1]-'0'
	return int(hi)*10 + int(lo), hi <= 9 && lo <= 9
}

func validDate(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	if day <= 28 {
		return true
	}
	switch month {
	case 2:
		return day == 29 && year%4 == 0 && (year%100 != 0 || year%400 == 0)
	case 4, 6, 9, 11:
		return day <= 30
	}
	return day <= 31
}

// daysSinceEpoch counts the days from 1970-01-01 to a date of the years 0 to 9999
// of the proleptic Gregorian calendar. Years begin in March, so that the leap day
// is the last: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
// days_from_civil.
func daysSinceEpoch(year, month, day int) int64 {
	const days400 = 146097                  // days of 400 years
	y, m := uint32(year)+400, uint32(month) // so that January of the year 0 isn't negative
	if m <= 2 {
		y, m = y-1, m+12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + uint32(day)
	return int64(days) - 719469 - days400
}
