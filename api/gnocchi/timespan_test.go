package gnocchi

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"
)

func TestParseTimespan(t *testing.T) {
	const day = 24 * time.Hour
	f := func(want time.Duration, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got, err := ParseTimespan(text); err != nil || got != want {
				t.Errorf("%q: %v (%v), want %v", text, got, err, want)
			}
		}
	}
	f(time.Minute, "60", "60.0", "6e1", " +60 ", "1 minute", "1m", "1min", "1 mins", "1MINUTES", "60s", "60 sec",
		"60secs", "60 second", "60 seconds",
		"1:00", "01:00", "0:01:00", "0:00:01:00", "1.0m", "1. m", "+1m", " + 1m ", "1m,", "1 m /")
	f(500*time.Millisecond, "0.5", "5e-1", ".5s", "0.5 s", ":00.5")
	f(1, "1e-9")
	f(2, "0.0000000029") // the cut is towards zero
	f(5400*time.Second, "1h30m", "1h 30m", "1 hour, 30 minutes", "1hr/30min", "1.5h", "1:30:00", "90:00", "5400", "1H30M",
		"1\thours\n30 M")
	f(11400*time.Second, "3 hours, 10 minutes", "3hrs10mins")
	f(30*time.Second, ":30", "0:30")
	f(7*day, "1w", "1 wk", "1wks", "1 week", "1 weeks", "7d", "7 dys", "7dy", "7 days", "7 day", "7:00:00:00")
	f(8*day+time.Hour, "1w1d1h", "1 week 1 day 1 hour", "1w, 1d, 1:00:00", "1w1d 1:00:00")
	f(day+2*time.Hour+30*time.Minute, "1 day, 2:30:00", "1d2:30:00", "1:02:30:00")
	f(75*time.Minute+90*time.Second, "75:90")

	// Whole seconds, unless the seconds have a fraction.
	f(time.Second, "0.02m", "0.0333m")
	f(4*time.Second, "0.02m 3s")
	f(61*time.Second+500*time.Millisecond, "1m 1.5s", "1:01.5")
	f(maxSeconds*time.Second, "9223372036", "9223372036s")
}

func TestParseTimespanRefusals(t *testing.T) {
	f := func(want error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got, err := ParseTimespan(text); !errors.Is(err, want) {
				t.Errorf("%q: %v (%v), want %v", text, got, err, want)
			}
		}
	}
	f(ErrTimespan, "", " ", "abc", "PT1H", "P1D", "1 month", "2 years", "5ms", "1 hour and 5 minutes", "30m1h", "1m1m",
		"1h,,5m", ",1h", "h", "1 h 5",
		"1.2.3h", ". s", "--1h", "1 -h", "100:00", "1:0", "1:000", ":", "::", "1:", ":5", "1:00:", ":00:00", "1::00",
		"1:0:00", "1:00:00.", "1:00.5:00", "a:00",
		"1:1:00:00", "1:00:00:00:00", "1 day, 1:00", "1 day, 1:00:00:00", "1h 1:00:00", "1:00 1h", "1:00 5",
		"inf", "nan", "-inf", "1e300", "9223372037", "20000 weeks", "99999999999999999999s", "99999999999999999999.5s",
		"0x10", "1_0", "1h\x00", "１h")
	f(ErrTimespanPositive, "0", "-1", "0.0", "1e-10", "-5 minutes", "0s", "- 1:00", "0:00", "0.01m")
}

func TestTimespanOf(t *testing.T) {
	f := func(v any, want time.Duration, wantErr error) {
		t.Helper()
		if got, err := TimespanOf(v); got != want || !errors.Is(err, wantErr) {
			t.Errorf("%#v: %v (%v), want %v (%v)", v, got, err, want, wantErr)
		}
	}
	f(json.Number("60"), time.Minute, nil)
	f(json.Number("0.1"), 100*time.Millisecond, nil)
	f(60.5, 60500*time.Millisecond, nil)
	f(60, time.Minute, nil)
	f(int64(60), time.Minute, nil)
	f("1h", time.Hour, nil)
	f(nil, 0, ErrTimespanNull)
	f(true, 0, ErrTimespan)
	f([]any{}, 0, ErrTimespan)
	f(math.Inf(1), 0, ErrTimespan)
	f(math.NaN(), 0, ErrTimespan)
	f(json.Number("1e999"), 0, ErrTimespan)
	f(-0.5, 0, ErrTimespanPositive)
	f(0, 0, ErrTimespanPositive)
}

func TestAppendTimespan(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := string(AppendTimespan(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	const day = 24 * time.Hour
	f(0, "0:00:00")
	f(time.Minute, "0:01:00")
	f(time.Hour, "1:00:00")
	f(day, "1 day, 0:00:00")
	f(30*day, "30 days, 0:00:00")
	f(36*day+12*time.Hour+3*time.Second, "36 days, 12:00:03")
	f(3600*time.Millisecond, "0:00:03.600000")
	f(1499, "0:00:00.000001")
	f(999, "0:00:00.000001")
	f(499, "0:00:00")
	f(day-1, "1 day, 0:00:00")
	f(-time.Second, "-1 day, 23:59:59")
	f(-2*day, "-2 days, 0:00:00")
	f(math.MaxInt64, "106751 days, 23:47:16.854775") // there is no rounding up from here
	f(math.MinInt64, "-106752 days, 0:12:43.145224")
}

// What is printed, the microseconds being whole, reads as the same.
func FuzzParseTimespan(f *testing.F) {
	for _, seed := range []string{"60", "1 day, 2:30:00", "1h30m", "1.5 weeks/3s", "1:00", "9223372036.8s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseTimespan(text)
		if err != nil {
			return
		}
		if d <= 0 {
			t.Errorf("%q is %v", text, d)
		}
		if rounded := d.Truncate(time.Second); rounded > 0 {
			if back, err := ParseTimespan(string(AppendTimespan(nil, rounded))); err != nil || back != rounded {
				t.Errorf("%q is %v, written as %s, read back as %v (%v)", text, rounded, string(AppendTimespan(nil, rounded)),
					back, err)
			}
		}
	})
}

func TestParseBool(t *testing.T) {
	for want, texts := range map[bool][]string{
		true:  {"1", "t", "T", "true", "True", "y", "yes", "on", " ON "},
		false: {"0", "f", "false", "False", "n", "no", "off", " Off\t"},
	} {
		for _, text := range texts {
			if got, err := ParseBool("details", text); err != nil || got != want {
				t.Errorf("%q: %v (%v), want %v", text, got, err, want)
			}
		}
	}
	for _, text := range []string{"", "foo", "2", "tr"} {
		want := "Unable to parse `details': Unrecognized value '" + text + "', acceptable values are: " +
			"'0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'"
		if _, err := ParseBool("details", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
