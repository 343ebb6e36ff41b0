package gnocchi

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// A message is an error whose text is the API's.
type message string

func (m message) Error() string { return string(m) }

// What [ParseTime] answers when it can't.
const (
	ErrTime  = message("Unable to convert timestamps")
	ErrEpoch = message("Timestamp must be after Epoch")
)

// maxSeconds is the last whole second that a Measure's time can hold (2262-04-11).
const maxSeconds = math.MaxInt64 / 1_000_000_000

// A timeKind is one of the ways to write an instant. A list has only one of them.
type timeKind uint8

const (
	noTime       timeKind = iota
	epochTime             // seconds since 1970
	isoTimeKind           // ISO-8601
	wordTime              // now, today
	relativeTime          // a duration from now
)

// ParseTime reads an instant, in nanoseconds since 1970, from one of
//
//	1425652437.5            seconds since 1970, in double precision
//	2015-03-06T14:33:57Z    ISO-8601 extended, UTC unless it has an offset
//	now, today              the current second, the last midnight UTC
//	-5 minutes              a duration of ParseTimespan from now
//
// The errors are [ErrTime], and [ErrEpoch] before 1970 and when a calendar date is
// beyond what 64 bits of nanoseconds hold (2262-04-11).
func ParseTime(text string, now time.Time) (int64, error) {
	l := timeList{now: now}
	return l.parse(text)
}

// ParseMicroseconds is [ParseTime] of what is kept in whole microseconds, in nanoseconds: the
// double that a number of seconds is read with can't tell those apart, so it is rounded, and
// a fraction that is written out ends after six digits.
func ParseMicroseconds(text string, now time.Time) (int64, error) {
	t, err := ParseTime(text, now)
	if _, isNumber := ParseFloat(text); isNumber && err == nil && t < math.MaxInt64-1000 {
		t += 500
	}
	return t - t%1000, err
}

// ParseInstant reads an instant that is the same whenever it is read: seconds since
// 1970 or ISO-8601, in the forms and with the errors of [ParseTime].
func ParseInstant(text string) (int64, error) {
	if f, ok := ParseFloat(text); ok {
		return epochOfText(text, f)
	}
	if sec, nsec, n := isoTime([]byte(text)); n > 0 && n == len(text) {
		return instant(sec, nsec)
	}
	return 0, ErrTime
}

// A timeList reads the time stamps of one list, one by one: strings as for [ParseTime],
// and numbers, which are seconds since 1970. The first decides which kind they must all be.
type timeList struct {
	now  time.Time
	kind timeKind // of the first stamp that was understood
}

func (l *timeList) read(v any) (int64, error) {
	switch v := v.(type) {
	case string:
		return l.parse(v)
	case json.Number:
		return l.parse(string(v))
	case float64:
		return l.settle(epochTime, func() (int64, error) { return epochOf(v) })
	case int:
		return l.parse(strconv.Itoa(v))
	case int64:
		return l.parse(strconv.FormatInt(v, 10))
	}
	return 0, ErrTime
}

func (l *timeList) parse(text string) (int64, error) {
	if f, ok := ParseFloat(text); ok {
		return l.settle(epochTime, func() (int64, error) { return epochOfText(text, f) })
	}
	if sec, nsec, n := isoTime([]byte(text)); n > 0 && n == len(text) {
		return l.settle(isoTimeKind, func() (int64, error) { return instant(sec, nsec) })
	}
	switch {
	case strings.EqualFold(text, "now"):
		return l.settle(wordTime, func() (int64, error) { return instant(l.now.Unix(), 0) })
	case strings.EqualFold(text, "today"):
		return l.settle(wordTime, func() (int64, error) { return instant(l.now.Unix()-l.now.Unix()%86400, 0) })
	}
	if d, err := parseSpan(text); err == nil {
		return l.settle(relativeTime, func() (int64, error) { return after(l.now, d) })
	}
	return 0, ErrTime
}

// settle makes kind the list's, or refuses it when the list has another.
func (l *timeList) settle(kind timeKind, read func() (int64, error)) (int64, error) {
	if l.kind == noTime {
		l.kind = kind
	}
	if l.kind != kind {
		return 0, ErrTime
	}
	return read()
}

// epochOfText is the instant that is text, whose value is f, seconds after 1970.
// Whole seconds are exact; others pass through float64 as they always did.
func epochOfText(text string, f float64) (int64, error) {
	sec, err := strconv.ParseInt(trimBlanks(text), 10, 64)
	switch {
	case err != nil:
		return epochOf(f)
	case sec < 0:
		return 0, ErrEpoch
	case sec > maxSeconds:
		return 0, ErrTime
	}
	return sec * 1e9, nil
}

func epochOf(seconds float64) (int64, error) {
	ns := seconds * 1e9
	switch {
	case math.IsNaN(ns) || math.IsInf(seconds, 0) || ns >= 1<<63:
		return 0, ErrTime
	case ns <= -1:
		return 0, ErrEpoch
	}
	return int64(ns), nil
}

// instant is sec seconds and nsec nanoseconds after 1970.
func instant(sec, nsec int64) (int64, error) {
	if sec < 0 || sec > maxSeconds || sec == maxSeconds && nsec > math.MaxInt64%1_000_000_000 {
		return 0, ErrEpoch
	}
	return sec*1e9 + nsec, nil
}

func after(now time.Time, d time.Duration) (int64, error) {
	t := now.Add(d)
	return instant(t.Unix(), int64(t.Nanosecond()))
}
