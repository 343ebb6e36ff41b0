package gnocchi

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTime(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got, err := ParseTime(text, testNow)
		if err != nil || got != instantOf(t, want) {
			t.Errorf("%q: %s (%v), want %s", text, AppendTime(nil, got), err, want)
		}
		times, err := readTimes([]any{text, text})
		if err != nil || len(times) != 2 || times[0] != got || times[1] != got {
			t.Errorf("%q twice: %v (%v)", text, times, err)
		}
	}
	// Seconds since 1970.
	f("1425652437", "2015-03-06T14:33:57Z")
	f("1425652437.5", "2015-03-06T14:33:57.5Z")
	f("1.425652437e9", "2015-03-06T14:33:57Z")
	f(" +1425652437\n", "2015-03-06T14:33:57Z")
	f("1478012832.123456789", "2016-11-01T15:07:12.123456768Z")
	f("2015", "1970-01-01T00:33:35Z")
	f("20150306", "1970-08-22T05:18:26Z")
	f("0", "1970-01-01T00:00:00Z")
	f("-0", "1970-01-01T00:00:00Z")
	f("-1e-10", "1970-01-01T00:00:00Z") // the cut is towards zero
	f("9223372036", "2262-04-11T23:47:16Z")

	// ISO-8601 extended.
	f("2015-03", "2015-03-01T00:00:00Z")
	f("2015-03-06", "2015-03-06T00:00:00Z")
	f("2015-03-06T14", "2015-03-06T14:00:00Z")
	f("2015-03-06 14:33", "2015-03-06T14:33:00Z")
	f("2015-03-06T14:33:57", "2015-03-06T14:33:57Z")
	f("2015-03-06 14:33:57Z", "2015-03-06T14:33:57Z")
	f("2015-03-06T14:33:57.1", "2015-03-06T14:33:57.1Z")
	f("2015-03-06T14:33:57.1234567899999Z", "2015-03-06T14:33:57.123456789Z")
	f("2015-03-06T14Z", "2015-03-06T14:00:00Z")
	f("2015-03-06T14:33+02", "2015-03-06T12:33:00Z")
	f("2015-03-06T14:33:57+0230", "2015-03-06T12:03:57Z")
	f("2015-03-06T14:33:57.5-02:30", "2015-03-06T17:03:57.5Z")
	f("2015-03-06T23:59:59-23:59", "2015-03-07T23:58:59Z")
	f("2016-02-29T00:00:00", "2016-02-29T00:00:00Z")
	f("2000-02-29", "2000-02-29T00:00:00Z")
	f("1970-01-01T00:00:00", "1970-01-01T00:00:00Z")
	f("1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00Z")
	f("2262-04-11T23:47:16.854775807", "2262-04-11T23:47:16.854775807Z")

	// Words and durations: it is 2016-11-01T15:07:12.0000005Z.
	f("now", "2016-11-01T15:07:12Z")
	f("Today", "2016-11-01T00:00:00Z")
	f("-5 minutes", "2016-11-01T15:02:12.0000005Z")
	f("- 1 day", "2016-10-31T15:07:12.0000005Z")
	f("+1h", "2016-11-01T16:07:12.0000005Z")
	f("5 minutes", "2016-11-01T15:12:12.0000005Z")
	f("0s", "2016-11-01T15:07:12.0000005Z")
	f("-1:00", "2016-11-01T15:06:12.0000005Z")
}

func TestParseTimeRefusals(t *testing.T) {
	f := func(want error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got, err := ParseTime(text, testNow); !errors.Is(err, want) {
				t.Errorf("%q: %s (%v), want %v", text, AppendTime(nil, got), err, want)
			}
		}
	}
	f(ErrTime, "", " ", "NaT", "nan", "inf", "-Infinity", "1e300", "1e400", "9223372037", "99999999999999999999",
		"yesterday", "0x10", "1_000",
		"2015-100-06T14:33:57", "2015-13-01", "2015-00-01", "2015-03-00", "2015-02-29", "1900-02-29", "2015-04-31",
		"2015-03-32",
		"2015-03-06T24:00:00", "2015-03-06T14:60", "2015-03-06T14:33:60", "2015-3-6", "2015-03-06T", "2015-03-06T1",
		"2015-03-06t14:33:57",
		"2015-03-06T14:33:57z", "2015-03-06T14:33:57 Z", "2015-03-06T14:33:57 +00:00", "2015-03-06  14:33:57",
		"2015-03-06T14:33:57.",
		"2015-03-06T14:33.5", "2015-03-06T14:33:57,5", "2015-03-06T14:33:57+", "2015-03-06T14:33:57+2",
		"2015-03-06T14:33:57+24:00",
		"2015-03-06T14:33:57+02:60", "2015-03-06T14:33:57+02:", "2015-03-06T14:33:57+020", "2015-03-06T14:33:57Zx",
		"2015-03Z", "2015-03-06Z",
		"2015-03T14", "20150306T143357", "2015-W10-5", "2015-065", " 2015-03-06", "2015-03-06T14:33:57\x00", "２０１５-03-06",
		"PT1H", "-5 months")
	f(ErrEpoch, "1915-03-06T14:33:57", "1969-12-31T23:59:59.999999999", "1970-01-01T00:00:00+00:01", "0000-01-01",
		"2262-04-11T23:47:16.854775808",
		"2262-04-12", "9999-12-31", "-1", "-0.5", "-1e300", "-99999999999999999999", "-2500 weeks", "+15000 weeks")
}

// readTimes reads the stamps of a list.
func readTimes(values []any) ([]int64, error) {
	l := timeList{now: testNow}
	times := make([]int64, len(values))
	for i, v := range values {
		t, err := l.read(v)
		if err != nil {
			return nil, err
		}
		times[i] = t
	}
	return times, nil
}

func TestTimeList(t *testing.T) {
	f := func(values []any, want []int64, wantErr error) {
		t.Helper()
		got, err := readTimes(values)
		if !errors.Is(err, wantErr) {
			t.Errorf("%v: %v, want %v", values, err, wantErr)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v\n%s", values, diff)
		}
	}
	f([]any{}, []int64{}, nil)
	f([]any{json.Number("1"), "2", 3.5, 4, int64(5)}, []int64{1e9, 2e9, 3.5e9, 4e9, 5e9}, nil)
	f([]any{"1970-01-01", "1970-01-01T00:00:01Z"}, []int64{0, 1e9}, nil)
	f([]any{"-1s", "+1s"}, []int64{testNow.UnixNano() - 1e9, testNow.UnixNano() + 1e9}, nil)

	// The first decides.
	f([]any{json.Number("1478012832"), "-5 minutes"}, nil, ErrTime)
	f([]any{"1478012832", "2015-03-06"}, nil, ErrTime)
	f([]any{"2015-03-06", 1478012832.0}, nil, ErrTime)
	f([]any{"2015-03-06", "now"}, nil, ErrTime)
	f([]any{"now", "2015-03-06"}, nil, ErrTime)
	f([]any{"-5 minutes", "2015-03-06"}, nil, ErrTime)
	f([]any{"-5 minutes", json.Number("60")}, nil, ErrTime)

	f([]any{1.0, -1.0}, nil, ErrEpoch)
	for _, v := range []any{nil, true, []any{}, map[string]any{}, math.NaN(), math.Inf(1), 1e300} {
		f([]any{v}, nil, ErrTime)
	}
}

// What is written can be read, and nothing panics or is before 1970.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"1425652437.5", "2015-03-06T14:33:57.123456789+02:30", "2015-03", "now",
		"-1 day, 2:30:00", "2262-04-11T23:47:16.9", "-1e-10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := ParseTime(text, testNow)
		if err != nil {
			return
		}
		if at < 0 {
			t.Errorf("%q is %d", text, at)
		}
		written := string(AppendTime(nil, at))
		if back, err := ParseTime(written, testNow); err != nil || back != at {
			t.Errorf("%q is %d, written as %s, read back as %d (%v)", text, at, written, back, err)
		}
		if std, err := time.Parse(time.RFC3339Nano, written); err != nil || std.UnixNano() != at {
			t.Errorf("%q is %d, written as %s, which is %v (%v)", text, at, written, std, err)
		}
	})
}

// Every other byte at every place of the commonest form.
func TestISOBytes(t *testing.T) {
	for i := range len("2015-03-06T14:33:57") {
		for c := range 256 {
			b := []byte("2015-03-06T14:33:57")
			b[i] = byte(c)
			sec, _, n := isoTime(b)
			std, err := time.Parse("2006-01-02T15:04:05", strings.Replace(string(b), " ", "T", 1))
			if taken := n == len(b); taken != (err == nil) || taken && sec != std.Unix() {
				t.Errorf("%q: %d, %d bytes of it, want %v (%v)", b, sec, n, std, err)
			}
		}
	}
}

// The fast reader of the commonest form agrees with the general one.
func FuzzISO(f *testing.F) {
	for _, seed := range []string{"2015-03-06T14:33:57.123456789+02:30", "2015-02-30 14:33:57Z", "2015-03-06T14:33:60",
		"0000-01-01T00:00:00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sec, nsec, n := isoTime(b)
		wantSec, wantNsec, want := isoParts(b)
		if sec != wantSec || nsec != wantNsec || n != want {
			t.Errorf("%q: %d %d %d, want %d %d %d", b, sec, nsec, n, wantSec, wantNsec, want)
		}
		if n == 20 && b[19] == 'Z' && b[10] == 'T' {
			if std, err := time.Parse(time.RFC3339, string(b[:n])); err != nil || std.Unix() != sec {
				t.Errorf("%q: %d, want %v (%v)", b, sec, std, err)
			}
		}
	})
}

// A number of seconds is a double, which is up to 128 ns beside what was meant.
func TestParseMicroseconds(t *testing.T) {
	f := func(text string, want int64) {
		t.Helper()
		if got, err := ParseMicroseconds(text, time.Unix(0, 0)); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	f("1704067200.25", 1704067200_250000_000)
	f("1704067200.1", 1704067200_100000_000)
	f("1704067200.999999", 1704067200_999999_000)
	f("1704067200", 1704067200_000000_000)
	f("2024-01-01T00:00:00.25", 1704067200_250000_000)
	f("2024-01-01T00:00:00.123456999", 1704067200_123456_000)
	f("1 minute", 60_000000_000)
	if _, err := ParseMicroseconds("rubbish", time.Unix(0, 0)); err == nil {
		t.Error("rubbish is taken")
	}
}
