package golden_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A policy is an archive policy of the golden file.
type policy struct {
	BackWindow int `json:"back_window"`
	Definition []definition
	Methods    []string `json:"aggregation_methods"`
}

type definition struct {
	Granularity *int64 `json:"granularity_ns"`
	Points      *int64
	Timespan    *int64 `json:"timespan_ns"`
}

// complete makes an archive policy of it as the API does.
func (p *policy) complete(name string) (*ingest.ArchivePolicy, error) {
	methods, err := ingest.ExpandMethods(p.Methods, ingest.DefaultMethods())
	if err != nil {
		return nil, err
	}
	made := &ingest.ArchivePolicy{Name: name, BackWindow: p.BackWindow, Methods: methods}
	for _, given := range p.Definition {
		d, err := ingest.Definition{
			Granularity: time.Duration(orZero(given.Granularity)),
			Points:      orZero(given.Points),
			Timespan:    time.Duration(orZero(given.Timespan)),
		}.Complete()
		if err != nil {
			return nil, err
		}
		made.Definitions = append(made.Definitions, d)
	}
	return made, made.Validate()
}

func orZero(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func orNil(v int64) *int64 {
	if v == 0 {
		return nil
	}
	return &v
}

func TestGoldenPolicy(t *testing.T) {
	type answer struct {
		outcome
		Definition []definition
		BlockSize  time.Duration `json:"block_size_ns"`
		Methods    []string
	}
	golden(t, "policy", func(t *testing.T, in policy, _ struct{}) answer {
		p, err := in.complete("golden")
		if err != nil {
			t.Logf("refused: %v", err)
			return answer{outcome: outcome{Error: true}}
		}
		made := answer{BlockSize: p.Coarsest(), Methods: p.Methods.Names()}
		slices.Sort(made.Methods)
		for _, d := range p.Definitions {
			made.Definition = append(made.Definition, definition{orNil(int64(d.Granularity)), orNil(d.Points),
				orNil(int64(d.Timespan))})
		}
		return made
	}, nil)
}

// A parsed is what a text was understood as: an instant or a span, or nothing when
// the original raised an error.
type parsed struct{ text string }

func (p *parsed) UnmarshalJSON(text []byte) error {
	var at instant
	if bytes.HasPrefix(text, []byte(`"`)) {
		if at.UnmarshalJSON(text) == nil {
			p.text = at.String()
		}
		return nil
	}
	var ns int64
	err := json.Unmarshal(text, &ns)
	p.text = time.Duration(ns).String()
	return err
}

func (p parsed) Equal(q parsed) bool { return p.text == q.text }

type parsing struct{ Values []any }

type parsedAnswer struct{ Values []parsed }

func TestGoldenParseTimestamp(t *testing.T) {
	now := time.Date(2015, 3, 6, 14, 34, 0, 0, time.UTC)
	golden(t, "parse_timestamp", func(t *testing.T, in parsing, _ struct{}) (answer parsedAnswer) {
		for _, v := range in.Values {
			one := parsed{}
			if at, err := gnocchi.ParseTime(fmt.Sprint(v), now); err == nil {
				one.text = instant(at).String()
			}
			answer.Values = append(answer.Values, one)
		}
		return answer
	}, nil)
}

func TestGoldenParseTimespan(t *testing.T) {
	golden(t, "parse_timespan", func(t *testing.T, in parsing, _ struct{}) (answer parsedAnswer) {
		for _, v := range in.Values {
			one := parsed{}
			if span, err := gnocchi.TimespanOf(v); err == nil {
				one.text = fmt.Sprint(span)
			}
			answer.Values = append(answer.Values, one)
		}
		return answer
	}, nil)
}
