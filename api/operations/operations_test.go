package operations

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// seconds is a grammar of durations: numbers of seconds.
func seconds(v any) (time.Duration, error) {
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err == nil && n <= 0 {
		err = errors.New("not positive")
	}
	return time.Duration(n) * time.Second, err
}

func parseJSON(t testing.TB, text string) (aggregate.Operation, error) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Parse(v, seconds)
}

// operators are compared by their names.
var operators = cmp.Options{
	cmp.Comparer(func(a, b aggregate.UnaryOperator) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b aggregate.BinaryOperator) bool { return a.String() == b.String() }),
}

func unary(name string, of aggregate.Operation) aggregate.Operation {
	o, _ := aggregate.ParseUnary(name)
	return aggregate.Unary{Operator: o, Of: of}
}

func binary(name string, left, right aggregate.Operation) aggregate.Operation {
	o, _ := aggregate.ParseBinary(name)
	return aggregate.Binary{Operator: o, Left: left, Right: right}
}

func TestParse(t *testing.T) {
	a, b := aggregate.Reference{Metric: "a", Method: "mean"}, aggregate.Reference{Metric: "b", Method: "95pct"}
	one, two := aggregate.Metrics{a}, aggregate.Metrics{a, b}
	f := func(list, expression string, want aggregate.Operation) {
		t.Helper()
		got, err := parseJSON(t, list)
		if err != nil {
			t.Errorf("%s: %v", list, err)
		} else if diff := cmp.Diff(want, got, operators); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", list, diff)
		}
		got, err = Parse(expression, seconds)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		} else if diff := cmp.Diff(want, got, operators); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", expression, diff)
		}
	}
	f(`["metric", "a", "mean"]`, `(metric a mean)`, one)
	f(`["metric", ["a", "mean"], ["b", "95pct"]]`, ` ( metric(a mean)	(b 95pct) ) and whatever follows)`, two)
	f(`["metric", ["a", "mean"]]`, "(metric (a\nmean))", one)
	f(`["aggregate", "rate:mean", ["metric", "a", "mean"]]`, `(aggregate rate:mean (metric a mean))`,
		aggregate.Across{Function: aggregate.OfMean | 1<<7, Of: []aggregate.Operation{one}})
	f(`["aggregate", "sum", ["metric", "a", "mean"], ["metric", "b", "95pct"]]`,
		`(aggregate sum (metric a mean) (metric b 95pct))`,
		aggregate.Across{Function: aggregate.OfSum, Of: []aggregate.Operation{one, aggregate.Metrics{b}}})
	f(`["rolling", "std", 2, ["metric", "a", "mean"]]`, `(rolling std 2 (metric a mean))`,
		aggregate.Rolling{Function: aggregate.OfStd, Window: 2, Of: one})
	f(`["rolling", "std", "2.0", ["metric", "a", "mean"]]`, `(rolling std 2.0 (metric a mean))`,
		aggregate.Rolling{Function: aggregate.OfStd, Window: 2, Of: one})
	f(`["resample", "90pct", 60, ["metric", "a", "mean"]]`, `(resample 90pct 60 (metric a mean))`,
		aggregate.Resampled{Method: ingest.Percentile(90), Every: time.Minute, Of: one})
	f(`["rateofchange", ["rateofchangesec", ["metric", "a", "mean"]]]`,
		`(rateofchange (rateofchangesec (metric a mean)))`,
		aggregate.Change{Of: aggregate.Change{PerSecond: true, Of: one}})
	f(`["absolute", ["metric", "a", "mean"]]`, `(abs (metric a mean))`, unary("abs", one))
	f(`["÷", ["metric", "a", "mean"], 1e3]`, `(/ (metric a mean) 1000)`, binary("/", one, aggregate.Number(1000)))
	f(`["-", "2", ["metric", "a", "mean"]]`, `(sub +2 (metric a mean))`, binary("-", aggregate.Number(2), one))
	f(`["+", true, ["metric", "a", "mean"]]`, `(add 1.0 (metric a mean))`, binary("+", aggregate.Number(1), one))
	f(`["clip", ["metric", "a", "mean"], 5]`, `(clip (metric a mean) 5)`, binary("clip_min", one, aggregate.Number(5)))
	f(`["clip", ["metric", "a", "mean"], 5, 60]`, `(clip (metric a mean) 5 60)`,
		binary("clip_max", binary("clip_min", one, aggregate.Number(5)), aggregate.Number(60)))
	// quotes stay
	f(`["metric", "\"a b\"", "mean"]`, `(metric "a b" mean)`, aggregate.Metrics{{Metric: `"a b"`, Method: "mean"}})
	f(`["metric", "5", "mean"]`, `(metric 5 mean)`, aggregate.Metrics{{Metric: "5", Method: "mean"}})
}

func TestParseInvalid(t *testing.T) {
	f := func(list, want string, path ...int) {
		t.Helper()
		_, err := parseJSON(t, list)
		invalid, ok := errors.AsType[*InvalidError](err)
		if !ok {
			t.Errorf("%s: %v", list, err)
			return
		}
		if invalid.Message != want || !cmp.Equal(invalid.Path, path) {
			t.Errorf("%s: %s %v, want %s %v", list, invalid.Message, invalid.Path, want, path)
		}
	}
	f(`[]`, "Operation must not be empty")
	f(`1`, "Expected a tuple/list, got a number")
	f(`{}`, "Expected a tuple/list, got a dict")
	f(`null`, "Expected a tuple/list, got a null")
	f(`true`, "Expected a tuple/list, got a bool")
	f(`["metric"]`, "Operation need at least one argument")
	f(`["wtf", 1]`, "'wtf' operation invalid")
	f(`[["metric", "a", "mean"], 1]`, "Operation must begin with a name, got a list")
	f(`[{"metric": "a"}, 1]`, "Operation must begin with a name, got a dict")
	f(`["aggregate", "wtf", ["metric", "a", "mean"]]`, "'aggregate' operation invalid")
	f(`["aggregate", "95pct", ["metric", "a", "mean"]]`, "'aggregate' operation invalid")
	f(`["aggregate", "mean"]`, "'aggregate' operation invalid")
	f(`["aggregate", "mean", "a"]`, "'aggregate' operation invalid")
	f(`["rolling", "mean", 0, ["metric", "a", "mean"]]`, "'rolling' operation invalid")
	f(`["rolling", "mean", 1.5, ["metric", "a", "mean"]]`, "'rolling' operation invalid")
	f(`["rolling", "mean", 1e300, ["metric", "a", "mean"]]`, "'rolling' operation invalid")
	f(`["rolling", "last", 2, ["metric", "a", "mean"]]`, "'rolling' operation invalid")
	f(`["rolling", "mean", ["metric", "a", "mean"]]`, "'rolling' operation invalid")
	f(`["resample", "mean", "M", ["metric", "a", "mean"]]`, "'resample' operation invalid")
	f(`["resample", "var", 60, ["metric", "a", "mean"]]`, "'resample' operation invalid")
	f(`["resample", "mean", -60, ["metric", "a", "mean"]]`, "'resample' operation invalid")
	f(`["clip", ["metric", "a", "mean"]]`, "'clip' operation invalid")
	f(`["abs", ["metric", "a", "mean"], 1]`, "'abs' operation invalid")
	f(`["+", ["metric", "a", "mean"]]`, "'+' operation invalid")
	f(`["+", ["metric", "a", "mean"], "0x10"]`, "'+' operation invalid")
	f(`["+", ["metric", "a", "mean"], null]`, "'+' operation invalid")
	f(`["+", ["wtf", 1], 1]`, "'wtf' operation invalid")
	f(`["metric", "x"]`, "expected a list of a metric and an aggregation method", 0)
	f(`["metric", "x", 1]`, "expected a list of a metric and an aggregation method", 0)
	f(`["metric", ["x", "mean"], ["y"]]`, "expected a metric and an aggregation method", 1)
	f(`["metric", ["x", 1]]`, "expected a metric and an aggregation method", 0)
}

func TestParseNoMetric(t *testing.T) {
	f := func(operations any, want any) {
		t.Helper()
		_, err := Parse(operations, seconds)
		none, ok := errors.AsType[*NoMetricError](err)
		if !ok {
			t.Errorf("%v: %v", operations, err)
			return
		}
		if diff := cmp.Diff(want, none.Operations); diff != "" {
			t.Errorf("%v: %s", operations, diff)
		}
	}
	two := []any{"aggregate", "mean", json.Number("2")}
	f(two, two)
	f("(aggregate mean 2)", two)
	f("(+ (abs -1) .5)", []any{"+", []any{"abs", json.Number("-1")}, ".5"})
}

func TestParseSyntax(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Parse(text, seconds)
		if _, ok := errors.AsType[*SyntaxError](err); !ok || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	f("", `Expected "(" (at char 0)`)
	f("  ", `Expected "(" (at char 2)`)
	f("metric a mean", `Expected "(" (at char 0)`)
	f(") (", `Expected "(" (at char 0)`)
	f("(metric a mean", `Expected ")" (at char 14)`)
	f("(metric (a mean)", `Expected ")" (at char 16)`)
	f(strings.Repeat("(", 1e6), "Expected at most 64 nested parentheses (at char 64)")
}

// Whatever is sent is refused, or can be computed or refused then.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`["aggregate", "rate:mean", ["metric", ["a", "mean"], ["b", "95pct"]], ["metric", "c", "last"]]`,
		`["+", ["*", ["rolling", "median", 2, ["metric", "a", "mean"]], 2], ["rateofchangesec", ["metric", "a", "mean"]]]`,
		`"(clip (resample std 60 (metric (a mean) (b mean))) -1 inf) rest"`, `"((metric"`, `["-", NaN]`, `[[[[[]]]]]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			v = string(data)
		}
		tree, err := Parse(v, seconds)
		if err != nil {
			return
		}
		refs := aggregate.References(tree)
		if len(refs) == 0 {
			t.Fatalf("%s is of no metric", data)
		}
		var all aggregate.Gather
		for i := range refs {
			all.Add([]ingest.Measure{{Time: 0, Value: 1}, {Time: int64(i) * 1e9, Value: 2}, {Time: 100e9, Value: 3}}[i%2:])
		}
		limits := aggregate.Limits{Values: 1 << 12, Steps: 1 << 16}
		table, err := all.Table(time.Second, limits.Values)
		if err != nil {
			return
		}
		result, err := aggregate.Evaluate(tree, table, refs, limits)
		if err != nil {
			return
		}
		for i, c := range result.Columns {
			if len(c.Values) != len(result.Times) || len(result.Rows(i, false)) != len(result.Times) {
				t.Fatalf("%s: %d values at %d times", data, len(c.Values), len(result.Times))
			}
		}
	})
}
