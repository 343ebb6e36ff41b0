package gnocchi

import (
	"errors"
	"math"
	"testing"
	"time"
)

// An instant is what a time is that doesn't depend on the clock.
func TestParseInstant(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, text := range []string{"1425652437.5", " 12 ", "2015-03-06T14:33:57Z", "2015-03-06 14:33:57.25+01:00",
		"2015-03", "-1", "1e99", "1969-01-01"} {
		want, wantErr := ParseTime(text, now)
		if got, err := ParseInstant(text); got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %d, %v; want %d, %v", text, got, err, want, wantErr)
		}
	}
	for _, text := range []string{"now", "today", "-5 minutes", "12:00:00", ":02", "1h", "", "x", "2015-03-06T"} {
		if got, err := ParseInstant(text); !errors.Is(err, ErrTime) {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

// One grammar for numbers, wherever they stand.
func TestParseFloat(t *testing.T) {
	for text, want := range map[string]float64{
		"1": 1, " -2.5e3\t": -2500, "+.5": .5, "5.": 5, "1e999": math.Inf(1), "-Infinity": math.Inf(-1), "inf": math.Inf(1),
		"1e-999": 0,
	} {
		if got, ok := ParseFloat(text); !ok || got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"0x1p3", "1_000", "", "1,5", "1e", "--1", "0x10", "1 2", "Infinit"} {
		if got, ok := ParseFloat(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
