package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/benchmarks"
	"millrace/testservers"
)

// TestAnswersBesideGnocchi loads a real Gnocchi and Millrace with the same, asks both the same
// questions, and wants the same status and the same JSON, but for what is otherwise on purpose
// (deviation). The questions are random, and always the same for one number; it runs when it is
// told how many are to be asked:
//
//	scripts/servers gnocchi
//	MILLRACE_TEST_GNOCCHI=600 go test ./cmd/millrace -run AnswersBesideGnocchi
//
// 1,7042 asks one question, number 7042.
func TestAnswersBesideGnocchi(t *testing.T) {
	text := os.Getenv("MILLRACE_TEST_GNOCCHI")
	if text == "" {
		t.Skip("MILLRACE_TEST_GNOCCHI names no number of questions")
	}
	count, first := 0, 0
	if _, err := fmt.Sscanf(text+",0", "%d,%d", &count, &first); err != nil || count < 1 {
		t.Fatalf("MILLRACE_TEST_GNOCCHI: %q is no COUNT or COUNT,FIRST", text)
	}
	gnocchi := testservers.NewGnocchi(t)
	theirs := &rival{server: newServer(t, gnocchi.Addr), rest: awaitMetricd}
	ours := &rival{server: start(t, t.TempDir(), "MILLRACE_API_MAX_LIMIT=1000").server,
		rest: func(ctx context.Context, r *rival) error {
			return benchmarks.AwaitApplied(ctx, r.base.String(), "admin")
		}}
	for _, r := range []*rival{ours, theirs} {
		r.load(t)
	}
	asked, began := map[string]int{}, time.Now()
	for i := range count {
		if i%100 == 99 {
			t.Logf("%d questions in %.0f s", i+1, time.Since(began).Seconds())
		}
		for _, q := range questionNumber(first + i) {
			asked[q.kind]++
			mine, other := q.put(t, ours), q.put(t, theirs)
			why := difference(mine, other)
			if mine.status >= 500 {
				t.Errorf("question %d fails: %s\n  %s", first+i, q, mine)
			}
			if on := deviation(q, mine, other); why != "" && on != "" {
				asked[q.kind+", otherwise on purpose: "+on]++
			} else if why != "" {
				t.Errorf("question %d: %s\n  %s\n  ours   %.900s\n  theirs %.900s", first+i, why, q, mine, other)
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(asked)) {
		t.Logf("%5d %s", asked[kind], kind)
	}
}

// A rival is one of two servers that are asked the same.
type rival struct {
	server
	rest func(context.Context, *rival) error // waits until all that was posted can be read
	ids  map[string]string                   // of metrics, by what questions call them
}

// put asks a question. What differs between any two servers (ids of metrics, times of changes)
// is called the same in both answers.
func (q question) put(t *testing.T, r *rival) reply {
	t.Helper()
	rename := func(text string, swap bool) string {
		var pairs []string
		for name, id := range r.ids {
			if swap {
				name, id = id, name
			}
			pairs = append(pairs, name, id)
		}
		return strings.NewReplacer(pairs...).Replace(text)
	}
	a, err := r.send(t.Context(), q.method, rename(q.path, false), rename(q.body, false))
	if err != nil { // a Gnocchi that fails sometimes just hangs up
		return reply{status: 500, text: err.Error()}
	}
	text := bareTokens.ReplaceAllString(rename(a.body, true), "${1}null")
	text = randomID.ReplaceAllStringFunc(strings.ReplaceAll(text, r.base.String(), ""), func(id string) string {
		if strings.HasPrefix(id, "3f9a1c2e") {
			return id
		}
		return "{new}"
	})
	out := reply{status: a.status, text: text, links: len(a.header.Values("Link"))}
	if err := json.Unmarshal([]byte(text), &out.doc); err != nil && text != "" {
		out.doc = text
	}
	out.doc = scrub("", out.doc)
	return out
}

// randomID are ids that servers have made up.
var randomID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// send asks without giving up the test.
func (r *rival) send(ctx context.Context, method, path, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base.String()+"/v1"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.SetBasicAuth("admin", "")
	req.Header.Set("Content-Type", "application/json")
	if method == "PATCH" && strings.HasPrefix(path, "/resource_type") {
		req.Header.Set("Content-Type", "application/json-patch+json")
	}
	req.Header.Set("Accept", "application/json")
	req.Close = true // uwsgi ends idle connections while they are being used
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data)}, err
}

// bareTokens are what Gnocchi prints for numbers that JSON doesn't have.
var bareTokens = regexp.MustCompile(`([\[ ,:])(NaN|-?Infinity)\b`)

// scrub hides what depends on the clock, and orders what has no order.
func scrub(key string, doc any) any {
	switch doc := doc.(type) {
	case map[string]any:
		for k, v := range doc {
			doc[k] = scrub(k, v)
		}
	case []any:
		for i := range doc {
			doc[i] = scrub("", doc[i])
		}
		if key == "references" || key == "aggregation_methods" || key == "/metric" {
			slices.SortFunc(doc, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	case string:
		if key == "revision_start" || key == "revision_end" || strings.HasPrefix(doc, "20") && doc > "2026" {
			return "some time"
		}
	}
	return doc
}

type reply struct {
	status int
	text   string
	doc    any
	links  int
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.text) }

// description is what an error says.
func (r reply) description() any {
	doc, _ := r.doc.(map[string]any)
	return doc["description"]
}

// difference says how two answers differ; errors are compared by what clients read of them.
func difference(a, b reply) string {
	if a.status != b.status {
		return fmt.Sprintf("status %d and %d", a.status, b.status)
	}
	if a.links != b.links {
		return fmt.Sprintf("%d and %d headers Link", a.links, b.links)
	}
	if a.status >= 400 {
		return unlike("description", a.description(), b.description())
	}
	return unlike("", a.doc, b.doc)
}

// unlike says where two documents differ. Sums depend on their order, so the last digits may.
func unlike(path string, a, b any) string {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		for _, k := range slices.Sorted(maps.Keys(a)) {
			if _, ok := b[k]; !ok {
				return fmt.Sprintf("%s.%s is ours alone", path, k)
			}
			if why := unlike(path+"."+k, a[k], b[k]); why != "" {
				return why
			}
		}
		for _, k := range slices.Sorted(maps.Keys(b)) {
			if _, ok := a[k]; !ok {
				return fmt.Sprintf("%s.%s is theirs alone", path, k)
			}
		}
		return ""
	case []any:
		b, ok := b.([]any)
		if !ok {
			break
		}
		for i := range min(len(a), len(b)) {
			if why := unlike(fmt.Sprintf("%s[%d]", path, i), a[i], b[i]); why != "" {
				return why
			}
		}
		if len(a) != len(b) {
			return fmt.Sprintf("%s has %d and %d items", path, len(a), len(b))
		}
		return ""
	case float64:
		if b, ok := b.(float64); ok && math.Abs(a-b) <= 1e-9*max(1, math.Abs(a)) {
			return ""
		}
	}
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return fmt.Sprintf("%s is %.200v and %.200v", path, a, b)
}

// awaitMetricd waits until Gnocchi has processed what was posted.
func awaitMetricd(ctx context.Context, r *rival) error {
	for {
		var status struct {
			Storage struct{ Summary struct{ Measures int } }
		}
		if _, err := r.do(ctx, "GET", "/status", nil, nil, &status); err != nil ||
			status.Storage.Summary.Measures == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// must sends what has to succeed.
func (r *rival) must(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	a := r.ask(t, method, path, body, append(headers, "Accept: application/json")...)
	if a.status >= 300 {
		t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	return a
}

// load gives a server the policies, resources, metrics and measures that questions are about.
func (r *rival) load(t *testing.T) {
	t.Helper()
	r.ids = map[string]string{}
	for _, p := range besidePolicies {
		r.must(t, "POST", "/archive_policy", p)
	}
	r.must(t, "POST", "/resource_type", besideType)
	for i, b := range besideResources() {
		r.must(t, "POST", "/resource/"+b.typ, b.body)
		for _, m := range b.metrics {
			a := r.must(t, "POST", "/metric",
				fmt.Sprintf(`{"name": %q, "archive_policy_name": %q, "unit": "u%d", "resource_id": %q}`,
					m.name, m.policy, i%3, b.id))
			r.learn(t, m.ref, a)
			r.must(t, "POST", "/metric/"+r.ids[m.ref]+"/measures", m.measures())
		}
	}
	for _, m := range besideLoose() {
		r.learn(t, m.ref, r.must(t, "POST", "/metric", fmt.Sprintf(`{"name": %q, "archive_policy_name": %q}`,
			m.name, m.policy)))
		if body := m.measures(); body != "[]" {
			r.must(t, "POST", "/metric/"+r.ids[m.ref]+"/measures", body)
		}
	}
	for _, c := range besideChanges {
		r.must(t, "PATCH", "/resource/"+c[0], c[1])
	}
	if err := r.rest(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (r *rival) learn(t *testing.T, ref string, a answer) {
	t.Helper()
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &made); err != nil {
		t.Fatal(err)
	}
	r.ids[ref] = made.ID
}
