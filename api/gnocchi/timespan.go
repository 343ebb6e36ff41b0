package gnocchi

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// What [ParseTimespan] and [TimespanOf] answer when they can't.
const (
	ErrTimespan         = message("Unable to parse timespan")
	ErrTimespanPositive = message("Timespan must be positive")
	ErrTimespanNull     = message("Invalid timespan")
)

// ParseTimespan reads a duration above zero: a number of seconds, or weeks, days, hours,
// minutes and seconds in this order (1h30m; 3 hours, 10 minutes; 1.5 d), or a clock
// (1:00 is a minute, 1:00:00 an hour, 1:00:00:00 a day, :30 half a minute; 1 day,
// 2:30:00). Durations of ISO-8601, months and milliseconds are not known.
//
// A float of seconds is cut to nanoseconds; a duration with units whose seconds are
// absent or whole is cut to whole seconds.
func ParseTimespan(text string) (time.Duration, error) {
	d, err := parseSpan(text)
	if err == nil && d <= 0 {
		return 0, ErrTimespanPositive
	}
	return d, err
}

// TimespanOf reads a duration from what JSON gave: a string as for
// [ParseTimespan], or a number of seconds (json.Number, float64, int, int64).
func TimespanOf(v any) (time.Duration, error) {
	switch v := v.(type) {
	case nil:
		return 0, ErrTimespanNull
	case string:
		return ParseTimespan(v)
	case json.Number:
		return ParseTimespan(string(v))
	case float64:
		d, err := spanOfFloat(v)
		if err == nil && d <= 0 {
			return 0, ErrTimespanPositive
		}
		return d, err
	case int:
		return ParseTimespan(strconv.Itoa(v))
	case int64:
		return ParseTimespan(strconv.FormatInt(v, 10))
	}
	return 0, ErrTimespan
}

// parseSpan reads a duration of either sign.
func parseSpan(text string) (time.Duration, error) {
	if f, ok := ParseFloat(text); ok {
		if sec, err := strconv.ParseInt(trimBlanks(text), 10, 64); err == nil {
			return spanOfSeconds(sec)
		}
		return spanOfFloat(f)
	}
	text = trimBlanks(text)
	sign := time.Duration(1)
	if text != "" && (text[0] == '+' || text[0] == '-') {
		if text[0] == '-' {
			sign = -1
		}
		text = trimBlanks(text[1:])
	}
	var p spanParts
	if !p.parse(text) {
		return 0, ErrTimespan
	}
	d, err := p.duration()
	return sign * d, err
}

func spanOfSeconds(sec int64) (time.Duration, error) {
	if sec > maxSeconds || sec < -maxSeconds {
		return 0, ErrTimespan
	}
	return time.Duration(sec) * time.Second, nil
}

func spanOfFloat(seconds float64) (time.Duration, error) {
	ns := seconds * 1e9
	if math.IsNaN(ns) || ns >= 1<<63 || ns <= -1<<63 {
		return 0, ErrTimespan
	}
	return time.Duration(ns), nil
}

// The units of a duration, from the coarsest.
const (
	weeks = iota
	days
	hours
	minutes
	seconds
	units
)

// unitSeconds is how many seconds each unit has.
var unitSeconds = [units]float64{weeks: 604800, days: 86400, hours: 3600, minutes: 60, seconds: 1}

// unitOf finds the unit with the given name in lower case.
func unitOf(name string) (unit int, ok bool) {
	switch name {
	case "w", "wk", "wks", "week", "weeks":
		return weeks, true
	case "d", "dy", "dys", "day", "days":
		return days, true
	case "h", "hr", "hrs", "hour", "hours":
		return hours, true
	case "m", "min", "mins", "minute", "minutes":
		return minutes, true
	case "s", "sec", "secs", "second", "seconds":
		return seconds, true
	}
	return 0, false
}

// spanParts are the numerals of a duration by unit, empty where there is none.
type spanParts [units]string

// parse reads everything that is a duration but neither a number nor signed.
func (p *spanParts) parse(text string) bool {
	if text == "" {
		return false
	}
	next := weeks // the first unit that may still come
	for text != "" {
		numeral, rest := cut(text, "0123456789.")
		if strings.HasPrefix(rest, ":") {
			return p.parseClock(text, next)
		}
		name, rest := cut(strings.TrimLeft(rest, blankBytes), letters)
		unit, ok := unitOf(strings.ToLower(name))
		if !ok || unit < next || !isDecimal(numeral) {
			return false
		}
		p[unit] = numeral
		next = unit + 1
		rest = strings.TrimLeft(rest, blankBytes)
		if rest != "" && (rest[0] == ',' || rest[0] == '/') {
			rest = strings.TrimLeft(rest[1:], blankBytes)
		}
		text = rest
	}
	return true
}

const (
	blankBytes = " \t\n\v\f\r"
	letters    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// parseClock reads :SS, M:SS, H:MM:SS or D:HH:MM:SS, the seconds with a fraction
// or not. Only H:MM:SS may follow weeks and days: next is the first unit that may
// still come.
func (p *spanParts) parseClock(text string, next int) bool {
	fields := strings.Split(text, ":")
	last := len(fields) - 1
	whole, fraction, hasFraction := strings.Cut(fields[last], ".")
	if len(whole) != 2 || hasFraction && !isDigits(fraction) {
		return false
	}
	switch head := fields[0]; {
	case last == 1 && next == weeks && len(head) <= 2: // M:SS and :SS
	case last == 2 && next <= hours && head != "":
	case last == 3 && next == weeks && head != "":
	default:
		return false
	}
	for i, field := range fields {
		if i > 0 && i < last && len(field) != 2 {
			return false
		}
		if i == last {
			field = whole
		}
		if field != "" && !isDigits(field) {
			return false
		}
		p[seconds-last+i] = fields[i]
	}
	return true
}

// duration adds the parts up.
func (p *spanParts) duration() (time.Duration, error) {
	whole, sum := true, 0.0
	for unit, numeral := range p {
		if numeral == "" {
			continue
		}
		f, _ := strconv.ParseFloat(numeral, 64) // too large: an infinity, which spanOfFloat refuses
		sum += f * unitSeconds[unit]
		whole = whole && (unit < seconds || isDigits(numeral))
	}
	if !whole {
		return spanOfFloat(sum)
	}
	if sum > maxSeconds {
		return 0, ErrTimespan
	}
	return spanOfSeconds(int64(sum))
}

// cut splits s behind the bytes of set that it begins with.
func cut(s, set string) (head, rest string) {
	rest = strings.TrimLeft(s, set)
	return s[:len(s)-len(rest)], rest
}

// isDecimal says whether s is made of digits and at most one point.
func isDecimal(s string) bool {
	whole, fraction, _ := strings.Cut(s, ".")
	return isDigits(whole + fraction)
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// AppendTimespan appends [N day[s], ]H:MM:SS[.ffffff], rounded to microseconds: the str of
// Python's timedelta, in which only the days can be negative.
func AppendTimespan(dst []byte, d time.Duration) []byte {
	const day = 24 * time.Hour
	d = d.Round(time.Microsecond)
	n := d / day
	if d %= day; d < 0 {
		n, d = n-1, d+day
	}
	if n != 0 {
		dst = strconv.AppendInt(dst, int64(n), 10)
		dst = append(dst, " days, "...)
		if n == 1 || n == -1 {
			dst = append(dst[:len(dst)-3], ", "...)
		}
	}
	dst = strconv.AppendInt(dst, int64(d/time.Hour), 10)
	dst = append(dst, ':')
	dst = appendTwo(dst, int(d/time.Minute%60))
	dst = append(dst, ':')
	dst = appendTwo(dst, int(d/time.Second%60))
	if us := int(d % time.Second / time.Microsecond); us != 0 {
		dst = append(dst, '.')
		dst = appendTwo(dst, us/10000)
		dst = appendTwo(dst, us/100%100)
		dst = appendTwo(dst, us%100)
	}
	return dst
}
