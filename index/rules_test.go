package index

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func testRules(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	must(t, x.CreateRule(ctx, Rule{"r1", "a*", "low"}))
	must(t, x.CreateRule(ctx, Rule{"r2", "b*", "high"}))
	if got := value(x.Rule(ctx, "r1"))(t); got != (Rule{"r1", "a*", "low"}) {
		t.Errorf("r1 is %v", got)
	}
	wantError(t, x.CreateRule(ctx, Rule{"r1", "c", "low"}), ErrExists, "Archive policy rule r1 already exists")
	err := x.CreateRule(ctx, Rule{"r3", "c", "not-exists"})
	wantError(t, err, ingest.ErrNoPolicy, "Archive policy not-exists does not exist")
	wantError(t, second(x.Rule(ctx, "r3")), ErrNotFound, "Archive policy rule r3 does not exist")

	if got := value(x.RenameRule(ctx, "r1", "ä"))(t); got != (Rule{"ä", "a*", "low"}) {
		t.Errorf("renamed to %v", got)
	}
	value(x.RenameRule(ctx, "ä", "ä"))(t)
	wantInvalid(t, second(x.RenameRule(ctx, "ä", "r2")),
		"Archive policy rule ä does not support change: Archive policy rule r2 already exists.")
	wantError(t, second(x.RenameRule(ctx, "r1", "r4")), ErrNotFound, "Archive policy rule r1 does not exist")
	want := []Rule{{"r2", "b*", "high"}, {"ä", "a*", "low"}}
	if diff := cmp.Diff(want, value(x.Rules(ctx))(t)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}

	must(t, x.DeleteRule(ctx, "ä"))
	wantError(t, x.DeleteRule(ctx, "ä"), ErrNotFound, "Archive policy rule ä does not exist")
}

func testRuleOrder(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	match := func(metric, want string) {
		t.Helper()
		r, ok, err := x.MatchRule(ctx, metric)
		must(t, err)
		if r.Name != want || ok != (want != "") {
			t.Errorf("%q has the rule %q (%v), want %q", metric, r.Name, ok, want)
		}
	}
	match("disk.io.rate", "")
	for _, r := range []Rule{
		{"all", "*", "low"}, {"disk", "disk.*", "medium"}, {"io", "disk.io.*", "high"},
		{"second", "same*", "low"}, {"First", "same*", "low"}, {"Upper", "Z*", "low"}, {"unnamed", "", "bool"},
	} {
		must(t, x.CreateRule(ctx, r))
	}
	match("disk.io.rate", "io")
	match("disk.free", "disk")
	match("cpu", "all")
	match("same", "First")
	match("", "all") // "" sorts behind "*"
	must(t, x.DeleteRule(ctx, "all"))
	match("", "unnamed")
	match("cpu", "")
	var names []string
	for _, r := range value(x.Rules(ctx))(t) {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"First", "second", "io", "disk", "Upper", "unnamed"}, names); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// testTwoProcesses has one Index see what another does.
func testTwoProcesses(t *testing.T, open opener) {
	ctx := t.Context()
	here, there := open(Config{Refresh: 10 * time.Millisecond}), open(Config{Refresh: -1})
	must(t, here.CreatePolicy(ctx, policy("new", time.Minute)))
	must(t, here.CreateRule(ctx, Rule{"r", "*", "new"}))

	// What it misses it asks for,
	value(there.Rule(ctx, "r"))(t)
	value(there.Policy(ctx, "new"))(t)
	m := metric("m")
	m.Policy = "new"
	must(t, there.CreateMetric(ctx, m))
	value(here.Metric(ctx, m.ID))(t)
	if missing := value(here.Lookup(ctx, entriesOf(m), make([]MetricInfo, 1)))(t); len(missing) > 0 {
		t.Error("Lookup doesn't see the other's metric")
	}
	// and what was there before it sees after a while.
	must(t, there.DeleteRule(ctx, "r"))
	for {
		if _, found, _ := here.MatchRule(ctx, "m"); !found {
			break
		}
		time.Sleep(time.Millisecond)
	}
}
