package api

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
)

// next is the path that a page's Link leads to; "" on the last page.
func next(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	link, _, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<http://example.com"), ">")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return link
}

// Who follows the links of a search sees every resource once, though the last of each page
// is changed, or deleted, before the next is read.
func TestPagesAndChanges(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		h := newHouse(t, build{url: url, config: Config{Prefix: "/"}})
		const n = 13
		for i := range n {
			h.must(t, "POST", "/v1/resource/generic", call{body: fmt.Sprintf(`{"id": "r%d", "project_id": "p"}`, i)})
		}
		seen, deleted := map[string]int{}, 0
		path := "/v1/search/resource/generic?limit=2"
		for page := 0; path != ""; page++ {
			w := h.do(t, "POST", path, call{body: `{"=": {"project_id": "p"}}`})
			path = next(t, w)
			var list []map[string]any
			asJSON(t, w, &list)
			for _, r := range list {
				seen[r["original_resource_id"].(string)]++
			}
			if path == "" || len(list) == 0 {
				break
			}
			last := "/v1/resource/generic/" + list[len(list)-1]["id"].(string)
			if page%3 == 2 {
				deleted++
				h.must(t, "DELETE", last, call{as: "admin"})
				continue
			}
			h.must(t, "PATCH", last, call{body: fmt.Sprintf(`{"user_id": "u%d"}`, page)})
		}
		want := map[string]int{}
		for i := range n {
			want[fmt.Sprintf("r%d", i)] = 1
		}
		if !maps.Equal(want, seen) || deleted < 2 {
			t.Errorf("%v, %d of them deleted", seen, deleted)
		}
	})
}

// Who follows the links of a history sees every state once, though the present one
// becomes a past one before the next page is read.
func TestHistoryPagesAndChanges(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		h := newHouse(t, build{url: url, config: Config{Prefix: "/"}})
		for i := range 4 {
			h.must(t, "POST", "/v1/resource/generic", call{body: fmt.Sprintf(`{"id": "r%d"}`, i)})
		}
		seen := map[string]int{}
		path := "/v1/resource/generic?history=true&limit=1"
		for page := 0; path != ""; page++ {
			w := h.do(t, "GET", path, call{})
			path = next(t, w)
			var list []map[string]any
			asJSON(t, w, &list)
			for _, r := range list {
				seen[r["id"].(string)+r["revision_start"].(string)]++
				if page < 4 {
					h.must(t, "PATCH", "/v1/resource/generic/"+r["id"].(string), call{body: fmt.Sprintf(`{"user_id": "u%d"}`, page)})
				}
			}
		}
		for state, times := range seen {
			if times != 1 {
				t.Errorf("%s was listed %d times", state, times)
			}
		}
		if len(seen) != 8 {
			t.Errorf("%d states", len(seen))
		}
	})
}
