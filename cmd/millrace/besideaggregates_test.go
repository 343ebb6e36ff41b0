package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

var besideMethods = []string{"mean", "mean", "mean", "max", "count", "min", "sum", "std", "median", "last",
	"95pct", "rate:mean"}

func (r questioner) method() string { return one(r, besideMethods...) }

func (r questioner) granularity(v url.Values) {
	if r.likely(5) {
		v.Set("granularity", one(r, "60", "60", "300", "3600", "60.0", "1 minute", "1", "42", "5 min", "1:00"))
	}
}

func number(r questioner) any {
	return one[any](r, 0, 1, 2, -3, 0.5, 1e3, -0.25, 100, "2", true)
}

// tree makes up operations over what refs names.
func (r questioner) tree(depth int, ref func() string) any {
	if depth == 0 || r.likely(2) {
		if r.likely(5) {
			return []any{"metric", ref(), r.method()}
		}
		metrics := []any{"metric"}
		for range 1 + r.IntN(3) {
			metrics = append(metrics, []any{ref(), r.method()})
		}
		return metrics
	}
	inner := func() any { return r.tree(depth-1, ref) }
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		return []any{"aggregate", one(r, "mean", "median", "std", "min", "max", "sum", "var", "rate:mean",
			"rate:sum", "mean"), inner()}
	case 4, 5:
		op := one(r, "+", "-", "*", "/", "%", "mod", "add", "sub", "mul", "div", "**", "pow", "^", "<", ">", "<=",
			">=", "=", "==",
			"!=", "≠", "≥", "≤", "eq", "ne", "lt", "gt", "le", "ge", "clip_min", "clip_max", "max", "×", "÷")
		pair := []any{inner(), number(r)}
		if r.likely(4) {
			pair[1] = inner()
		}
		if r.likely(3) {
			pair[0], pair[1] = pair[1], pair[0]
		}
		return append([]any{op}, pair...)
	case 6, 7:
		return []any{one(r, "abs", "absolute", "neg", "negative", "cos", "sin", "tan", "floor", "ceil",
			"rateofchange",
			"rateofchangesec", "rateofchange"), inner()}
	case 8:
		if r.likely(5) {
			return []any{"rolling", one(r, "mean", "min", "max", "sum", "std", "median", "var", "rate:mean"),
				1 + r.IntN(5), inner()}
		}
		return []any{"clip", inner(), -5, 12.5}[:3+r.IntN(2)]
	default:
		return []any{"resample", one(r, "mean", "min", "max", "sum", "count", "first", "last", "median", "std",
			"90pct"),
			one[any](r, 120, 600, 3600, 7200, "600", 60), inner()}
	}
}

// lisp writes a tree in its string form.
func lisp(node any) string {
	list, ok := node.([]any)
	if !ok {
		if b, ok := node.(bool); ok {
			return map[bool]string{true: "1", false: "0"}[b]
		}
		return fmt.Sprint(node)
	}
	var parts []string
	for _, n := range list {
		parts = append(parts, lisp(n))
	}
	return "(" + strings.Join(parts, " ") + ")"
}

// operations is the value of "operations", sometimes a wrong one.
func (r questioner) operations(ref func() string) any {
	if r.IntN(25) == 0 {
		return one[any](r, []any{}, 1, "", []any{"metric"}, []any{"metric", ref()}, "(metric", []any{"nope",
			[]any{"metric", ref(), "mean"}},
			[]any{"aggregate", "wtf", []any{"metric", ref(), "mean"}}, []any{"+", 1, 2}, []any{"abs", 1}, nil,
			[]any{"metric", ref(), "wtf"}, []any{"rolling", "mean", 0, []any{"metric", ref(), "mean"}},
			[]any{"resample", "mean", "never", []any{"metric", ref(), "mean"}}, []any{"aggregate", "mean", 3},
			"(aggregate mean (metric "+ref()+" mean)) trailing", "(+ 1 1)", "metric", []any{[]any{"metric", ref(),
				"mean"}},
			[]any{"aggregate", "mean"}, []any{"+", []any{"metric", ref(), "mean"}}, map[string]any{"metric": ref()})
	}
	tree := r.tree(1+r.IntN(4), ref)
	if r.likely(4) {
		return lisp(tree)
	}
	return tree
}

func encode(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSpace(b.String())
}

func (r questioner) aggregatesByID() question {
	v := url.Values{}
	r.span(v)
	r.rules(v)
	r.granularity(v)
	if r.likely(1) {
		v.Set("details", one(r, "true", "True", "1", "perhaps"))
	}
	names := []string{"{m0}", "{m1}", "{m2}", "{m8}", "{m0}", "{m1}"}
	if r.likely(3) {
		names = append(names, "{m3}", "{m4}", "{m5}", "{m6}", "{m7}", "{m9}")
	}
	if r.IntN(30) == 0 {
		names = append(names, "nonsense", "11111111-2222-3333-4444-555555555555")
	}
	body := map[string]any{"operations": r.operations(func() string { return one(r, names...) })}
	return question{kind: "aggregates by id", method: "POST", path: "/aggregates?" + v.Encode(), body: encode(body)}
}

func (r questioner) aggregatesByResource() question {
	v := url.Values{}
	r.span(v)
	r.rules(v)
	r.granularity(v)
	if r.likely(1) {
		v.Set("details", "true")
	}
	if r.likely(5) {
		v["groupby"] = one(r, []string{"host"}, []string{"project_id"}, []string{"flavor", "on"},
			[]string{"cpus"}, []string{"uid"},
			[]string{"user_id", "project_id"}, []string{"seen"}, []string{"nope"}, []string{"id"},
			[]string{"odd-name"}, []string{"type"})
		if r.likely(2) {
			v.Set("use_history", "true")
		}
	}
	body := map[string]any{"resource_type": one(r, "vm", "vm", "vm", "generic", "vm", "none")}
	if body["resource_type"] == "none" && r.likely(7) {
		body["resource_type"] = "vm"
	}
	switch {
	case r.likely(4):
		body["search"] = map[string]any{}
	case r.likely(5):
		body["search"] = r.filter(2)
	default:
		body["search"] = r.condition()
	}
	body["operations"] = r.operations(func() string {
		return one(r, "cpu", "cpu", "mem", "disk.*", "disk.?", "*", "[dD]isk.a", "disk.a", "nothing", "CPU")
	})
	return question{kind: "aggregates by resource", method: "POST", path: "/aggregates?" + v.Encode(),
		body: encode(body)}
}

func (r questioner) legacy() url.Values {
	v := url.Values{}
	r.span(v)
	r.rules(v)
	r.granularity(v)
	if r.likely(5) {
		v.Set("aggregation", one(r, append(besideMethods, "wtf")...))
	}
	if r.likely(3) {
		v.Set("reaggregation", one(r, "mean", "median", "std", "min", "max", "sum", "var", "rate:mean", "rate:sum"))
	}
	if r.likely(1) {
		v.Set("resample", one(r, "600", "7200", "M", "H", "forever"))
	}
	return v
}

func (r questioner) acrossMetrics() question {
	v := r.legacy()
	var ids []string
	for range 1 + r.IntN(4) {
		ids = append(ids, one(r, "{m0}", "{m1}", "{m2}", "{m8}", "{m3}", "{m4}", "{m5}", "{m9}"))
	}
	if r.IntN(20) == 0 {
		ids = append(ids, one(r, "nonsense", "11111111-2222-3333-4444-555555555555"))
	}
	if r.likely(5) {
		return question{kind: "legacy by id", method: "POST", path: "/aggregation/metric?" + v.Encode(),
			body: encode(ids)}
	}
	v["metric"] = ids
	return question{kind: "legacy by id", method: "GET", path: "/aggregation/metric?" + unbraced(v)}
}

// unbraced is the query with ids of metrics still to be replaced.
func unbraced(v url.Values) string {
	return strings.NewReplacer("%7B", "{", "%7D", "}").Replace(v.Encode())
}

func (r questioner) acrossResources() question {
	v := r.legacy()
	if r.likely(4) {
		v["groupby"] = one(r, []string{"host"}, []string{"project_id"}, []string{"flavor", "on"}, []string{"nope"})
	}
	q := question{kind: "legacy by resource", method: "POST", body: encode(r.filter(1))}
	if r.likely(3) {
		v.Set("filter", r.condition())
		q.body = ""
	}
	q.path = "/aggregation/resource/" + one(r, "vm", "vm", "vm", "generic", "none") + "/metric/" +
		one(r, "cpu", "cpu", "mem", "disk.a", "none") + "?" + v.Encode()
	return q
}
