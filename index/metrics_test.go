package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/ingest"
)

func testMetrics(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	name, unit := "cpu.util", "%"
	home(t, x, [16]byte{1, 2, 3})
	whole := Metric{ID: ingest.NewMetricID(), Name: &name, Unit: &unit, Creator: "user:project", Policy: "high",
		Resource: &[16]byte{1, 2, 3}}
	bare := Metric{ID: ingest.NewMetricID(), Policy: "low"}
	must(t, x.CreateMetric(ctx, whole))
	must(t, x.CreateMetrics(ctx, []Metric{bare}))
	must(t, x.CreateMetrics(ctx, nil))
	for _, m := range []Metric{whole, bare} {
		if diff := cmp.Diff(m, value(x.Metric(ctx, m.ID))(t)); diff != "" {
			t.Errorf("metric (-want +got):\n%s", diff)
		}
	}
	id := ingest.NewMetricID()
	wantError(t, second(x.Metric(ctx, id)), ErrNotFound, "Metric "+id.String()+" does not exist")
	wantError(t, x.CreateMetric(ctx, bare), ErrExists, "Metric "+bare.ID.String()+" already exists")
	m := metric("cpu")
	m.Policy = "bad-cookie"
	wantError(t, x.CreateMetric(ctx, m), ingest.ErrNoPolicy, "Archive policy bad-cookie does not exist")
	if got := value(x.Counts(ctx))(t); got != (Counts{Policies: 4, Metrics: 2}) {
		t.Errorf("counts are %+v", got)
	}
}

func testAllOrNothing(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	many := make([]Metric, 2*metricsPerStatement+7)
	for i := range many {
		many[i] = metric(fmt.Sprint(i))
	}
	resource := [16]byte{7}
	home(t, x, resource)
	for name, spoil := range map[string]func(m *Metric){
		"Archive policy nowhere does not exist":             func(m *Metric) { m.Policy = "nowhere" },
		"Metric " + many[0].ID.String() + " already exists": func(m *Metric) { m.ID = many[0].ID },
		"Named metric " + *many[3].Name + " already exists": func(m *Metric) {
			m.Name, m.Resource,
				many[3].Resource = many[3].Name, &resource, &resource
		},
	} {
		bad := append([]Metric(nil), many...)
		spoil(&bad[len(bad)-2])
		copy(bad[3:4], many[3:4])
		if err := x.CreateMetrics(ctx, bad); err == nil || err.Error() != name {
			t.Errorf("got %v, want %s", err, name)
		}
		if got := value(x.Counts(ctx))(t); got.Metrics != 0 {
			t.Errorf("%s: %d metrics were created nevertheless", name, got.Metrics)
		}
		if missing := value(x.Lookup(ctx, entriesOf(bad...), make([]MetricInfo, len(bad))))(t); len(missing) != len(bad) {
			t.Errorf("%s: Lookup misses %d of %d", name, len(missing), len(bad))
		}
	}
	must(t, x.CreateMetrics(ctx, many))
	if missing := value(x.Lookup(ctx, entriesOf(many...), make([]MetricInfo, len(many))))(t); len(missing) != 0 {
		t.Errorf("Lookup misses %d", len(missing))
	}
}

func testNamedMetrics(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	in := func(resource byte, name string) Metric {
		m := metric(name)
		m.Resource = &[16]byte{resource}
		return m
	}
	home(t, x, [16]byte{1}, [16]byte{2}, [16]byte{3})
	wantError(t, x.CreateMetric(ctx, in(4, "cpu")), ErrNotFound,
		"Resource 04000000-0000-0000-0000-000000000000 does not exist")
	first := in(1, "cpu")
	must(t, x.CreateMetric(ctx, first))
	must(t, x.CreateMetrics(ctx, []Metric{in(2, "cpu"), in(1, "CPU"), metric("cpu"), metric("cpu"), in(1, ""),
		in(1, "")}))
	wantError(t, x.CreateMetric(ctx, in(1, "cpu")), ErrExists, "Named metric cpu already exists")
	wantError(t, x.CreateMetrics(ctx, []Metric{in(3, "x"), in(3, "x")}), ErrExists, "Named metric x already exists")
	// A deleted metric's name is free, before it is purged and after.
	must(t, x.MarkDeleted(ctx, first.ID))
	second := in(1, "cpu")
	must(t, x.CreateMetric(ctx, second))
	must(t, x.MarkDeleted(ctx, second.ID))
	must(t, x.Purge(ctx, first.ID, second.ID))
	must(t, x.CreateMetric(ctx, in(1, "cpu")))
}

func testDeletion(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	stays, goes := metric("stays"), metric("goes")
	must(t, x.CreateMetrics(ctx, []Metric{stays, goes}))
	entries, infos := entriesOf(stays, goes), make([]MetricInfo, 2)
	value(x.Lookup(ctx, entries, infos))(t)

	must(t, x.MarkDeleted(ctx, goes.ID))
	gone := func() {
		t.Helper()
		text := "Metric " + goes.ID.String() + " does not exist"
		wantError(t, second(x.Metric(ctx, goes.ID)), ErrNotFound, text)
		wantError(t, x.MarkDeleted(ctx, goes.ID), ErrNotFound, text)
		if diff := cmp.Diff([]Metric{stays}, value(x.Metrics(ctx, Filter{}, Page{}))(t)); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
		missing := value(x.Lookup(ctx, entries, infos))(t)
		if diff := cmp.Diff([]int{1}, missing); diff != "" || infos[1].Found || !infos[0].Found {
			t.Errorf("Lookup misses %v: %v", missing, infos)
		}
	}
	gone()
	if diff := cmp.Diff([]ingest.MetricID{goes.ID}, value(x.Deleted(ctx))(t)); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	if got := value(x.Counts(ctx))(t); got.Metrics != 1 || got.Deleted != 1 {
		t.Errorf("counts are %+v", got)
	}

	told := Deletion{goes.ID, 1, 10}
	must(t, x.Told(ctx, told, Deletion{stays.ID, 1, 10}, Deletion{ingest.NewMetricID(), 1, 10})) // Only what is marked.
	must(t, x.Told(ctx))
	gone()
	if got := value(x.Deleted(ctx))(t); len(got) != 0 {
		t.Errorf("after Told %v is deleted", got)
	}
	wantError(t, x.CreateMetric(ctx, goes), ErrExists, "Metric "+goes.ID.String()+" already exists")

	told.Offset = 12 // Another process has sent it again.
	must(t, x.Told(ctx, told))
	told.Offset = 11
	must(t, x.Told(ctx, told))
	purged := func(want int64, applied ingest.Position, before time.Time) {
		t.Helper()
		if got := value(x.PurgeTold(ctx, applied, before))(t); got != want {
			t.Errorf("%d are purged as of %v, want %d", got, applied, want)
		}
	}
	later := time.Now().Add(time.Minute)
	purged(0, ingest.Position{100, 12}, later)
	purged(0, ingest.Position{100}, later)
	purged(0, ingest.Position{0, 13}, time.Now().Add(-time.Minute))
	purged(1, ingest.Position{0, 13}, later)
	purged(0, ingest.Position{0, 13}, later)
	gone()
	if got := value(x.Counts(ctx))(t); got.Metrics != 1 || got.Deleted != 0 {
		t.Errorf("counts are %+v", got)
	}
	must(t, x.CreateMetric(ctx, goes))
}

// testDeletionElsewhere has one process finish what another has begun.
func testDeletionElsewhere(t *testing.T, open opener) {
	here, there, ctx := withPolicies(t, open, Config{}), untold(t, open), t.Context()
	m := metric("")
	must(t, here.CreateMetric(ctx, m))
	there.finds(t, m)
	must(t, here.MarkDeleted(ctx, m.ID))
	must(t, here.Close()) // before it has told the log
	if diff := cmp.Diff([]ingest.MetricID{m.ID}, value(there.Deleted(ctx))(t)); diff != "" {
		t.Errorf("marked (-want +got):\n%s", diff)
	}
	must(t, there.Told(ctx, Deletion{m.ID, 0, 5}))
	must(t, there.poll(ctx))
	if there.finds(t, m) {
		t.Error("a deleted metric is found")
	}
	wantError(t, there.CreateMetric(ctx, m), ErrExists, "Metric "+m.ID.String()+" already exists")
	if n := value(there.PurgeTold(ctx, ingest.Position{6}, time.Now().Add(time.Minute)))(t); n != 1 {
		t.Errorf("%d are purged, want 1", n)
	}
	must(t, there.CreateMetric(ctx, m)) // another life, in which
	if !there.finds(t, m) || len(value(there.Deleted(ctx))(t)) != 0 {
		t.Error("nothing of the first is left")
	}
}

func testPurge(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	stays, goes := metric("stays"), metric("goes")
	must(t, x.CreateMetrics(ctx, []Metric{stays, goes}))
	must(t, x.MarkDeleted(ctx, goes.ID))
	must(t, x.Purge(ctx, goes.ID, stays.ID, ingest.NewMetricID())) // takes only what is marked
	must(t, x.Purge(ctx))
	if got := value(x.Counts(ctx))(t); got.Metrics != 1 || got.Deleted != 0 {
		t.Errorf("counts are %+v", got)
	}
	must(t, x.CreateMetric(ctx, goes))
}

// testDescribe asks for what metrics are called now: two that don't exist, one without a
// resource, and two of resource {9}, of which the first was renamed.
func testDescribe(t *testing.T, x *Index, generic *ResourceType, ids []ingest.MetricID) {
	t.Helper()
	ctx := t.Context()
	renamed := ingest.Description{Known: true, Name: "new name", Resource: "server 9", ResourceType: GenericType}
	made := renamed
	made.Name = "made"
	bare := ingest.Description{Known: true, User: "admin"}
	want := []ingest.Description{{}, {}, bare, renamed, made, renamed}
	got := value(x.Describe(ctx, ids))(t)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("descriptions (-want +got):\n%s", diff)
	}
	host := &ResourceType{Name: "described", Attributes: []Attribute{
		{Name: "host", Type: AttributeString, MaxLength: 99}, {Name: "size", Type: AttributeNumber},
		{Name: "on", Type: AttributeBool}, {Name: "since", Type: AttributeDatetime}, {Name: "none", Type: AttributeString},
	}}
	must(t, x.CreateResourceType(ctx, host))
	host = value(x.ResourceType(ctx, host.Name))(t)
	project := "tenant"
	r := Resource{ID: ResourceID{10}, Type: host.Name, Original: "s/10", Creator: "admin", Project: &project,
		Attributes: map[string]any{"host": "web 1", "size": json.Number("2.5"), "on": true, "since": int64(1e18)}}
	value(x.CreateResource(ctx, host, r, []Association{{Name: "cpu", ID: ingest.NewMetricID(), Policy: "low"}}))(t)
	cpu := value(x.MetricOf(ctx, host, r.ID, "cpu"))(t)
	describe := func() ingest.Description { return value(x.Describe(ctx, []ingest.MetricID{cpu.ID}))(t)[0] }
	one := ingest.Description{Known: true, Name: "cpu", Resource: "s/10", ResourceType: "described", Project: "tenant",
		Attributes: []ingest.DescribedAttribute{{Name: "host", Text: "web 1"}, {Name: "size", Text: "2.5"},
			{Name: "on", Text: "true"}, {Name: "since", Text: "2001-09-09T01:46:40Z"}, {Name: "none"}}}
	if diff := cmp.Diff(one, describe()); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
	value(x.UpdateResource(ctx, host, r.ID, func(r *Resource) error { r.Attributes["host"] = "web 2"; return nil }, nil))(t)
	if got := describe().Attributes[0].Text; got != "web 2" {
		t.Errorf("after a change host is %q, want web 2", got)
	}
	must(t, x.MarkDeleted(ctx, cpu.ID))
	if got := describe(); got.Known {
		t.Errorf("a deleted metric is %v", got)
	}
}

// testLabels asks for what metrics were called when they were created.
func testLabels(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	named, bare, of, whole, gone := metric("cpu"), metric(""), metric("disk"), metric("net"), metric("gone")
	home(t, x, [16]byte{1}, [16]byte{2}, [16]byte{3})
	of.Resource, whole.Resource, gone.Resource = &[16]byte{1}, &[16]byte{2}, &[16]byte{3}
	whole.LabelResource, whole.LabelType = "server 1", "instance"
	gone.LabelType = "host"
	must(t, x.CreateMetrics(ctx, []Metric{named, bare, of, whole, gone}))
	must(t, x.MarkDeleted(ctx, gone.ID))
	must(t, x.Told(ctx, Deletion{Metric: gone.ID}))
	ids := []ingest.MetricID{gone.ID, ingest.NewMetricID(), whole.ID, of.ID, bare.ID, named.ID, whole.ID}
	want := []ingest.Labels{
		{Name: "gone", Resource: "03000000-0000-0000-0000-000000000000", ResourceType: "host", Known: true},
		{},
		{Name: "net", Resource: "server 1", ResourceType: "instance", Known: true},
		{Name: "disk", Resource: "01000000-0000-0000-0000-000000000000", ResourceType: "generic", Known: true},
		{Known: true},
		{Name: "cpu", Known: true},
		{Name: "net", Resource: "server 1", ResourceType: "instance", Known: true},
	}
	if diff := cmp.Diff(want, value(x.Labels(ctx, ids))(t)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if got := value(x.Labels(ctx, nil))(t); len(got) != 0 {
		t.Errorf("no metrics have labels %v", got)
	}
	// What it is called later changes nothing.
	generic := value(x.ResourceType(ctx, GenericType))(t)
	r := Resource{ID: ResourceID{9}, Type: GenericType, Original: "server 9", Creator: "admin"}
	value(x.CreateResource(ctx, generic, r, []Association{
		{Name: "new name", ID: named.ID, Attach: true}, {Name: "made", ID: ingest.NewMetricID(), Policy: "low"}}))(t)
	made := value(x.MetricOf(ctx, generic, r.ID, "made"))(t)
	want = []ingest.Labels{{Name: "cpu", Known: true}, {Name: "made", Resource: "server 9", ResourceType: GenericType,
		Known: true}}
	if diff := cmp.Diff(want, value(x.Labels(ctx, []ingest.MetricID{named.ID, made.ID}))(t)); diff != "" {
		t.Errorf("labels of metrics of a resource (-want +got):\n%s", diff)
	}
	testDescribe(t, x, generic, []ingest.MetricID{gone.ID, ingest.NewMetricID(), bare.ID, named.ID, made.ID, named.ID})
	must(t, x.Purge(ctx, gone.ID))
	if got := value(x.Labels(ctx, ids[:1]))(t); got[0] != (ingest.Labels{}) {
		t.Errorf("a purged metric has labels %v", got)
	}
}

// testOneWins has many create the same thing at once.
func testOneWins(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	home(t, x, [16]byte{1})
	const rivals = 16
	for _, create := range []func() error{
		func() error { return x.CreatePolicy(ctx, policy("p", time.Minute)) },
		func() error { return x.CreateRule(ctx, Rule{"r", "*", "low"}) },
		func() error {
			m := metric("cpu")
			m.Resource = &[16]byte{1}
			return x.CreateMetric(ctx, m)
		},
	} {
		var won, lost atomic.Int32
		var all sync.WaitGroup
		for range rivals {
			all.Go(func() {
				switch err := create(); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrExists):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 || lost.Load() != rivals-1 {
			t.Errorf("%d won and %d lost", won.Load(), lost.Load())
		}
	}
}

// testNeighbours has good and bad changes share transactions.
func testNeighbours(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			m := metric(fmt.Sprint(i))
			bad := i%3 == 0
			if bad {
				m.Policy = "nowhere"
			}
			if err := x.CreateMetric(ctx, m); (err != nil) != bad {
				t.Errorf("metric %d: %v", i, err)
			}
			missing, err := x.Lookup(ctx, entriesOf(m), make([]MetricInfo, 1))
			if (len(missing) > 0) != bad || err != nil {
				t.Errorf("metric %d: missing %v, %v", i, missing, err)
			}
		})
	}
	all.Wait()
	if got := value(x.Counts(ctx))(t); got.Metrics != 133 {
		t.Errorf("there are %d metrics", got.Metrics)
	}
}

func testRestart(t *testing.T, open opener) {
	x, ctx := open(Config{}), t.Context()
	value(x.CreateDefaults(ctx))(t)
	kept, marked := metric("kept"), metric("marked")
	must(t, x.CreateMetrics(ctx, []Metric{kept, marked}))
	must(t, x.MarkDeleted(ctx, marked.ID))
	policies, rules, counts := value(x.Policies(ctx))(t), value(x.Rules(ctx))(t), value(x.Counts(ctx))(t)
	must(t, x.Close())

	x = open(Config{})
	if diff := cmp.Diff(policies, value(x.Policies(ctx))(t)); diff != "" {
		t.Errorf("policies (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(rules, value(x.Rules(ctx))(t)); diff != "" {
		t.Errorf("rules (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(counts, value(x.Counts(ctx))(t)); diff != "" {
		t.Errorf("counts (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]Metric{kept}, value(x.Metrics(ctx, Filter{}, Page{}))(t)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]ingest.MetricID{marked.ID}, value(x.Deleted(ctx))(t)); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
}

func testClosed(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	// What was let in before Close is made.
	metrics := make([]Metric, 50)
	var all sync.WaitGroup
	results := make([]error, len(metrics))
	for i := range metrics {
		metrics[i] = metric(fmt.Sprint(i))
		all.Go(func() { results[i] = x.CreateMetric(ctx, metrics[i]) })
	}
	must(t, x.Close())
	must(t, x.Close())
	all.Wait()
	for what, err := range map[string]error{
		"CreateMetric": x.CreateMetric(ctx, metric("")),
		"Metric":       second(x.Metric(ctx, metrics[0].ID)),
		"Metrics":      second(x.Metrics(ctx, Filter{}, Page{})),
		"Counts":       second(x.Counts(ctx)),
		"Policy":       second(x.Policy(ctx, "unknown")),
		"Lookup":       second(x.Lookup(ctx, entriesOf(metric("")), make([]MetricInfo, 1))),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	x = open(Config{})
	for i, m := range metrics {
		_, err := x.Metric(ctx, m.ID)
		switch {
		case results[i] == nil && err != nil:
			t.Errorf("metric %d was created: %v", i, err)
		case results[i] != nil && (!errors.Is(results[i], ErrClosed) || !errors.Is(err, ErrNotFound)):
			t.Errorf("metric %d was refused with %v: %v", i, results[i], err)
		}
	}
}

func testCancelled(t *testing.T, open opener) {
	x := withPolicies(t, open, Config{})
	m := metric("cpu")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"CreateMetric": x.CreateMetric(ctx, m),
		"Metrics":      second(x.Metrics(ctx, Filter{}, Page{})),
		"Lookup":       second(x.Lookup(ctx, entriesOf(m), make([]MetricInfo, 1))),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Nothing was changed, and the index goes on.
	wantError(t, second(x.Metric(t.Context(), m.ID)), ErrNotFound, "Metric "+m.ID.String()+" does not exist")
	must(t, x.CreateMetric(t.Context(), m))
}

// testBadTexts gives texts that not every database can hold.
func testBadTexts(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	for text, want := range map[string]string{
		"a\x00b": `Invalid input: the text "a\x00b" contains the character U+0000`,
		"a\xffb": `Invalid input: the text "a\xffb" is not UTF-8`,
	} {
		m := metric(text)
		creator := metric("")
		creator.Creator = text
		p := policy(text, time.Minute)
		wantInvalid(t, x.CreateMetrics(ctx, []Metric{metric(""), m}), want)
		wantInvalid(t, x.CreateMetric(ctx, creator), want)
		wantInvalid(t, x.CreatePolicy(ctx, p), want)
		wantInvalid(t, x.CreateRule(ctx, Rule{text, "*", "low"}), want)
		wantInvalid(t, x.CreateRule(ctx, Rule{"r", text, "low"}), want)
		wantInvalid(t, second(x.Metrics(ctx, Filter{Name: &text}, Page{})), want)
	}
	if got := value(x.Counts(ctx))(t); got != (Counts{Policies: 4}) {
		t.Errorf("counts are %+v", got)
	}
}
