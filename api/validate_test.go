package api

import (
	"encoding/json"
	"errors"
	"testing"

	"millrace/api/gnocchi"
)

func TestFields(t *testing.T) {
	var s string
	var n int64
	schema := fields(
		required("name", text(&s, 5)),
		optional("n", integer(&n, 1)),
		required("list", list(1, func(v any) error { return fields(optional("x", text(&s, 1)))(v) })),
	)
	f := func(body, want string) {
		t.Helper()
		v, err := parseJSON([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := schema(v); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
	f(`{"name": "éñ☃✔a", "list": [{}]}`, "")
	f(`{"name": "abcdef", "list": [{}]}`, "length of value must be at most 5 for dictionary value @ data['name']")
	f(`{"n": 0, "name": 1}`, "value must be at least 1 for dictionary value @ data['n']") // the first in the body
	f(`{"name": 1, "n": 0}`, "expected str for dictionary value @ data['name']")
	f(`{"what": 1, "n": 0}`, "extra keys not allowed @ data['what']")
	f(`{"n": 0}`, "value must be at least 1 for dictionary value @ data['n']") // before what is missing
	f(`{"n": 1}`, "required key not provided @ data['name']")
	f(`{"n": 1.9, "name": "", "list": [{}]}`, "")
	f(`{"n": " 2 ", "name": "", "list": [{}]}`, "")
	f(`{"n": true, "name": "", "list": [{}]}`, "")
	f(`{"n": "1.5"}`, "expected int for dictionary value @ data['n']")
	f(`{"n": null}`, "expected int for dictionary value @ data['n']")
	f(`{"n": 1e99}`, "expected int for dictionary value @ data['n']")
	f(`{"list": {}}`, "expected a list for dictionary value @ data['list']")
	f(`{"list": [{"x": "ab"}]}`, "length of value must be at most 1 for dictionary value @ data['list'][0]['x']")
	f(`{"list": [{}, 1]}`, "expected a dictionary @ data['list'][1]")
	f(`null`, "expected a dictionary")
	f(`{"name": "abcdef", "name": "a", "list": [{}]}`, "") // the last of equals counts
}

func TestParseJSON(t *testing.T) {
	bad := func(body, want string) {
		t.Helper()
		_, err := parseJSON([]byte(body))
		if e, ok := errors.AsType[*gnocchi.DecodeError](err); !ok || want != "" && e.Reason != want {
			t.Errorf("%.40q: %v", body, err)
		}
	}
	bad("", "Expected object or value")
	bad(" \n", "Expected object or value")
	bad("{", "")
	bad("[1", "")
	bad("{} {}", "Trailing data")
	bad("\"\xff\"", "Invalid UTF-8")
	bad(`{"a": 1,}`, "")
	bad(`{1: 1}`, "")
	deep := make([]byte, 100_000)
	for i := range deep {
		deep[i] = '['
	}
	bad(string(deep), "nested too deep")
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`{"a": [1, "b", null, true, {"c": 1e5}]}`, `[]`, `{"a":1,"a":2}`, `"\ud800"`, "{",
		`[[[[`, "1 2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseJSON(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("%q is not JSON, and was taken for %v", data, v)
		}
		var name string
		var n int64
		fields(required("a", list(0, integer(&n, 0))), optional("b", text(&name, 3)))(v)
	})
}
