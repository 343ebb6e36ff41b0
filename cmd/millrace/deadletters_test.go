package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// makeLetters leaves what an operator may find: measures from a far future, taken by
// an API that minds no clock and put aside by a worker that does; measures of a metric
// that is gone with its archive policy; and measures that are well between them.
func makeLetters(t *testing.T, dir string) (future, gone, well string) {
	t.Helper()
	p := startHere(t, dir, "api", "MILLRACE_INGEST_MAX_FUTURE=0", "MILLRACE_API_WAIT_CAP=50ms")
	policy := map[string]any{"name": "passing", "definition": []any{map[string]any{"granularity": 1}}}
	if _, err := p.do(t.Context(), "POST", "/archive_policy", nil, policy, nil); err != nil {
		t.Fatal(err)
	}
	future, gone, well = p.newMetric(t, "future", "high"), p.newMetric(t, "gone", "passing"),
		p.newMetric(t, "well", "high")
	p.post(t, future, `[{"timestamp": "2024-05-05T05:05:05", "value": 1}, {"timestamp": "2114-05-05T05:05:05", `+
		`"value": 2}, {"timestamp": "2024-05-05T05:05:06", "value": 3}]`)
	p.post(t, gone, `[{"timestamp": "2024-05-05T05:05:05", "value": 4}]`)
	p.post(t, well, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}]`)
	for _, path := range []string{"/metric/" + gone, "/archive_policy/passing"} {
		if _, err := p.do(t.Context(), "DELETE", path, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if code := p.terminate(); code != 0 {
		t.Fatalf("status %d\n%s", code, p.log)
	}
	return future, gone, well
}

// A letter is what dead-letters list says of one.
type letter struct {
	ID, Metric, Reason string
	Measures           int
	Policy             string `json:"archive_policy_name"`
}

func (p *server) letters(t *testing.T) []letter {
	t.Helper()
	var letters []letter
	for line := range strings.Lines(p.command(t, "dead-letters", "list")) {
		var l letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		letters = append(letters, l)
	}
	return letters
}

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	future, gone, well := makeLetters(t, dir)
	p := startHere(t, dir, "", "MILLRACE_API_MAX_LIMIT=1") // pages of one letter

	// What is well is not held up.
	if got, want := p.series(t, well, "aggregation=sum&granularity=1"), []string{"2024-05-05T05:05:05 5"}; !cmp.Equal(got,
		want) {
		t.Errorf("a neighbour: %q", got)
	}
	if got, want := p.series(t, future, "aggregation=sum&granularity=1"),
		[]string{"2024-05-05T05:05:05 1", "2024-05-05T05:05:06 3"}; !cmp.Equal(got, want) {
		t.Errorf("the measures that are not from the future: %q", got)
	}
	for until := time.Now().Add(time.Minute); len(p.letters(t)) < 2 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond) // the sack of the metric that is gone, which nobody reads
	}
	if out := p.command(t, "status"); !strings.Contains(out, "2 dead letters") {
		t.Errorf("status:\n%s", out)
	}

	letters := make(map[string]letter) // by metric
	for _, l := range p.letters(t) {
		letters[l.Metric] = l
	}
	if l := letters[future]; len(letters) != 2 || l.Measures != 1 || l.Policy != "high" ||
		l.Reason != "timestamp is more than 30m0s after the record was accepted" {
		t.Errorf("%+v", letters)
	}
	if l := letters[gone]; l.Measures != 1 || l.Policy != "passing" || !strings.Contains(l.Reason, "archive policy") {
		t.Errorf("%+v", letters)
	}

	f := func(code int, want string, args ...string) {
		t.Helper()
		out, errOut, got := command(t, nil, append(append([]string{"dead-letters"}, args...), "--url", p.base.String())...)
		if got != code || !regexp.MustCompile(want).MatchString(out+errOut) {
			t.Errorf("%q: status %d, %q, want %d, %q", args, got, out+errOut, code, want)
		}
	}
	f(1, "give the ids of dead letters, or --all", "replay")
	f(1, "give ids or --all, not both", "purge", "--all", "x")
	f(1, "404 Not Found: Dead letter x does not exist", "purge", "x")
	f(1, `replayed 0 dead letters with 0 measures\nx stays: does not exist\nmillrace: 1 dead letters could not be `+
		`replayed`, "replay", "x")

	// What can't be accepted stays, and says why.
	f(1, fmt.Sprintf(`(?s)replayed 0 dead letters with 0 measures\n.*%s stays: Metric %s does not exist\n.*millrace: `+
		`2 dead letters could not be replayed`, letters[gone].ID, gone), "replay", "--all")
	f(1, letters[future].ID+" stays: .*more than 30m0s in the future", "replay", letters[future].ID, letters[future].ID)
	f(0, "purged 1 dead letters", "purge", letters[gone].ID)
	if code := p.terminate(); code != 0 {
		t.Fatalf("status %d\n%s", code, p.log)
	}

	// The operator lets the future in.
	p = startHere(t, dir, "", "MILLRACE_INGEST_MAX_FUTURE=0")
	if got := p.letters(t); len(got) != 1 || got[0].ID != letters[future].ID {
		t.Errorf("after a start: %+v", got)
	}
	f(0, "replayed 1 dead letters with 1 measures", "replay", "--all")
	if got, want := p.series(t, future, "aggregation=sum&granularity=3600"),
		[]string{"2114-05-05T05:00:00 2"}; !cmp.Equal(got, want) {
		t.Errorf("replayed: %q, want %q", got, want) // hours are kept for a year before the newest
	}
	f(0, "replayed 0 dead letters", "replay", "--all")
	f(0, "^$", "list")
	f(0, "purged all dead letters", "purge", "--all")
}

// A purge of all letters leaves none, however many there are.
func TestDeadLettersPurgeAll(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "api", "MILLRACE_INGEST_MAX_FUTURE=0", "MILLRACE_API_WAIT_CAP=50ms")
	id := p.newMetric(t, "m", "high")
	const letters = 205
	for i := range letters {
		p.post(t, id, fmt.Sprintf(`[{"timestamp": "2114-05-05T05:05:05", "value": %d}]`, i))
	}
	p.terminate()
	p = startHere(t, dir, "")
	p.series(t, id, "")
	if got := p.letters(t); len(got) != letters {
		t.Errorf("%d letters, want %d", len(got), letters)
	}
	p.command(t, "dead-letters", "purge", "--all")
	if got := p.letters(t); len(got) != 0 {
		t.Errorf("%d letters are left", len(got))
	}
}
