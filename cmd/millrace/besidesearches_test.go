package main

import (
	"fmt"
	"strings"
)

// attribute picks an attribute and a value to compare it with, mostly one of its kind.
func (r questioner) attribute() (string, any) {
	values := map[string][]any{
		"flavor": {"m1.small", "m1.large", `back\slash`, "5", 5, "it's", nil, ""}, "host": {"alpha", "Alpha",
			"be%ta", "étoile", "x"},
		"cpus": {1, 2, 2.5, -3, 1e20, "2", nil, true, "two"}, "seen": {"2024-01-01T00:00:03.5", "2024-01-01",
			1704067205, nil, "rubbish"},
		"uid": {"00000000-0000-0000-0000-000000000001", "00000000000000000000000000000002", nil, "rubbish"},
		"on":  {true, false, nil, 1}, "odd-name": {"o1", "o0", nil}, "project_id": {"p1", "p2", nil, 1},
		"user_id": {"u1", nil}, "started_at": {"2023-12-05", "2023-12-03T02:00:00", 1701993600, "nope", nil},
		"ended_at": {"2025-01-05", nil, "2025-01-03T00:00:00+00:00"}, "id": {"vm-3", "éñ☃",
			"3f9a1c2e-0000-4000-8000-000000000012", "nope"},
		"original_resource_id": {"vm-3", "éñ☃", "VM-3"}, "type": {"vm", "generic", nil}, "creator": {"admin", "x"},
		"lifespan": {"30 days", 86400 * 390, "1 day", "rubbish"}, "nope": {1}, "metrics": {"x"},
		"created_by_user_id": {"admin"}, "created_by_project_id": {"p"},
	}
	names := []string{"flavor", "host", "cpus", "seen", "uid", "on", "odd-name", "project_id", "user_id",
		"started_at", "ended_at",
		"id", "original_resource_id", "type", "lifespan", "host", "flavor", "cpus", "creator"}
	if r.IntN(20) == 0 {
		names = []string{"nope", "metrics", "created_by_user_id", "created_by_project_id"}
	}
	name := one(r, names...)
	return name, one(r, values[name]...)
}

// filter makes up a JSON tree.
func (r questioner) filter(depth int) any {
	if r.IntN(30) == 0 {
		return one[any](r, map[string]any{}, []any{}, "x", 1, map[string]any{"foo": map[string]any{"host": 1}},
			map[string]any{"=": map[string]any{"host": []any{1}}},
			map[string]any{"in": map[string]any{"host": []any{}}},
			map[string]any{"and": map[string]any{"=": 1}}, map[string]any{"not": []any{}},
			map[string]any{"and": []any{}},
			map[string]any{"=": map[string]any{"host": "a", "flavor": "b"}}, map[string]any{"=": map[string]any{}},
			map[string]any{"like": map[string]any{"host": nil}}, map[string]any{"in": map[string]any{"host": "a"}},
			map[string]any{"=": "x"}, map[string]any{"like": map[string]any{"host": 5}},
			map[string]any{"not": map[string]any{}})
	}
	if depth > 0 && r.likely(5) {
		switch r.IntN(3) {
		case 0:
			return map[string]any{"not": r.filter(depth - 1)}
		default:
			list := []any{}
			for range 1 + r.IntN(3) {
				list = append(list, r.filter(depth-1))
			}
			return map[string]any{one(r, "and", "or", "∧", "∨"): list}
		}
	}
	name, value := r.attribute()
	switch r.IntN(6) {
	case 0:
		list := []any{value}
		for range r.IntN(3) {
			_, other := r.attribute()
			if r.likely(8) {
				for i := 0; i < 20; i++ {
					if n, v := r.attribute(); n == name {
						other = v
						break
					}
				}
			}
			list = append(list, other)
		}
		return map[string]any{"in": map[string]any{name: list}}
	case 1:
		name = one(r, "host", "flavor", "odd-name", "project_id", "original_resource_id", "host", "flavor",
			"type", name)
		return map[string]any{"like": map[string]any{name: r.pattern()}}
	}
	op := one(r, "=", "==", "eq", "!=", "≠", "ne", "<", "lt", ">", "gt", "<=", "≤", "le", ">=", "≥", "ge", "=",
		"!=")
	return map[string]any{op: map[string]any{name: value}}
}

func (r questioner) pattern() string {
	return one(r, "alpha", "al%", "%a", "_lpha", "%", "", "be\\%ta", "be%", "g\\_mma", "g_mma", "back\\\\%", "%slash",
		"A%", "é%", "m1.%", "vm-_", "p_")
}

// condition makes up a filter in its string form.
func (r questioner) condition() string {
	if r.IntN(15) == 0 {
		return one(r, "id == foobar", "", "(", "host = ", "= 1", "host", "host = alpha host = x", "nope = 1",
			"host = 'a", "not", "()",
			"host in []", "host in x", "host like 5", "(host = alpha", "host = alpha)", "HOST = alpha",
			"host = alpha AND cpus = 1",
			"host = 'a' 'b'", "host = -", "cpus = 1e", "cpus = 1.2.3", "1 = 1", "host ~ x")
	}
	var parts []string
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			parts = append(parts, one(r, "and", "or", "and", "∧", "∨"))
		}
		name, value := r.attribute()
		op := one(r, "=", "!=", "eq", "ne", "<", "lt", ">", "gt", "<=", "le", ">=", "ge", "≠", "≥", "≤", "=",
			"in", "like")
		var text string
		switch op {
		case "in":
			_, other := r.attribute()
			text = "[" + literal(r, value) + ", " + literal(r, other) + "]"
		case "like":
			name, text = one(r, "host", "flavor", "project_id"), `"`+strings.ReplaceAll(r.pattern(), `\`, ``)+`"`
		default:
			text = literal(r, value)
		}
		if strings.Contains(name, "-") {
			name = `"` + name + `"`
		}
		blank := one(r, " ", " ", "  ")
		c := name + blank + op + blank + text
		if r.likely(2) {
			c = "not (" + c + ")"
		} else if r.likely(2) {
			c = "(" + c + ")"
		}
		parts = append(parts, c)
	}
	return strings.Join(parts, " ")
}

func literal(r questioner, v any) string {
	switch v := v.(type) {
	case nil:
		return one(r, "None", "none", "null")
	case bool:
		return map[bool][]string{true: {"true", "True"}, false: {"false", "False"}}[v][r.IntN(2)]
	case string:
		if v == "it's" || r.likely(6) {
			return `"` + v + `"`
		}
		return "'" + v + "'"
	}
	return fmt.Sprint(v)
}
