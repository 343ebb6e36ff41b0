package api

import (
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
		search(many("or", null, 34_000), 400, "34000 values, and the limit is 10000")
		search(many("and", `{"!=": {"lifespan": null}}`, 30_000), 400, "30000 values, and the limit is 10000")
		search(many("or", null, 1_000), 200, "[]")
		search(strings.Repeat(`{"not": `, 5000)+null+strings.Repeat("}", 5000), 400, "nested too deep")
	})
}
