package golden_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// An instant is a time of the golden file: RFC 3339 with nine digits.
type instant int64

func (i *instant) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	*i = instant(at.UnixNano())
	return err
}

func (i instant) String() string { return time.Unix(0, int64(i)).UTC().Format(time.RFC3339Nano) }

// or returns the instant, or otherwise when there is none.
func (i *instant) or(otherwise int64) int64 {
	if i == nil {
		return otherwise
	}
	return int64(*i)
}

// A number is a value of the golden file: a number, or a text for what isn't finite.
type number float64

func (n *number) UnmarshalJSON(text []byte) error {
	s := string(text)
	switch s {
	case `"NaN"`, `"+Inf"`, `"-Inf"`:
		s = s[1 : len(s)-1]
	}
	v, err := strconv.ParseFloat(s, 64)
	*n = number(v)
	return err
}

// withTolerance compares numbers as the golden file asks: bit by bit (all NaN being
// one), or relative to the smaller and to 1.
func withTolerance(tolerance float64) cmp.Option {
	return cmp.Comparer(func(a, b number) bool {
		x, y := float64(a), float64(b)
		switch {
		case math.IsNaN(x) || math.IsNaN(y):
			return math.IsNaN(x) && math.IsNaN(y)
		case tolerance == 0 || math.IsInf(x, 0) || math.IsInf(y, 0):
			return math.Float64bits(x) == math.Float64bits(y)
		}
		return math.Abs(x-y) <= tolerance*max(1, min(math.Abs(x), math.Abs(y)))
	})
}

// A point is [time, value].
type point struct {
	Time  instant
	Value number
}

func (p *point) UnmarshalJSON(text []byte) error { return decodeArray(text, &p.Time, &p.Value) }

// A row is [time, granularity or letter, value].
type row struct {
	Time  instant
	Span  string // as in JSON
	Value number
}

func (r *row) UnmarshalJSON(text []byte) error {
	var span json.RawMessage
	err := decodeArray(text, &r.Time, &span, &r.Value)
	r.Span = string(span)
	return err
}

func decodeArray(text []byte, into ...any) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	if len(parts) != len(into) {
		return fmt.Errorf("%d elements instead of %d: %s", len(parts), len(into), text)
	}
	for i, part := range parts {
		if err := json.Unmarshal(part, into[i]); err != nil {
			return err
		}
	}
	return nil
}

// failed says that an answer is an error, of whatever class.
type failed bool

func (f *failed) UnmarshalJSON([]byte) error {
	*f = true
	return nil
}

// A code is an HTTP status; 0 agrees with every other.
type code int

func sameCode(a, b code) bool { return a == b || a == 0 || b == 0 }

// An outcome is what an answer has when it is an error.
type outcome struct {
	Error failed
	Code  code
}

// layout stands for something about how the original stores things, which is no
// business of ours: only that it was asked for counts.
type layout struct{}

func (*layout) UnmarshalJSON([]byte) error { return nil }

func measuresOf(points []point) []ingest.Measure {
	list := make([]ingest.Measure, len(points))
	for i, p := range points {
		list[i] = ingest.Measure{Time: int64(p.Time), Value: float64(p.Value)}
	}
	return list
}

func pointsOf(measures []ingest.Measure) []point {
	list := make([]point, len(measures))
	for i, m := range measures {
		list[i] = point{instant(m.Time), number(m.Value)}
	}
	return list
}
