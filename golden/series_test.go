package golden_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"millrace/drivers/aggregate"
	"millrace/ingest"
)

type pointsAnswer struct {
	outcome
	Points []point
}

type valuesAnswer struct {
	outcome
	Values []instant
}

// A sampling is a number of nanoseconds or a calendar's letter.
type sampling struct {
	every  time.Duration
	letter string
}

func (s *sampling) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &s.letter)
	}
	ns, err := strconv.ParseInt(string(text), 10, 64)
	s.every = time.Duration(ns)
	return err
}

func (s *sampling) String() string { // as in the rows of an answer
	if s.letter != "" {
		return strconv.Quote(s.letter)
	}
	return strconv.FormatInt(int64(s.every), 10)
}

// group is the model's.
func (s *sampling) group() func(int64) int64 {
	if s.letter != "" {
		return calendar(s.letter)
	}
	return every(s.every)
}

// resample and trim are Millrace's.
func (s *sampling) resample(t *testing.T, rows []ingest.Measure, m ingest.Method) []ingest.Measure {
	if s.letter != "" {
		return aggregate.ResampleCalendar(nil, rows, calendarOf(t, s.letter), m)
	}
	return aggregate.Resample(nil, rows, s.every, m)
}

func (s *sampling) trim(t *testing.T, rows []ingest.Measure, from, to int64) []ingest.Measure {
	if s.letter != "" {
		return aggregate.RangeCalendar(rows, calendarOf(t, s.letter), from, to)
	}
	return aggregate.Range(rows, s.every, from, to)
}

func (s *sampling) cover(t *testing.T, from, to int64) (int64, int64) {
	if s.letter != "" {
		return aggregate.CoverCalendar(calendarOf(t, s.letter), from, to)
	}
	return aggregate.Cover(s.every, from, to)
}

func calendarOf(t *testing.T, letter string) aggregate.Calendar {
	t.Helper()
	c, ok := aggregate.ParseCalendar(letter)
	if !ok {
		t.Fatalf("%q is not a calendar group", letter)
	}
	return c
}

// A method is the name of one.
type method struct{ ingest.Method }

func (m *method) UnmarshalText(text []byte) error {
	found, ok := ingest.ParseMethod(string(text))
	if !ok {
		return &ingest.MethodError{Name: string(text)}
	}
	m.Method = found
	return nil
}

func TestGoldenAggregate(t *testing.T) {
	type input struct{ Points []point }
	type op struct {
		Granularity time.Duration `json:"granularity_ns"`
		Calendar    string
		Method      method
		Start       *instant
	}
	golden(t, "aggregate", func(t *testing.T, in input, op op) pointsAnswer {
		raw := measuresOf(in.Points)
		if op.Calendar != "" {
			rows := aggregate.ResampleCalendar(nil, raw, calendarOf(t, op.Calendar), op.Method.Method)
			return pointsAnswer{Points: pointsOf(aggregate.RangeCalendar(rows, calendarOf(t, op.Calendar),
				op.Start.or(ingest.MinTime), ingest.MaxTime))}
		}
		from := ingest.Floor(op.Start.or(ingest.MinTime), op.Granularity)
		return pointsAnswer{Points: pointsOf(aggregate.Series(nil, raw, op.Granularity, op.Method.Method, from,
			ingest.MaxTime))}
	}, func(in input, op op) pointsAnswer {
		if op.Calendar != "" {
			rows := regrouped(measuresOf(in.Points), calendar(op.Calendar), op.Method.Method)
			return pointsAnswer{Points: pointsOf(trimmed(rows, calendar(op.Calendar), op.Start, nil))}
		}
		rows := grouped(measuresOf(in.Points), every(op.Granularity), op.Method.Method)
		return pointsAnswer{Points: pointsOf(trimmed(rows, every(op.Granularity), op.Start, nil))}
	})
}

func TestGoldenResample(t *testing.T) {
	type input struct {
		Points      []point
		Granularity time.Duration `json:"granularity_ns"`
	}
	type op struct {
		Method   method
		Sampling sampling
	}
	golden(t, "resample", func(t *testing.T, in input, op op) pointsAnswer {
		return pointsAnswer{Points: pointsOf(op.Sampling.resample(t, measuresOf(in.Points), op.Method.Method))}
	}, func(in input, op op) pointsAnswer {
		return pointsAnswer{Points: pointsOf(regrouped(measuresOf(in.Points), op.Sampling.group(), op.Method.Method))}
	})
}

func TestGoldenRound(t *testing.T) {
	type input struct{ Timestamps []instant }
	type op struct {
		Granularity time.Duration `json:"granularity_ns"`
	}
	round := func(in input, floor func(int64) int64) (answer valuesAnswer) {
		for _, at := range in.Timestamps {
			answer.Values = append(answer.Values, instant(floor(int64(at))))
		}
		return answer
	}
	golden(t, "round", func(t *testing.T, in input, op op) valuesAnswer {
		return round(in, func(at int64) int64 { return ingest.Floor(at, op.Granularity) })
	}, func(in input, op op) valuesAnswer {
		return round(in, every(op.Granularity))
	})
}

func TestGoldenCalendar(t *testing.T) {
	type input struct{ Timestamps []instant }
	type op struct{ Group string }
	golden(t, "calendar", func(t *testing.T, in input, op op) (answer valuesAnswer) {
		for _, at := range in.Timestamps {
			answer.Values = append(answer.Values, instant(calendarOf(t, op.Group).Floor(int64(at))))
		}
		return answer
	}, func(in input, op op) (answer valuesAnswer) {
		for _, at := range in.Timestamps {
			answer.Values = append(answer.Values, instant(calendar(op.Group)(int64(at))))
		}
		return answer
	})
}

func TestGoldenFetch(t *testing.T) {
	type input struct {
		Points      []point
		Granularity time.Duration `json:"granularity_ns"`
	}
	type op struct{ Start, Stop *instant }
	golden(t, "fetch", func(t *testing.T, in input, op op) pointsAnswer {
		return pointsAnswer{Points: pointsOf(aggregate.Range(measuresOf(in.Points), in.Granularity,
			op.Start.or(ingest.MinTime), op.Stop.or(ingest.MaxTime)))}
	}, func(in input, op op) pointsAnswer {
		return pointsAnswer{Points: pointsOf(trimmed(measuresOf(in.Points), every(in.Granularity), op.Start, op.Stop))}
	})
}

func TestGoldenTruncate(t *testing.T) {
	type input struct {
		Points      []point
		Granularity time.Duration `json:"granularity_ns"`
	}
	type op struct {
		OldestPoint *instant      `json:"oldest_point"`
		Timespan    time.Duration `json:"timespan_ns"`
	}
	type answer struct {
		pointsAnswer
		Oldest instant // the youngest time that has expired
	}
	oldestOf := func(in input, op op) int64 {
		newest, timespan := int64(in.Points[len(in.Points)-1].Time), op.Timespan
		if op.OldestPoint != nil { // the same, said otherwise
			timespan = time.Duration(newest - int64(*op.OldestPoint))
		}
		return aggregate.Oldest(newest, timespan)
	}
	golden(t, "truncate", func(t *testing.T, in input, op op) answer {
		if len(in.Points) == 0 {
			return answer{}
		}
		oldest := oldestOf(in, op)
		kept := slices.DeleteFunc(slices.Clone(in.Points), func(p point) bool { return int64(p.Time) < oldest })
		return answer{pointsAnswer{Points: kept}, instant(oldest - 1)}
	}, func(in input, op op) answer {
		if len(in.Points) == 0 {
			return answer{}
		}
		oldest := in.Points[len(in.Points)-1].Time - instant(op.Timespan)
		if op.OldestPoint != nil {
			oldest = *op.OldestPoint
		}
		kept := slices.DeleteFunc(slices.Clone(in.Points), func(p point) bool { return p.Time <= oldest })
		return answer{pointsAnswer{Points: kept}, oldest}
	})
}
