package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// asker makes questions of a kind; a body is made JSON.
func asker(kind string) func(method, path string, body any) question {
	return func(method, path string, body any) question {
		q := question{kind: kind, method: method, path: path}
		if body != nil {
			q.body = encode(body)
		}
		return q
	}
}

// typeStory makes a resource type, changes it, makes resources of it, and takes all away.
func (r questioner) typeStory(n int) []question {
	name := fmt.Sprintf("t%d", n)
	ask := asker("story of a type")
	attributes := map[string]any{}
	for range r.IntN(4) {
		attributes[one(r, "a", "b", "c", "d")] = r.attributeType()
	}
	if r.IntN(6) == 0 {
		attributes[one(r, "id", "x y", "", "metrics", "ünï", "9x", "_x", "type", strings.Repeat("x",
			64))] = r.attributeType()
	}
	story := []question{ask("POST", "/resource_type", map[string]any{"name": name, "attributes": attributes}),
		ask("GET", "/resource_type/"+name, nil)}
	resource := func(id string) question {
		body := map[string]any{"id": id}
		for _, a := range slices.Sorted(maps.Keys(attributes)) {
			if r.likely(8) {
				body[a] = r.attributeValue(attributes[a])
			}
		}
		return ask("POST", "/resource/"+name, body)
	}
	story = append(story, resource(name+"-1"), resource(name+"-2"))
	var ops []any
	for range 1 + r.IntN(3) {
		op := map[string]any{"op": one(r, "add", "add", "add", "remove", "replace"),
			"path": "/attributes/" + one(r, "a", "b", "c", "e", "f")}
		if op["op"] != "remove" {
			value := r.attributeType()
			if attribute, ok := value.(map[string]any); ok && r.likely(6) {
				attribute["options"] = one[any](r, map[string]any{"fill": r.attributeValue(value)},
					map[string]any{"fill": "x"}, map[string]any{})
			}
			op["value"] = value
		}
		ops = append(ops, op)
	}
	if r.IntN(8) == 0 {
		ops = append(ops, one[any](r, 1, map[string]any{"op": "add"}, map[string]any{"op": "add", "path": "/name",
			"value": "x"},
			map[string]any{"op": "add", "path": "/attributes/z", "value": 1}, map[string]any{"op": "test",
				"path": "/attributes"}))
	}
	story = append(story, ask("PATCH", "/resource_type/"+name, ops), ask("GET", "/resource_type/"+name, nil),
		resource(name+"-3"), ask("GET", "/resource/"+name+"?sort=original_resource_id", nil))
	patch := map[string]any{}
	for _, a := range []string{"a", "b", "e"} {
		if r.likely(4) {
			patch[a] = r.attributeValue(r.attributeType())
		}
	}
	if r.likely(3) {
		patch["project_id"] = one[any](r, "p", nil, 1)
	}
	story = append(story, ask("PATCH", "/resource/"+name+"/"+name+"-1", patch), ask("GET", "/resource/"+name+
		"/"+name+"-1", nil),
		ask("GET", "/resource/"+name+"/"+name+"-1/history?sort=revision_start", nil), ask("DELETE",
			"/resource_type/"+name, nil))
	for i := range 3 {
		story = append(story, ask("DELETE", fmt.Sprintf("/resource/%s/%s-%d", one(r, name, "generic"), name, i+1),
			nil))
	}
	return append(story, ask("DELETE", "/resource_type/"+name, nil), ask("GET", "/resource_type/"+name, nil))
}

func (r questioner) attributeType() any {
	a := map[string]any{"type": one(r, "string", "string", "number", "number", "uuid", "bool", "datetime")}
	if r.likely(5) {
		a["required"] = r.likely(4)
	}
	switch {
	case a["type"] == "string" && r.likely(5):
		a["min_length"], a["max_length"] = r.IntN(4), 2+r.IntN(8)
	case a["type"] == "number" && r.likely(5):
		a["min"], a["max"] = one[any](r, -5, 0.5, nil, 3), one[any](r, 10, 2.5, nil)
	}
	if r.IntN(25) == 0 {
		return one[any](r, 1, map[string]any{}, map[string]any{"type": "nope"}, map[string]any{"type": "string",
			"min": 1},
			map[string]any{"type": "string", "max_length": 257}, map[string]any{"type": "number", "min": "x"},
			map[string]any{"type": "bool", "required": 1}, map[string]any{"type": "string", "min_length": 8,
				"max_length": 3})
	}
	return a
}

// attributeValue is a value of a type, mostly.
func (r questioner) attributeValue(of any) any {
	kind := ""
	if a, ok := of.(map[string]any); ok {
		kind, _ = a["type"].(string)
	}
	if r.likely(1) {
		kind = ""
	}
	switch kind {
	case "string":
		return one[any](r, "abc", "éñ☃", "abcd", "ab")
	case "number":
		return one[any](r, 1, 2.5, 4, 9)
	case "uuid":
		return one[any](r, "00000000-0000-0000-0000-00000000000a", "{0000000000000000000000000000000B}")
	case "bool":
		return r.likely(5)
	case "datetime":
		return one[any](r, "2024-01-01T00:00:00.123456789", "2024-02-29 12:00+01:00", 1704067200.25, "2024-01")
	}
	return one[any](r, nil, 1, "x", true, []any{}, "2024-13-01", -1e300, "")
}

// policyStory makes an archive policy, changes it, and takes it away.
func (r questioner) policyStory(n int) []question {
	name := fmt.Sprintf("p%d", n)
	ask := asker("story of a policy")
	var definition []any
	for range 1 + r.IntN(3) {
		definition = append(definition, r.definition())
	}
	policy := map[string]any{"name": name, "definition": definition}
	if r.likely(4) {
		policy["back_window"] = one[any](r, 0, 1, 10, "3", -1, "x", 2.5, nil)
	}
	if r.likely(5) {
		policy["aggregation_methods"] = one[any](r, []any{"mean"}, []any{"*"}, []any{"-mean"}, []any{"+95pct",
			"-std"}, []any{"mean", "mean"},
			[]any{}, []any{"rate:mean", "last"}, []any{"wtf"}, "mean", []any{"99pct", "1pct"}, []any{"100pct"},
			[]any{"*", "-rate:last"}, []any{1})
	}
	changed := slices.Clone(definition)
	if r.likely(5) {
		changed[0] = r.definition()
	}
	slices.Reverse(changed)
	patch := map[string]any{"definition": changed}
	if r.likely(3) {
		patch[one(r, "back_window", "name", "aggregation_methods")] = one[any](r, 2, []any{"mean"}, "x")
	}
	rule := map[string]any{"name": name, "metric_pattern": name + one(r, "*", ".?", "[ab]*", ".[!x]"),
		"archive_policy_name": name}
	return []question{ask("POST", "/archive_policy", policy), ask("GET", "/archive_policy/"+name, nil),
		ask("PATCH", "/archive_policy/"+name, patch), ask("POST", "/archive_policy", policy), ask("POST",
			"/archive_policy_rule", rule),
		ask("GET", "/archive_policy_rule/"+name, nil), ask("POST", "/metric", map[string]any{"name": name + one(r,
			".a", "b", "", ".xyz")}),
		ask("DELETE", "/archive_policy/"+name, nil), ask("PATCH", "/archive_policy_rule/"+name,
			map[string]any{"name": name + "é"}),
		ask("DELETE", "/archive_policy_rule/"+name, nil), ask("DELETE",
			"/archive_policy_rule/"+url.PathEscape(name+"é"), nil)}
}

func (r questioner) definition() any {
	span := func() any {
		return one[any](r, 60, "60", "1 minute", "0:05:00", 300, "1h", "1 hour", "2 days", "1:00", "1.5h", "90",
			0.5, "1 week", "3h, 30m", "1 day, 1:00:00")
	}
	if r.IntN(12) == 0 {
		return one[any](r, map[string]any{}, 1, map[string]any{"granularity": 0},
			map[string]any{"granularity": "-1"}, map[string]any{"points": 5},
			map[string]any{"granularity": "PT1H"}, map[string]any{"granularity": 60, "points": 0},
			map[string]any{"granularity": nil},
			map[string]any{"granularity": 60, "cowsay": 1}, map[string]any{"granularity": 60, "points": "7"},
			map[string]any{"granularity": 60, "points": 1.9})
	}
	d := map[string]any{}
	if r.likely(9) {
		d["granularity"] = span()
	}
	if r.likely(4) {
		d["points"] = one[any](r, 10, 60, 1000, "20")
	}
	if r.likely(4) {
		d["timespan"] = span()
	}
	return d
}

// measureStory writes measures in every form, and reads them.
func (r questioner) measureStory(n int) []question {
	id := fmt.Sprintf("s%d", n)
	ask := func(method, path, body string) question {
		return question{kind: "story of measures", method: method, path: path, body: body}
	}
	story := []question{ask("POST", "/resource/generic",
		fmt.Sprintf(`{"id": %q, "started_at": "2024-01-01", "metrics": {"m": {"archive_policy_name": %q}}}`,
			id, one(r, "three", "two", "five", "second")))}
	form := r.IntN(4)
	at := besideStart + r.IntN(3600)
	for range 1 + r.IntN(3) {
		var list []string
		for range r.IntN(8) {
			at += 1 + r.IntN(200)
			stamp := []string{fmt.Sprint(at), `"` + timeText(at) + `"`, fmt.Sprintf(`"%s+02:00"`, timeText(at)),
				fmt.Sprintf("%d.25", at)}[form]
			value := one(r, fmt.Sprintf("%.3f", 50*r.NormFloat64()), fmt.Sprint(r.IntN(9)), `"1.5"`, "-0.0",
				"1e3", "true", "Infinity", "NaN", `"nan"`, "1e-7")
			list = append(list, fmt.Sprintf(`{"timestamp": %s, "value": %s}`, stamp, value))
		}
		if r.IntN(8) == 0 {
			list = append(list, one(r, `{"timestamp": "x", "value": 1}`, `{"timestamp": -1, "value": 1}`,
				`{"value": 1}`, `{"timestamp": 1704067200}`, `1`,
				`{"timestamp": 1704067200, "value": "x"}`, `{"timestamp": 1704067200, "value": null}`,
				`{"timestamp": null, "value": 1}`,
				`{"timestamp": "1969-12-31", "value": 1}`, `{"timestamp": 1704067200, "value": [1]}`,
				`{"timestamp": 1704067200, "value": 1, "extra": 2}`))
		}
		story = append(story, ask("POST", "/resource/generic/"+id+"/metric/m/measures", "["+strings.Join(list,
			", ")+"]"))
	}
	for i, method := range []string{"mean", "max", "last", "rate:mean", "std", "sum", "95pct", "count"} {
		story = append(story, ask("GET", "/resource/generic/"+id+"/metric/m/measures?refresh="+fmt.Sprint(i == 0)+
			"&aggregation="+
			url.QueryEscape(method), ""))
	}
	return append(story, ask("GET", "/resource/generic/"+id, ""), ask("DELETE", "/resource/generic/"+id+
		"/metric/m", ""),
		ask("GET", "/resource/generic/"+id+"/metric/m", ""), ask("DELETE", "/resource/generic/"+id, ""))
}

// batchStory writes by resource and name, and creates metrics on the way.
func (r questioner) batchStory(n int) []question {
	id := fmt.Sprintf("b%d", n)
	ask := asker("story of a batch")
	measures := []any{map[string]any{"timestamp": besideStart + 60*r.IntN(50), "value": r.IntN(100)}}
	entry := func() any {
		if r.likely(5) {
			return measures
		}
		return one[any](r, map[string]any{"measures": measures, "archive_policy_name": "two", "unit": "MB"},
			map[string]any{"measures": measures},
			map[string]any{"measures": measures, "archive_policy_name": "none"},
			map[string]any{"measures": []any{}}, []any{}, 1, map[string]any{"measures": 1},
			map[string]any{"measures": measures, "unit": strings.Repeat("u", 40)},
			map[string]any{"measures": measures, "nope": 1}, []any{1})
	}
	batch := func() any {
		b := map[string]any{}
		for range 1 + r.IntN(2) {
			names := map[string]any{}
			for range r.IntN(3) {
				names[one(r, "m", "n", "o", "a/b", "é")] = entry()
			}
			b[one(r, id, id, id, id+"x", "vm-0", "a/b")] = names
		}
		return b
	}
	var story []question
	if r.likely(8) {
		story = append(story, ask("POST", "/resource/generic", map[string]any{"id": id}))
	}
	for range 3 {
		story = append(story, ask("POST", "/batch/resources/metrics/measures"+one(r, "", "?create_metrics=true",
			"?create_metrics=True"),
			batch()), ask("GET", "/resource/generic/"+id+"/metric/m/measures?refresh=true", nil), ask("GET",
			"/resource/generic/"+id+"/metric/n", nil))
	}
	associate := map[string]any{one(r, "m", "p", "a/b"): one[any](r, map[string]any{},
		map[string]any{"archive_policy_name": "three", "name": "x"}, 1, "nope",
		"11111111-2222-4333-8444-555555555555", map[string]any{"archive_policy_name": "none"},
		map[string]any{"nope": 1})}
	return append(story, ask("POST", "/resource/generic/"+id+"/metric", associate), ask("PATCH",
		"/resource/generic/"+id, map[string]any{"metrics": associate}),
		ask("GET", "/resource/generic/"+id, nil), ask("DELETE", "/resource/generic", one[any](r,
			map[string]any{"=": map[string]any{"id": id}}, map[string]any{})),
		ask("DELETE", "/resource/generic/"+id, nil))
}
