package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
)

// A question is one request; ids of metrics are written as {name}.
type question struct {
	kind, method, path, body string
}

func (q question) String() string { return fmt.Sprintf("%s %s %s", q.method, q.path, q.body) }

// questioner makes up one question.
type questioner struct{ *rand.Rand }

// questionNumber makes up one question, or several that are about what the first ones made.
func questionNumber(n int) []question {
	r := questioner{rand.New(rand.NewPCG(uint64(n), 42))}
	if stories := []func(int) []question{r.typeStory, r.policyStory, r.measureStory, r.batchStory}; n%8 == 7 {
		return stories[n/8%len(stories)](n)
	}
	kinds := []func() question{r.aggregatesByID, r.aggregatesByID, r.aggregatesByID, r.aggregatesByResource,
		r.aggregatesByResource, r.acrossMetrics, r.acrossResources, r.searchMetric, r.searchResource,
		r.searchResource,
		r.searchResource, r.measures, r.listing}
	return []question{kinds[n%len(kinds)]()}
}

func one[T any](r questioner, of ...T) T { return of[r.IntN(len(of))] }

// likely is true n times out of ten.
func (r questioner) likely(n int) bool { return r.IntN(10) < n }

func (r questioner) instant() string {
	at := besideStart + r.IntN(60*besideMinutes+1200) - 600
	if r.likely(6) {
		at -= at % 60
	}
	return one(r, fmt.Sprint(at), timeText(at), fmt.Sprintf("%d.5", at))
}

func timeText(at int) string {
	return fmt.Sprintf("2024-01-01T%02d:%02d:%02d", at/3600%24, at/60%60, at%60)
}

// span adds start and stop, sometimes.
func (r questioner) span(v url.Values) {
	if r.likely(4) {
		v.Set("start", r.instant())
	}
	if r.likely(4) {
		v.Set("stop", r.instant())
	}
	if r.likely(1) {
		v.Set(one(r, "start", "stop"), one(r, "garbage", "", "2024-01-01T00:30:00+01:00", "2024-01", "1e9"))
	}
}

// rules adds fill or needed_overlap.
func (r questioner) rules(v url.Values) {
	if r.likely(7) {
		v.Set("fill", one(r, "null", "dropna", "0", "2.5", "-1", "ffill", "bfill", "full_ffill", "full_bfill",
			"null", "0", "rubbish"))
	}
	if r.likely(2) {
		v.Set("needed_overlap", one(r, "0", "20", "50", "100", "100.0", "much", "-1", "101"))
	}
}

func (r questioner) predicate(depth int) any {
	if depth > 0 && r.likely(4) {
		return map[string]any{one(r, "and", "or", "∧", "∨"): []any{r.predicate(depth - 1), r.predicate(depth - 1)}}
	}
	op := one(r, "=", "==", "eq", "!=", "≠", "ne", "<", "lt", ">", "gt", "<=", "≤", "le", ">=", "≥", "ge", "nope")
	if r.likely(6) {
		return map[string]any{op: 30*r.Float64() - 15}
	}
	left := map[string]any{one(r, "+", "add", "-", "sub", "*", "mul", "×", "/", "div", "÷", "%", "mod", "**", "^",
		"pow"): one[any](r, 2, -3, 0.5)}
	return map[string]any{op: []any{left, 10*r.Float64() - 5}}
}

func (r questioner) searchMetric() question {
	v := url.Values{}
	r.span(v)
	for range 1 + r.IntN(2) {
		v.Add("metric_id", one(r, "{m0}", "{m1}", "{m2}", "{m3}", "{m6}", "{m8}"))
	}
	if r.likely(3) {
		v.Set("aggregation", r.method())
	}
	if r.likely(4) {
		v["granularity"] = one(r, []string{"60"}, []string{"300"}, []string{"60", "3600"}, []string{"42"})
	}
	return question{kind: "search metric", method: "POST", path: "/search/metric?" + unbraced(v),
		body: encode(r.predicate(2))}
}
