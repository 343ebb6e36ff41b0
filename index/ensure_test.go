package index

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// Resources and metrics that don't exist are made, those that do stay as they are.
func testEnsureNamed(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	old := value(x.CreateResource(ctx, generic, resource("old"), nil))(t)
	metric := func(of ResourceID, name string) Metric {
		resource := [16]byte(of)
		return Metric{ID: ingest.NewMetricID(), Name: &name, Creator: "admin", Policy: "low", Resource: &resource}
	}
	fresh := resource("fresh")
	fresh.Type, fresh.Project, fresh.Attributes = "instance", ptr("p"), map[string]any{"flavor": "tiny"}
	kept := old
	kept.Type, kept.Original, kept.Creator = "generic", "another", "another"

	metrics := []Metric{metric(fresh.ID, "cpu"), metric(old.ID, "cpu"), metric(fresh.ID, "mem")}
	made := value(x.EnsureNamed(ctx, []Resource{fresh, kept}, metrics))(t)
	if made != (Made{1, 3}) {
		t.Errorf("made %+v", made)
	}
	got := value(x.Resource(ctx, instance, fresh.ID))(t)
	if got.Original != "fresh" || got.Creator != "admin" || *got.Project != "p" || got.Attributes["flavor"] != "tiny" ||
		len(got.Metrics) != 2 || got.Ended != nil || got.Started == 0 {
		t.Errorf("made %+v", got)
	}
	if got := value(x.Resource(ctx, generic, old.ID))(t); got.Original != "old" || len(got.Metrics) != 1 {
		t.Errorf("what there was is %+v", got)
	}
	infos := make([]ResourceInfo, 4)
	must(t, x.LookupResources(ctx, []ResourceID{old.ID, {1}, fresh.ID, old.ID}, infos))
	want := []ResourceInfo{
		{Type: "generic", Creator: "admin", Found: true}, {}, {Type: "instance", Creator: "admin", Project: "p",
			Found: true}, {Type: "generic", Creator: "admin", Found: true},
	}
	if diff := cmp.Diff(want, infos); diff != "" {
		t.Errorf("resources (-want +got): %s", diff)
	}

	// Again: nothing is made, and the metrics are those that there are.
	again := []Metric{metric(fresh.ID, "cpu"), metric(fresh.ID, "new")}
	if made := value(x.EnsureNamed(ctx, []Resource{fresh}, again))(t); made != (Made{0, 1}) ||
		again[0].ID != metrics[0].ID {
		t.Errorf("again: %+v, %s", made, again[0].ID)
	}

	// With an error nothing is made.
	other := resource("other")
	other.Type = "instance"
	_, err := x.EnsureNamed(ctx, []Resource{other, {ID: old.ID, Type: "instance"}}, []Metric{metric(other.ID, "cpu")})
	wantError(t, err, ErrExists, "Resource "+old.ID.String()+" already exists")
	bad := metric(other.ID, "cpu")
	bad.Policy = "none"
	_, err = x.EnsureNamed(ctx, []Resource{other}, []Metric{metric(other.ID, "mem"), bad})
	wantError(t, err, ingest.ErrNoPolicy, "Archive policy none does not exist")
	nowhere := other
	nowhere.Type = "nope"
	_, err = x.EnsureNamed(ctx, []Resource{nowhere}, nil)
	wantError(t, err, ErrNotFound, "Resource type nope does not exist")
	if _, err = x.EnsureNamed(ctx, nil, []Metric{metric(other.ID, "cpu")}); err == nil {
		t.Error("a metric without its resource")
	}
	must(t, x.LookupResources(ctx, []ResourceID{other.ID}, infos[:1]))
	if infos[0].Found {
		t.Error("a resource is left of what failed")
	}

	// At once: one of each.
	var running sync.WaitGroup
	total := make([]Made, 8)
	for i := range total {
		running.Go(func() {
			var err error
			if total[i], err = x.EnsureNamed(ctx, []Resource{other}, []Metric{metric(other.ID, "cpu")}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	sum := Made{}
	for _, m := range total {
		sum.Resources += m.Resources
		sum.Metrics += m.Metrics
	}
	if sum != (Made{1, 1}) {
		t.Errorf("at once %+v were made", sum)
	}
}
