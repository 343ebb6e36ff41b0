package gnocchi

import "unicode/utf8"

// AppendTime appends the instant t, in nanoseconds since 1970, as
// 2015-03-06T14:33:57+00:00. A fraction of a second that isn't zero has six digits
// where microseconds are enough, else nine: Python's datetime, and the clients that
// are written with it, read six.
func AppendTime(dst []byte, t int64) []byte {
	sec, nsec := t/1e9, t%1e9
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	return appendInstant(dst, sec, int(nsec))
}

// appendInstant is AppendTime for all instants of the years 0 to 9999.
func appendInstant(dst []byte, sec int64, nsec int) []byte {
	day, second := sec/86400, int(sec%86400)
	if second < 0 {
		day, second = day-1, second+86400
	}
	return appendClock(appendDate(dst, day), second, nsec)
}

// appendDate appends the date that is so many days after 1970-01-01, as
// 2015-03-06T: Howard Hinnant's civil_from_days, the inverse of daysSinceEpoch.
func appendDate(dst []byte, days int64) []byte {
	z := uint32(days + 719468 + 146097)
	era := z / 146097
	ofEra := z % 146097
	year := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	ofYear := ofEra - (365*year + year/4 - year/100)
	m := (5*ofYear + 2) / 153 // from March
	day := ofYear - (153*m+2)/5 + 1
	year += era*400 - 400
	month := m + 3
	if month > 12 {
		month -= 12
		year++
	}
	dst = appendTwo(dst, int(year/100))
	dst = appendTwo(dst, int(year%100))
	dst = append(dst, '-')
	dst = appendTwo(dst, int(month))
	dst = append(dst, '-')
	dst = appendTwo(dst, int(day))
	return append(dst, 'T')
}

// appendClock appends the time of a day of 86400 seconds, with the offset.
func appendClock(dst []byte, second, nsec int) []byte {
	h, m, s := second/3600, second/60%60, second%60
	dst = append(dst, digitPairs[2*h], digitPairs[2*h+1], ':',
		digitPairs[2*m], digitPairs[2*m+1], ':', digitPairs[2*s], digitPairs[2*s+1])
	if nsec != 0 {
		dst = append(dst, '.')
		dst = appendTwo(dst, nsec/1e7)
		dst = appendTwo(dst, nsec/1e5%100)
		dst = appendTwo(dst, nsec/1e3%100)
		if nsec %= 1000; nsec != 0 {
			dst = appendTwo(dst, nsec/10)
			dst = append(dst, '0'+byte(nsec%10))
		}
	}
	return append(dst, "+00:00"...)
}

// digitPairs has the two digits of n at 2n.
const digitPairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"

func appendTwo(dst []byte, n int) []byte {
	return append(dst, digitPairs[2*n], digitPairs[2*n+1])
}

// AppendString appends s as a string of JSON. Only what JSON demands is escaped;
// invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size, escape := 1, ""
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			escape = "\ufffd"
		}
		dst = append(dst, s[start:i]...)
		if escape != "" {
			dst = append(dst, escape...)
		} else {
			dst = appendEscape(dst, c)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
