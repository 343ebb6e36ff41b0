package index

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func testPolicies(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	odd := &ingest.ArchivePolicy{ // nothing here divides evenly
		Name: "größer/1", BackWindow: 3,
		Definitions: []ingest.Definition{
			{Granularity: time.Hour / 7, Points: 7, Timespan: time.Hour},
			{Granularity: time.Second},
		},
		Methods: ingest.MethodsOf(ingest.Mean, ingest.Percentile(99), ingest.Last.OfRate()),
	}
	if got := value(x.Policies(ctx))(t); len(got) != 0 {
		t.Errorf("a new index has the archive policies %v", got)
	}
	must(t, x.CreatePolicy(ctx, odd))
	must(t, x.CreatePolicy(ctx, policy("a", time.Minute)))
	if diff := cmp.Diff(odd, value(x.Policy(ctx, odd.Name))(t)); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	want := []*ingest.ArchivePolicy{policy("a", time.Minute), odd}
	if diff := cmp.Diff(want, value(x.Policies(ctx))(t)); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}

	err := x.CreatePolicy(ctx, policy("a", time.Hour))
	wantError(t, err, ErrExists, "Archive policy a already exists")
	wantInvalid(t, x.CreatePolicy(ctx, policy("b", time.Second, time.Second)),
		"More than one archive policy uses granularity `1.0'")
	none := policy("b", time.Second)
	none.Methods = ingest.MethodSet{}
	wantInvalid(t, x.CreatePolicy(ctx, none), "an archive policy needs at least one aggregation method")
	many := policy("b")
	for i := range 65 {
		many.Definitions = append(many.Definitions, ingest.Definition{Granularity: time.Duration(i+1) * time.Second})
	}
	wantInvalid(t, x.CreatePolicy(ctx, many), "an archive policy may have 64 definitions, and this one has 65")
	many.Definitions = many.Definitions[:64]
	must(t, x.CreatePolicy(ctx, many))
	must(t, x.DeletePolicy(ctx, "b"))
	_, err = x.Policy(ctx, "b")
	wantError(t, err, ErrNotFound, "Archive policy b does not exist")
	wantError(t, err, ingest.ErrNoPolicy, "Archive policy b does not exist")

	must(t, x.DeletePolicy(ctx, "a"))
	wantError(t, second(x.Policy(ctx, "a")), ErrNotFound, "Archive policy a does not exist")
	wantError(t, x.DeletePolicy(ctx, "a"), ErrNotFound, "Archive policy a does not exist")
}

func testUpdatePolicy(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	must(t, x.CreatePolicy(ctx, policy("medium", time.Second, time.Minute)))
	before := value(x.Policy(ctx, "medium"))(t)
	second, minute := ingest.Definition{Granularity: time.Second}, ingest.Definition{Granularity: time.Minute}

	// The order of the new definitions is kept.
	minute.Points, minute.Timespan = 10, 10*time.Minute
	three := 3
	want := &ingest.ArchivePolicy{Name: "medium", BackWindow: 3, Definitions: []ingest.Definition{minute, second},
		Methods: ingest.DefaultMethods()}
	updated, err := x.UpdatePolicy(ctx, "medium", []ingest.Definition{minute, second}, &three)
	must(t, err)
	if diff := cmp.Diff(want, updated); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, value(x.Policy(ctx, "medium"))(t)); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if before.BackWindow != 0 || before.Definitions[0] != second {
		t.Errorf("a policy that was handed out has changed to %v", before)
	}
	if kept := value(x.UpdatePolicy(ctx, "medium", []ingest.Definition{minute, second}, nil))(t); kept.BackWindow != 3 {
		t.Errorf("without a back window it becomes %d", kept.BackWindow)
	}

	bad := func(name, text string, definitions ...ingest.Definition) {
		t.Helper()
		_, err := x.UpdatePolicy(ctx, name, definitions, nil)
		wantInvalid(t, err, text)
	}
	hour := ingest.Definition{Granularity: time.Hour}
	bad("medium", "Archive policy medium does not support change: Cannot add or drop granularities", second)
	bad("medium", "Archive policy medium does not support change: Cannot add or drop granularities", second, minute, hour)
	bad("medium", "Archive policy medium does not support change: 1.0 granularity interval was changed", hour, minute)
	bad("medium", "Archive policy medium does not support change: 60.0 granularity interval was changed", hour, second)
	bad("medium", "Archive policy medium does not support change: 60.0 granularity interval was changed", second, second)
	_, err = x.UpdatePolicy(ctx, "large", []ingest.Definition{second}, nil)
	wantError(t, err, ErrNotFound, "Archive policy large does not exist")
	minus := -1
	_, err = x.UpdatePolicy(ctx, "medium", []ingest.Definition{second, minute}, &minus)
	wantInvalid(t, err, "back_window must not be negative")
}

func testPolicyInUse(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	must(t, x.CreatePolicy(ctx, policy("low", time.Minute)))
	must(t, x.CreateRule(ctx, Rule{"r", "*", "low"}))
	inUse := func() {
		t.Helper()
		wantError(t, x.DeletePolicy(ctx, "low"), ErrInUse, "Archive policy low is still in use")
	}
	inUse()
	must(t, x.DeleteRule(ctx, "r"))
	m := metric("cpu")
	must(t, x.CreateMetric(ctx, m))
	inUse()
	must(t, x.MarkDeleted(ctx, m.ID))
	inUse()
	must(t, x.Told(ctx, Deletion{Metric: m.ID}))
	must(t, x.DeletePolicy(ctx, "low"))
}

func testDefaults(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	if !value(x.CreateDefaults(ctx))(t) {
		t.Error("the defaults were not created")
	}
	names := ""
	for _, p := range value(x.Policies(ctx))(t) {
		must(t, p.Validate())
		names += p.Name + " "
		for _, d := range p.Definitions {
			if complete, err := d.Complete(); err != nil || complete != d || d.Points == 0 {
				t.Errorf("%s has the definition %v, which should be %v: %v", p.Name, d, complete, err)
			}
		}
	}
	if names != "bool high low medium " {
		t.Errorf("the policies are %s", names)
	}
	if b := value(x.Policy(ctx, "bool"))(t); b.BackWindow != 3600 || b.Definitions[0].Points != 31_536_000 ||
		b.Methods != ingest.MethodsOf(ingest.Last) {
		t.Errorf("bool is %v", b)
	}
	if r, ok, err := x.MatchRule(ctx, "anything"); r != (Rule{"default", "*", "low"}) || !ok || err != nil {
		t.Errorf("the rule is %v, %v, %v", r, ok, err)
	}
	if value(x.CreateDefaults(ctx))(t) {
		t.Error("the defaults were created twice")
	}
	for _, name := range []string{"bool", "high", "medium"} {
		must(t, x.DeletePolicy(ctx, name))
	}
	if value(x.CreateDefaults(ctx))(t) {
		t.Error("the defaults were created beside other policies")
	}
}
