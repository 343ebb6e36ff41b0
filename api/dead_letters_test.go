package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func TestDeadLetters(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxLimit: 2}})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	rejected := time.Date(2024, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
	add := func(sack ingest.Sack, offset ingest.Offset, entry int, metric ingest.MetricID, measures []ingest.Measure,
		raw string) string {
		l := ingest.DeadLetter{
			ID: ingest.DeadLetterID(sack, offset, entry), Sack: sack, Offset: offset, RejectedAt: rejected,
			Project: "foobar", Metric: metric, Policy: "old", Reason: "why not", Measures: measures, Raw: []byte(raw),
		}
		if metric == (ingest.MetricID{}) {
			l.Project = ""
		} else {
			l.AcceptedAt = rejected.Add(-time.Minute)
		}
		h.letters.Add(t.Context(), []ingest.DeadLetter{l})
		return l.ID
	}
	good := add(1, 5, 0, mustID(t, id), []ingest.Measure{{Time: 1e9, Value: 1.5}, {Time: 2e9, Value: 2}}, "")
	gone := add(1, 5, 1, ingest.MetricID{1}, []ingest.Measure{{Time: 1e9, Value: 1}}, "")
	early := add(1, 5, 1<<20, mustID(t, id), []ingest.Measure{{Time: 1 << 62, Value: 1}}, "")
	raw := add(3, 7, 0, ingest.MetricID{}, nil, "\x01\x02")

	admin := call{as: "admin"}
	post := func(body string) call { return call{as: "admin", body: body, header: []string{acceptJSON}} }
	const path = "/v1/dead-letters"
	doc := `"id": "` + good +
		`", "sack": 1, "offset": 5, "accepted_at": "2024-05-06T07:07:09.500000+00:00", "rejected_at": ` +
		`"2024-05-06T07:08:09.500000+00:00", ` +
		`"project": "foobar", "metric": "` + id +
		`", "archive_policy_name": "old", "reason": "why not", "measures": 2, "bytes": 0`
	h.run(t, []step{
		{"not allowed", "GET", path, call{}, 403, nil, "", nil},
		{"not allowed", "POST", path + "/replay", call{body: `{"all": true}`}, 403, nil, "", nil},
		{"not allowed", "DELETE", path + "?all=true", call{}, 403, nil, "", nil},
		{"not allowed", "DELETE", path + "/" + good, call{}, 403, nil, "", nil},
		{"page", "GET", path, admin, 200, []string{"[{" + doc + `}, {"id": "` + gone}, "",
			[]string{"Link: <http://example.com/v1/dead-letters?limit=2&marker=" + gone + `>; rel="next"`}},
		{"next", "GET", path + "?limit=9&marker=" + gone, admin, 200, []string{`[{"id": "` + early, `{"id": "` + raw,
			`"accepted_at": null`, `"metric": null`}, "", nil},
		{"last", "GET", path + "?marker=" + raw, admin, 200, nil, "[]", []string{"Link:"}},
		{"bad limit", "GET", path + "?limit=0", admin, 400, nil, "", nil},
		{"one", "GET", path + "/" + good, admin, 200, nil, "{" + doc +
			`, "lost": [{"timestamp": "1970-01-01T00:00:01+00:00", "value": 1.5}, {"timestamp": ` +
			`"1970-01-01T00:00:02+00:00", "value": 2.0}]}`, nil},
		{"one unreadable", "GET", path + "/" + raw, admin, 200, []string{`"measures": 0, "bytes": 2, "raw": "AQI="`}, "",
			nil},
		{"none", "GET", path + "/" + good + "0", admin, 404, []string{"Dead letter " + good + "0 does not exist"}, "", nil},
		{"no id", "GET", path + "/x", admin, 404, nil, "", nil},
		{"delete none", "DELETE", path + "/x", admin, 404, nil, "", nil},
		{"delete without all", "DELETE", path, admin, 400, []string{"must be true"}, "", nil},
		{"replay nothing", "POST", path + "/replay", post(`{}`), 400, []string{"either ids or all must be given"}, "", nil},
		{"replay no list", "POST", path + "/replay", post(`{"ids": "x"}`), 400,
			[]string{"expected a list for dictionary value @ data['ids']"}, "", nil},
		{"replay both", "POST", path + "/replay", post(`{"ids": ["x"], "all": true}`), 400, nil, "", nil},
		{"replay", "GET", path + "/replay", admin, 405, nil, "", []string{"Allow: POST"}},
	})

	w := h.do(t, "POST", path+"/replay", post(`{"ids": ["`+raw+`", "`+good+`", "nothing"]}`))
	want := `{"replayed": 1, "measures": 2, "failed": [{"id": "` + raw +
		`", "reason": "there are no measures in it: its record can't be read"}, {"id": "nothing", "reason": "does not ` +
		`exist"}], "remaining": 0}`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("replay: %d %s\nwant %s", w.Code, w.Body, want)
	}
	if _, err := ingest.ParseTicket(w.Header().Get("Millrace-Position"), houseSacks); err != nil {
		t.Error(err)
	}
	records := h.log.records()
	if len(records) != 1 {
		t.Fatalf("log has %+v", records)
	}
	r := records[0]
	if diff := cmp.Diff([]ingest.Entry{{Metric: mustID(t, id), Policy: "p",
		Measures: []ingest.Measure{{Time: 1e9, Value: 1.5}, {Time: 2e9, Value: 2}}}}, r.Entries); diff != "" ||
		r.Project != "foobar" {
		t.Errorf("%s: %s", r.Project, diff)
	}
	h.run(t, []step{
		{"gone", "GET", path + "/" + good, admin, 404, nil, "", nil},
		{"replay the rest", "POST", path + "/replay", post(`{"all": true}`), 200, []string{`"replayed": 0`,
			`{"id": "` + gone + `", "reason": "Metric 01000000-0000-0000-0000-000000000000 does not exist"}`,
			`{"id": "` + early + `", "reason": "measure 0 of metric ` + id, `"remaining": 0`}, "",
			[]string{"Millrace-Position:"}},
		{"delete one", "DELETE", path + "/" + raw, admin, 204, nil, "", nil},
		{"delete all", "DELETE", path + "?all=True", admin, 204, nil, "", nil},
		{"empty", "GET", path, admin, 200, nil, "[]", nil},
	})
	if len(h.log.records()) != 1 {
		t.Error("a letter that failed went into the log")
	}
}

// A replay that the log refuses leaves the letters where they are.
func TestReplayThatFails(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	id := mustID(t, h.metric(t, "p"))
	for i := range 250 { // more than a page
		h.letters.Add(t.Context(), []ingest.DeadLetter{{ID: ingest.DeadLetterID(0, ingest.Offset(i), 0),
			Offset: ingest.Offset(i), Metric: id, Measures: []ingest.Measure{{Time: int64(i)}}}})
	}
	all := call{as: "admin", body: `{"all": true}`}
	h.log.setFail(errors.New("no disk"))
	h.run(t, []step{{"fails", "POST", "/v1/dead-letters/replay", all, 503, []string{"It is safe to retry"}, "", nil}})
	if n := h.letters.Count(); n != 250 {
		t.Errorf("%d letters are left", n)
	}
	h.log.setFail(nil)
	var doc replayDoc
	w := h.do(t, "POST", "/v1/dead-letters/replay", all)
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Replayed != 250 || doc.Remaining != 0 {
		t.Errorf("%+v, %v", doc, err)
	}
	if n := h.letters.Count(); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	for i, r := range h.log.records() { // in their old order
		if at := r.Entries[0].Measures[0].Time; at != int64(i) {
			t.Fatalf("measure %d comes at %d", at, i)
		}
	}
}

// Rejects of a request are those between its first record and its last, however
// many pages of others there are.
func TestRejectsAmongMany(t *testing.T) {
	h := newHouse(t, build{})
	for i := range 500 {
		h.letters.Add(t.Context(), []ingest.DeadLetter{{ID: ingest.DeadLetterID(1, ingest.Offset(i), 0), Sack: 1,
			Offset: ingest.Offset(i), Project: []string{"foobar", "foobaz"}[i%2], Reason: fmt.Sprint(i),
			Measures: make([]ingest.Measure, 1)}})
	}
	ticket := ingest.Ticket{Accepted: 300, Position: make(ingest.Position, houseSacks),
		First: make(ingest.Position, houseSacks)}
	ticket.First[1], ticket.Position[1] = 100, 401
	f := func(as string, want int, first, last string) {
		t.Helper()
		var doc ingestDoc
		asJSON(t, h.do(t, "GET", "/v1/ingest/"+ticket.String(), call{as: as}), &doc)
		if len(doc.Rejects) != want || int(doc.Rejected) != want || doc.Rejects[0].Reason != first ||
			doc.Rejects[want-1].Reason != last {
			t.Errorf("%s: %d rejects %+v", as, len(doc.Rejects), doc.Rejects)
		}
	}
	f("admin", 301, "100", "400")
	f("foobar", 151, "100", "400")
	f("foobaz", 150, "101", "399")
}
