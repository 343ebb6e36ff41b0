package api

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// Conditions that would keep a database busy for long are refused before it is asked,
// whatever they are made of.
func TestLargeConditions(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		h := newHouse(t, build{url: url})
		search := func(body string, status int, part string) {
			t.Helper()
			w := h.do(t, "POST", "/v1/search/resource/generic", call{body: body})
			if w.Code != status || !strings.Contains(w.Body.String(), part) {
				t.Errorf("%.60s…: %d %.200s", body, w.Code, w.Body)
			}
		}
		many := func(op, term string, n int) string {
			return `{"` + op + `": [` + strings.Repeat(term+",", n-1) + term + `]}`
		}
		null := `{"=": {"user_id": null}}`
		search(many("or", null, 34_000), 400, "34000 comparisons, and the limit is 1000")
		search(many("and", `{"!=": {"lifespan": null}}`, 30_000), 400, "30000 comparisons, and the limit is 1000")
		search(many("or", null, 1_000), 200, "[]")
		search(many("or", `{"=": {"user_id": "x"}}`, 10_001), 400, "10001 values, and the limit is 10000")
		search(many("or", `{"=": {"id": "x"}}`, 10_000), 200, "[]") // one comparison with many values
		search(strings.Repeat(`{"not": `, 5000)+null+strings.Repeat("}", 5000), 400, "nested too deep")
	})
}

// A query string that is not escaped as it must be is refused: its parameters would be left
// out, and a filter that is left out finds everything. A semicolon divides nothing.
func TestBadlyEscapedQueries(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "low", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/metric", call{body: `{"name": "50%;x", "archive_policy_name": "low"}`})
	h.must(t, "POST", "/v1/resource/generic", call{body: `{"id": "r", "user_id": "a;b"}`})
	refused := []string{`"description": "Unable to parse the query string: invalid URL escape`}
	raw := func(name, method, path, body string, status int, contains []string, exactly string) {
		t.Helper()
		r := httptest.NewRequest(method, "/", strings.NewReader(body)).WithContext(t.Context())
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		r.SetBasicAuth("foobar", "")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status || exactly != "" && w.Body.String() != exactly {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		for _, part := range contains {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s: no %q in %s", name, part, w.Body)
			}
		}
	}
	raw("a percent sign", "GET", "/v1/metric?name=50%;x", "", 400, refused, "")
	raw("at the end", "GET", "/v1/metric?name=50%", "", 400, refused, "")
	raw("in a name", "GET", "/v1/metric?na%zzme=x", "", 400, refused, "")
	raw("of a search", "POST", "/v1/search/resource/generic?filter=user_id+like+'%x'", "", 400, refused, "")
	raw("before a body is read", "POST", "/v1/batch/metrics/measures?x=%f", "{", 400, refused, "")
	raw("escaped, with a semicolon", "GET", "/v1/metric?name=50%25;x", "", 200, []string{`"name": "50%;x"`}, "")
	raw("another name", "GET", "/v1/metric?name=50%25;y", "", 200, nil, "[]")
	raw("a semicolon in a filter", "POST", "/v1/search/resource/generic?filter=user_id='a;b'", "", 200,
		[]string{`"user_id": "a;b"`}, "")
	raw("and in another", "POST", "/v1/search/resource/generic?filter=user_id='a;c'", "", 200, nil, "[]")
	raw("what has no such route", "GET", "/v1/nope?%", "", 404, nil, "")
}
