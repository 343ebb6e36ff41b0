package api

import (
	"strings"
	"sync"
	"testing"
)

// A creation that is asked for again with its key is answered with what the first one made,
// also when both are on their way.
func TestIdempotencyKey(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "one", `{"granularity": 60}`)
	h.policy(t, "two", `{"granularity": 60}`)
	post := func(body, key, as string) (status int, id string) {
		w := h.do(t, "POST", "/v1/metric", call{as: as, body: body, header: []string{acceptJSON, "Idempotency-Key: " + key}})
		var made struct{ ID string }
		asJSON(t, w, &made)
		return w.Code, made.ID
	}
	const body = `{"name": "cpu", "archive_policy_name": "one"}`
	ids := make([]string, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var status int
			if status, ids[i] = post(body, "k", "foobar"); status != 201 {
				t.Errorf("status %d", status)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("ids: %v", ids)
		}
	}
	w := h.do(t, "GET", "/v1/metric?name=cpu", call{as: "admin"})
	if n := strings.Count(w.Body.String(), `"name": "cpu"`); n != 1 {
		t.Errorf("%d metrics: %s", n, w.Body)
	}
	if _, id := post(body, "k", "other"); id == "" || id == ids[0] {
		t.Errorf("somebody else's key is taken for the same: %q", id)
	}
	if _, id := post(body, "k2", "foobar"); id == "" || id == ids[0] {
		t.Errorf("another key is taken for the same: %q", id)
	}
	key := func(k string) []string { return []string{acceptJSON, "Idempotency-Key: " + k} }
	again := func(name, body string, status int, want string) step {
		return step{name, "POST", "/v1/metric", call{body: body, header: key("k")}, status, []string{want}, "", nil}
	}
	h.run(t, []step{
		again("again", body, 201, ids[0]),
		again("another name", `{"name": "mem", "archive_policy_name": "one"}`, 409, "Idempotency-Key has been used for another metric"),
		again("another policy", `{"name": "cpu", "archive_policy_name": "two"}`, 409, "another metric"),
		again("another unit", `{"name": "cpu", "archive_policy_name": "one", "unit": "s"}`, 409, "another metric"),
		{"too long", "POST", "/v1/metric", call{body: body, header: key(strings.Repeat("x", 256))}, 400,
			[]string{"Idempotency-Key must be one of 1 to 255 characters"}, "", nil},
		{"delete", "DELETE", "/v1/metric/" + ids[0], call{}, 204, nil, "", nil},
		again("deleted", body, 409, "Idempotency-Key has been used for a metric that has been deleted"),
	})
}
