package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// flavors is a resource type with an attribute of every kind.
var flavors = ResourceType{Name: "instance", Attributes: []Attribute{
	{Name: "flavor", Type: AttributeString, Required: true, MaxLength: 255},
	{Name: "server-group", Type: AttributeString, MaxLength: 255},
	{Name: `odd "name"? $.'x%`, Type: AttributeString, MaxLength: 255},
	{Name: "image", Type: AttributeUUID},
	{Name: "vcpus", Type: AttributeNumber, Min: "0"},
	{Name: "active", Type: AttributeBool},
	{Name: "booted", Type: AttributeDatetime},
}}

// withTypes opens an index with policies and the type "instance".
func withTypes(t *testing.T, open opener) (x *Index, generic, instance *ResourceType) {
	t.Helper()
	x = withPolicies(t, open, Config{})
	must(t, x.CreateResourceType(t.Context(), &flavors))
	return x, value(x.ResourceType(t.Context(), GenericType))(t), value(x.ResourceType(t.Context(), "instance"))(t)
}

func resource(original string) Resource {
	return Resource{ID: ResourceID(ingest.NewMetricID()), Original: original, Creator: "admin", Started: day(1)}
}

// day is an instant of January 2026.
func day(n int) int64 { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC).UnixNano() }

func ptr[T any](v T) *T { return &v }

func testResourceTypes(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	wantError(t, x.CreateResourceType(ctx, &ResourceType{Name: "instance"}), ErrExists,
		"Resource type instance already exists")
	wantError(t, second(x.ResourceType(ctx, "nope")), ErrNotFound, "Resource type nope does not exist")
	wantError(t, x.DeleteResourceType(ctx, "nope"), ErrNotFound, "Resource type nope does not exist")
	wantError(t, x.DeleteResourceType(ctx, GenericType), ErrInUse, "Resource type generic is still in use")
	names := func() (list []string) {
		for _, r := range value(x.ResourceTypes(ctx))(t) {
			list = append(list, r.Name)
		}
		return list
	}
	if diff := cmp.Diff([]string{"generic", "instance"}, names()); diff != "" {
		t.Error(diff)
	}
	if len(generic.Attributes) != 0 {
		t.Errorf("generic has %v", generic.Attributes)
	}
	if diff := cmp.Diff(flavors.Attributes, instance.Attributes); diff != "" {
		t.Error(diff)
	}
	r := value(x.CreateResource(ctx, instance, resource("a"), nil))(t)
	wantError(t, x.DeleteResourceType(ctx, "instance"), ErrInUse, "Resource type instance is still in use")
	value(x.DeleteResource(ctx, generic, r.ID, func(*Resource) error { return nil }))(t)
	must(t, x.DeleteResourceType(ctx, "instance"))
	wantError(t, second(x.CreateResource(ctx, instance, resource("a"), nil)), ErrNotFound,
		"Resource type instance does not exist")
	must(t, x.CreateResourceType(ctx, &ResourceType{Name: "instance"}))
	wantError(t, second(x.CreateResource(ctx, instance, resource("a"), nil)), ErrChanged,
		"Resource type instance has been changed meanwhile")
	if diff := cmp.Diff([]string{"generic", "instance"}, names()); diff != "" {
		t.Error(diff)
	}
}

func testUpdateResourceType(t *testing.T, open opener) {
	x, _, instance := withTypes(t, open)
	ctx := t.Context()
	r := resource("a")
	r.Attributes = map[string]any{"flavor": "small", "vcpus": json.Number("2"),
		"image": "00000000-0000-0000-0000-000000000001"}
	r = value(x.CreateResource(ctx, instance, r, nil))(t)
	other := value(x.CreateResource(ctx, instance, resource("b"), nil))(t)
	value(x.UpdateResource(ctx, instance, r.ID, func(r *Resource) error { r.Attributes["flavor"] = "large"; return nil },
		nil))(t)

	attributes := slices.DeleteFunc(slices.Clone(flavors.Attributes), func(a Attribute) bool { return a.Name == "image" })
	attributes = append(attributes, Attribute{Name: "new", Type: AttributeNumber},
		Attribute{Name: "when", Type: AttributeDatetime},
		Attribute{Name: "on", Type: AttributeBool}, Attribute{Name: "none", Type: AttributeString})
	changed := value(x.UpdateResourceType(ctx, instance, attributes, []Fill{{"new", json.Number("15")}, {"when", day(3)},
		{"on", true}, {"flavor", "filled"}, {"none", nil}}))(t)
	wantError(t, second(x.UpdateResourceType(ctx, instance, attributes, nil)), ErrChanged,
		"Resource type instance has been changed meanwhile")
	again := value(x.ResourceType(ctx, "instance"))(t)
	if diff := cmp.Diff(changed.Attributes, again.Attributes); diff != "" {
		t.Error(diff)
	}
	states := map[string][]any{}
	must(t, x.Resources(ctx, Search{Type: again, History: true},
		Page{Sorts: []string{"original_resource_id", "revision_start"}}, func(r *Resource) error {
			values := []any{}
			for _, name := range []string{"flavor", "vcpus", "new", "when", "on", "none"} {
				values = append(values, r.Value(again.Attribute(name)))
			}
			if _, there := r.Attributes["image"]; there {
				t.Errorf("%s has an image", r.Original)
			}
			states[r.Original] = append(states[r.Original], values)
			return nil
		}))
	want := map[string][]any{
		"a": {[]any{"small", json.Number("2"), json.Number("15"), day(3), true, nil},
			[]any{"large", json.Number("2"), json.Number("15"), day(3), true, nil}},
		"b": {[]any{"filled", nil, json.Number("15"), day(3), true, nil}},
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error(diff)
	}
	_ = other
}

func testResources(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	r := resource("Web 1/é")
	r.User, r.Ended = ptr("u"), ptr(day(9))
	r.Attributes = map[string]any{"flavor": "small", `odd "name"? $.'x%`: `va"l'ue?`, "vcpus": json.Number("4"),
		"active": true, "booted": day(2)}
	unit := "B"
	free := metric("free")
	must(t, x.CreateMetric(ctx, free))
	cpu := Association{Name: "cpu", ID: ingest.NewMetricID(), Policy: "low", Unit: &unit}
	made := value(x.CreateResource(ctx, instance, r, []Association{cpu,
		{Name: "was free", ID: free.ID, Attach: true}}))(t)
	got := value(x.Resource(ctx, instance, r.ID))(t)
	want := r
	want.Type, want.Revision, want.RevisionStart = "instance", -1, made.RevisionStart
	want.Metrics = []NamedMetric{{"cpu", cpu.ID}, {"was free", free.ID}}
	for i := range instance.Attributes {
		a := &instance.Attributes[i]
		if got.Value(a) != r.Attributes[a.Name] {
			t.Errorf("%s is %v, want %v", a.Name, got.Value(a), r.Attributes[a.Name])
		}
	}
	if diff := cmp.Diff(want.Attributes, made.Attributes); diff != "" {
		t.Error(diff)
	}
	got.Attributes, want.Attributes, made.Attributes = nil, nil, nil
	if diff := cmp.Diff([]Resource{want, want}, []Resource{got, made}); diff != "" {
		t.Error(diff)
	}
	if got := value(x.Resource(ctx, generic, r.ID))(t); got.Type != "instance" {
		t.Errorf("seen as a generic one its type is %s", got.Type)
	}
	wantError(t, second(x.CreateResource(ctx, generic, r, nil)), ErrExists, "Resource "+r.ID.String()+" already exists")
	must(t, x.CreateResourceType(ctx, &ResourceType{Name: "other"}))
	other := value(x.ResourceType(ctx, "other"))(t)
	wantError(t, second(x.Resource(ctx, other, r.ID)), ErrNotFound, "Resource "+r.ID.String()+" does not exist")

	// All or nothing.
	bad := resource("bad")
	for _, a := range []Association{{Name: "x", ID: ingest.NewMetricID(), Attach: true},
		{Name: "x", ID: ingest.NewMetricID(), Policy: "nope"}} {
		good := Association{Name: "cpu", ID: ingest.NewMetricID(), Policy: "low"}
		if _, err := x.CreateResource(ctx, generic, bad, []Association{good, a}); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := second(x.Metric(ctx, good.ID)); !errors.Is(err, ErrNotFound) {
			t.Errorf("a metric of a resource that was refused: %v", err)
		}
	}
	theirs := metric("theirs")
	theirs.Creator = "somebody else"
	must(t, x.CreateMetric(ctx, theirs))
	wantError(t, second(x.CreateResource(ctx, generic, bad, []Association{{Name: "x", ID: theirs.ID, Attach: true}})),
		ErrNotFound, "Metric "+theirs.ID.String()+" does not exist")

	// Deletion takes the metrics along.
	deleted := value(x.DeleteResource(ctx, generic, r.ID, func(*Resource) error { return nil }))(t)
	if len(deleted) != 2 {
		t.Errorf("%d metrics were deleted", len(deleted))
	}
	for _, id := range deleted {
		if err := second(x.Metric(ctx, id)); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	wantError(t, second(x.DeleteResource(ctx, generic, r.ID, func(*Resource) error { return nil })), ErrNotFound,
		"Resource "+r.ID.String()+" does not exist")
	value(x.CreateResource(ctx, generic, r, nil))(t)
}

func testHistory(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	r := value(x.CreateResource(ctx, instance, resource("a"), []Association{{Name: "cpu", ID: ingest.NewMetricID(),
		Policy: "low"}}))(t)
	edit := func(change func(r *Resource)) Resource {
		t.Helper()
		return value(x.UpdateResource(ctx, instance, r.ID, func(r *Resource) error { change(r); return nil }, nil))(t)
	}
	same := edit(func(r *Resource) {})
	if same.RevisionStart != r.RevisionStart {
		t.Error("no change has made a revision")
	}
	edit(func(r *Resource) { r.Attributes["vcpus"] = json.Number("2") })
	edit(func(r *Resource) { r.Attributes["vcpus"] = json.Number("2.0") })
	edit(func(r *Resource) { r.Project = ptr("p") })
	last := edit(func(r *Resource) { r.Ended = ptr(day(5)) })
	read := func(generic *ResourceType, p Page) (states []Resource) {
		t.Helper()
		id, _ := generic.Field("id", true)
		e := &Expr{Op: OpEq, Field: id, Value: [16]byte(r.ID)}
		must(t, x.Resources(ctx, Search{Type: generic, Where: e, History: true}, p,
			func(r *Resource) error { states = append(states, *r); return nil }))
		return states
	}
	all := read(generic, Page{Sorts: []string{"revision_start", "started_at"}})
	if len(all) != 4 {
		t.Fatalf("there are %d states", len(all))
	}
	for i := range all {
		s := &all[i]
		if i < 3 && (s.RevisionEnd == nil || *s.RevisionEnd != all[i+1].RevisionStart || s.Revision != int64(i+1)) {
			t.Errorf("state %d is %+v", i, s)
		}
		if diff := cmp.Diff(last.Metrics, s.Metrics); diff != "" {
			t.Error(diff)
		}
	}
	if all[3].RevisionEnd != nil || all[3].Revision != -1 || all[0].RevisionStart != r.RevisionStart {
		t.Errorf("the last is %+v, the first began at %d", all[3], all[0].RevisionStart)
	}
	for _, sorts := range [][]string{{"revision_start"}, {"revision_end:asc-nullslast"}, {"revision_end:desc"},
		{"revision"}, {"vcpus"}, {"vcpus:desc-nullslast", "ended_at:asc-nullsfirst"}, {"type", "project_id"}} {
		whole := read(instance, Page{Sorts: sorts})
		var paged []Resource
		marker := ""
		for range 10 {
			page := read(instance, Page{Sorts: sorts, Limit: 1, Marker: marker})
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			marker = fmt.Sprintf("%s@%d", r.ID, page[0].Revision)
		}
		if diff := cmp.Diff(whole, paged); diff != "" || len(whole) != 4 {
			t.Errorf("by %q, in pages (-whole +paged):\n%s", sorts, diff)
		}
	}
	for _, marker := range []string{"x", r.ID.String() + "@77", r.ID.String() + "@x", ingest.NewMetricID().String()} {
		err := x.Resources(ctx, Search{Type: generic, History: true}, Page{Marker: marker},
			func(*Resource) error { return nil })
		wantInvalid(t, err, "Invalid pagination: `Invalid marker: `"+marker+"''")
	}
}

func testRevival(t *testing.T, open opener) {
	x, generic, _ := withTypes(t, open)
	ctx := t.Context()
	r := resource("a")
	r.Ended = ptr(day(5))
	cpu := ingest.NewMetricID()
	value(x.CreateResource(ctx, generic, r, []Association{{Name: "cpu", ID: cpu, Policy: "low"}}))(t)
	looks := func(ended bool) {
		t.Helper()
		entries, infos := []ingest.Entry{{Metric: cpu}}, make([]MetricInfo, 1)
		for range 2 {
			value(x.Lookup(ctx, entries, infos))(t)
			if infos[0].Ended != ended {
				t.Errorf("by id: ended is %v", infos[0].Ended)
			}
			value(x.LookupNamed(ctx, []MetricRef{{r.ID, []byte("cpu")}}, entries, infos))(t)
			if infos[0].Ended != ended {
				t.Errorf("by name: ended is %v", infos[0].Ended)
			}
		}
	}
	looks(true)
	must(t, x.Revive(ctx, map[ingest.MetricID]int64{cpu: day(5) - 4e9}))
	if got := value(x.Resource(ctx, generic, r.ID))(t); got.Ended == nil {
		t.Error("an earlier measure has revived it")
	}
	looks(true)
	must(t, x.Revive(ctx, map[ingest.MetricID]int64{cpu: day(5), ingest.NewMetricID(): day(7)}))
	got := value(x.Resource(ctx, generic, r.ID))(t)
	if got.Ended != nil {
		t.Error("a later measure has not revived it")
	}
	looks(false)
	value(x.UpdateResource(ctx, generic, r.ID, func(r *Resource) error { r.Ended = ptr(day(8)); return nil }, nil))(t)
	looks(true)
}

func testAssociations(t *testing.T, open opener) {
	x, generic, _ := withTypes(t, open)
	ctx := t.Context()
	a := value(x.CreateResource(ctx, generic, resource("a"), []Association{{Name: "cpu", ID: ingest.NewMetricID(),
		Policy: "low"}}))(t)
	b := value(x.CreateResource(ctx, generic, resource("b"), nil))(t)
	cpu := a.Metrics[0].ID
	find := func(r Resource, name string) (id ingest.MetricID) {
		t.Helper()
		entries, infos := make([]ingest.Entry, 1), make([]MetricInfo, 1)
		if missing := value(x.LookupNamed(ctx, []MetricRef{{r.ID, []byte(name)}}, entries, infos))(t); len(missing) > 0 {
			return ingest.MetricID{}
		}
		return entries[0].Metric
	}
	if find(a, "cpu") != cpu {
		t.Error("cpu isn't found")
	}
	edit := func(*Resource) error { return nil }
	moved := value(x.UpdateResource(ctx, generic, b.ID, edit, &[]Association{{Name: "cpu2", ID: cpu, Attach: true}}))(t)
	if find(a, "cpu") != (ingest.MetricID{}) || find(b, "cpu2") != cpu || moved.RevisionStart != b.RevisionStart {
		t.Error("cpu has not moved")
	}
	wantError(t, second(x.AddMetrics(ctx, generic, b.ID, []Association{{Name: "cpu2", ID: ingest.NewMetricID(),
		Policy: "low"}})), ErrExists, "Named metric cpu2 already exists")
	added := value(x.AddMetrics(ctx, generic, b.ID, []Association{{Name: "mem", ID: ingest.NewMetricID(),
		Policy: "low"}}))(t)
	if len(added.Metrics) != 2 || find(b, "mem") == (ingest.MetricID{}) {
		t.Errorf("it has %v", added.Metrics)
	}
	// Replaced: what isn't named lives on without a resource.
	replaced := value(x.UpdateResource(ctx, generic, b.ID, edit,
		&[]Association{{Name: "mem", ID: ingest.NewMetricID(), Policy: "low"}}))(t)
	if len(replaced.Metrics) != 1 || find(b, "mem") == added.Metrics[1].ID || find(b, "cpu2") != (ingest.MetricID{}) {
		t.Errorf("it has %v", replaced.Metrics)
	}
	if m := value(x.Metric(ctx, cpu))(t); m.Resource != nil || *m.Name != "cpu2" {
		t.Errorf("what was detached is %v", m)
	}
	if m := value(x.MetricOf(ctx, generic, b.ID, "mem"))(t); m.ID != replaced.Metrics[0].ID {
		t.Errorf("mem is %v", m)
	}
	wantError(t, second(x.MetricOf(ctx, generic, b.ID, "cpu")), ErrNotFound, "Metric cpu does not exist")
	none := ingest.NewMetricID()
	wantError(t, second(x.MetricOf(ctx, generic, none, "cpu")), ErrNotFound, "Resource "+none.String()+" does not exist")
	must(t, x.MarkDeleted(ctx, replaced.Metrics[0].ID))
	if find(b, "mem") != (ingest.MetricID{}) || len(value(x.MetricsOf(ctx, b.ID))(t)) != 0 {
		t.Error("a deleted metric is found by name")
	}
	if got := value(x.UpdateResource(ctx, generic, b.ID, edit, nil))(t); len(got.Metrics) != 0 {
		t.Errorf("it has %v", got.Metrics)
	}
}

func testCreateNamed(t *testing.T, open opener) {
	x, generic, _ := withTypes(t, open)
	ctx := t.Context()
	a := value(x.CreateResource(ctx, generic, resource("a"), nil))(t)
	b := value(x.CreateResource(ctx, generic, resource("b"), nil))(t)
	named := func(r ResourceID, name string) Metric {
		m := metric(name)
		m.Resource = (*[16]byte)(&r)
		return m
	}
	unknown := []ResourceID{ingest.NewMetricID(), ingest.NewMetricID()}
	list := []Metric{named(a.ID, "cpu"), named(unknown[0], "cpu"), named(unknown[0], "mem"), named(unknown[1], "cpu")}
	err := x.CreateNamed(ctx, list)
	if e, ok := errors.AsType[*UnknownResourcesError](err); !ok || !slices.Equal(e.IDs, unknown) {
		t.Errorf("unknown resources: %v", err)
	}
	if got := value(x.MetricsOf(ctx, a.ID))(t); len(got) > 0 {
		t.Errorf("half of it was done: %v", got)
	}
	bad := named(a.ID, "bad")
	bad.Policy = "nope"
	wantError(t, x.CreateNamed(ctx, []Metric{named(a.ID, "cpu"), bad}), ingest.ErrNoPolicy,
		"Archive policy nope does not exist")

	// Everybody creates the same: there is one of each.
	var wait sync.WaitGroup
	ids := make([][]ingest.MetricID, 8)
	for i := range ids {
		wait.Go(func() {
			var list []Metric
			for n := range 700 {
				list = append(list, named(a.ID, fmt.Sprintf("m%d", n)), named(b.ID, fmt.Sprintf("m%d", n)))
			}
			if err := x.CreateNamed(ctx, list); err != nil {
				t.Error(err)
			}
			for _, m := range list {
				ids[i] = append(ids[i], m.ID)
			}
		})
	}
	wait.Wait()
	for i := range ids {
		if !slices.Equal(ids[i], ids[0]) {
			t.Fatalf("%d was given other metrics", i)
		}
	}
	for _, open := range []*Index{x, open(Config{})} {
		var refs []MetricRef
		for n := range 700 {
			refs = append(refs, MetricRef{a.ID, fmt.Appendf(nil, "m%d", n)}, MetricRef{b.ID, fmt.Appendf(nil, "m%d", n)})
		}
		refs = append(refs, MetricRef{b.ID, []byte("none")})
		for range 2 {
			entries, infos := make([]ingest.Entry, len(refs)), make([]MetricInfo, len(refs))
			missing := value(open.LookupNamed(ctx, refs, entries, infos))(t)
			if !slices.Equal(missing, []int{1400}) {
				t.Errorf("missing: %v", missing)
			}
			for i := range 1400 {
				if entries[i].Metric != ids[0][i] || infos[i] != (MetricInfo{Policy: "low", Creator: "admin", Found: true}) {
					t.Fatalf("%s is %v %v", refs[i].Name, entries[i].Metric, infos[i])
				}
			}
		}
	}
}

// testSearch looks for resources in every way.
func testSearch(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	add := func(t *ResourceType, original, creator string, change func(r *Resource)) {
		r := resource(original)
		r.Creator = creator
		r.Attributes = map[string]any{}
		change(&r)
		if _, err := x.CreateResource(ctx, t, r, nil); err != nil {
			panic(err)
		}
	}
	add(generic, "g", "u1:p1", func(r *Resource) { r.User = ptr("u"); r.Ended = ptr(day(3)) })
	add(instance, "a", "u1:p1", func(r *Resource) {
		r.Attributes = map[string]any{"flavor": "small", "vcpus": json.Number("1"), "active": true, "booted": day(2),
			"image": "00000000-0000-0000-0000-000000000001"}
		r.Project = ptr("p1")
	})
	add(instance, "b", "u2:p2", func(r *Resource) {
		r.Attributes = map[string]any{"flavor": "Small_1", "vcpus": json.Number("2.5"), "active": false, "booted": day(4),
			`odd "name"? $.'x%`: `'"?`}
		r.Project = ptr("p1")
		r.Ended = ptr(day(2))
	})
	add(instance, "c", "u2:p3", func(r *Resource) {
		r.Attributes = map[string]any{"flavor": `50%*[x]\`, "server-group": ""}
		r.Started = day(2)
	})

	in := func(of *ResourceType, scope *Scope, e *Expr, want string) {
		t.Helper()
		var got []string
		err := x.Resources(ctx, Search{Type: of, Where: e, Scope: scope}, Page{Sorts: []string{"original_resource_id"}},
			func(r *Resource) error {
				got = append(got, r.Original)
				return nil
			})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%v: got %q, want %q (%v)", e, got, want, err)
		}
	}
	f := func(name string) Field {
		t.Helper()
		f, ok := instance.Field(name, false)
		if !ok {
			t.Errorf("no field %s", name)
		}
		return f
	}
	is := func(op Op, name string, v any) *Expr { return &Expr{Op: op, Field: f(name), Value: v} }
	not := func(e *Expr) *Expr { return &Expr{Op: OpNot, Args: []Expr{*e}} }
	all := func(op Op, list ...*Expr) *Expr {
		e := &Expr{Op: op}
		for _, a := range list {
			e.Args = append(e.Args, *a)
		}
		return e
	}
	in(generic, nil, nil, "a b c g")
	in(instance, nil, nil, "a b c")
	for _, c := range []struct {
		e    *Expr
		want string
	}{
		{is(OpEq, "flavor", "small"), "a"},
		{is(OpNe, "flavor", "small"), "b c"},
		{is(OpNe, "server-group", "x"), "a b c"},
		{is(OpEq, "server-group", nil), "a b"},
		{is(OpNe, "server-group", nil), "c"},
		{is(OpLt, "server-group", nil), ""},
		{not(is(OpLt, "server-group", nil)), ""},
		{not(is(OpEq, "server-group", "x")), "c"},
		{is(OpEq, `odd "name"? $.'x%`, `'"?`), "b"},
		{is(OpGt, "flavor", "T"), "a"},
		{is(OpLike, "flavor", "small%"), "a"},
		{is(OpLike, "flavor", "%mall%"), "a b"},
		{is(OpLike, "flavor", "_mall__"), "b"},
		{is(OpLike, "flavor", `50_*[x]\`), "c"},
		{is(OpLike, "flavor", `50%\`), "c"},
		{is(OpLike, "flavor", "?mall*"), ""},
		{is(OpLike, "image", "0000%"), "a"},
		{is(OpGe, "vcpus", 1.0), "a b"},
		{is(OpGt, "vcpus", 1.0), "b"},
		{is(OpEq, "vcpus", 2.5), "b"},
		{is(OpEq, "active", true), "a"},
		{is(OpNe, "active", true), "b c"},
		{is(OpLe, "booted", day(2)), "a"},
		{is(OpGe, "lifespan", int64(24*time.Hour)), "b"},
		{is(OpLt, "lifespan", int64(24*time.Hour)), ""},
		{is(OpEq, "type", "instance"), "a b c"},
		{not(is(OpEq, "type", "no such")), "a b c"},
		{is(OpLike, "type", "inst%"), "a b c"},
		{is(OpLt, "type", "instance"), ""},
		{&Expr{Op: OpIn, Field: f("type"), Values: []any{"x", "instance"}}, "a b c"},
		{&Expr{Op: OpIn, Field: f("vcpus"), Values: []any{2.5, 7.0}}, "b"},
		{&Expr{Op: OpIn, Field: f("vcpus")}, ""},
		{not(&Expr{Op: OpIn, Field: f("flavor"), Values: []any{"small"}}), "b c"},
		{is(OpEq, "created_by_user_id", "u2"), "b c"},
		{is(OpNe, "created_by_project_id", "p3"), "a b"},
		{is(OpEq, "created_by_project_id", "3"), ""},
		{is(OpLike, "created_by_project_id", "p_"), "a b c"},
		{is(OpLike, "created_by_user_id", "%1"), "a"},
		{is(OpEq, "creator", "u1:p1"), "a"},
		{is(OpEq, "started_at", day(2)), "c"},
		{all(OpAnd, is(OpEq, "project_id", "p1"), is(OpEq, "ended_at", nil)), "a"},
		{all(OpOr, is(OpEq, "original_resource_id", "a"), is(OpEq, "original_resource_id", "c"),
			is(OpEq, "original_resource_id", "x")), "a c"},
	} {
		in(instance, nil, c.e, c.want)
	}
	in(generic, &Scope{Project: "p1", Owned: true, Created: true}, nil, "a b g")
	in(generic, &Scope{Project: "p1", Owned: true}, nil, "a b")
	in(generic, &Scope{Project: "p1", Created: true}, nil, "a g")
	in(generic, &Scope{Project: "p1"}, nil, "")
	in(generic, &Scope{Project: "p3", Created: true}, is(OpEq, "type", "generic"), "")

	// What an OpOr has of one field is looked for at once.
	in(instance, nil, all(OpOr, is(OpEq, "original_resource_id", "a"), is(OpEq, "project_id", nil),
		is(OpEq, "project_id", "p3"), is(OpEq, "original_resource_id", "x"), is(OpEq, "original_resource_id", "c"),
		is(OpEq, "type", "nope"), is(OpEq, "type", "neither"), is(OpEq, "created_by_user_id", "nobody"),
		is(OpEq, "created_by_user_id", "neither")), "a c")
	var none []*Expr
	for range manyComparisons + 1 {
		none = append(none, is(OpLt, "started_at", day(-100)))
	}
	in(instance, nil, all(OpOr, append(none, is(OpEq, "original_resource_id", "b"))...), "b")

	many := &Expr{Op: OpIn, Field: f("original_resource_id")}
	for range MaxExprValues {
		many.Values = append(many.Values, "a")
	}
	in(instance, nil, many, "a")
	many.Values = append(many.Values, "a")
	search := func(e *Expr, p Page) error {
		return x.Resources(ctx, Search{Type: instance, Where: e}, p, func(*Resource) error { return nil })
	}
	wantInvalid(t, search(many, Page{}), "Invalid filter: it has 10001 values, and the limit is 10000")
	wantInvalid(t, search(is(OpLike, "vcpus", "1%"), Page{}), "Invalid value: `1%' for field `vcpus'")
	wantInvalid(t, search(is(OpLt, "created_by_user_id", "x"), Page{}),
		"Invalid value: `x' for field `created_by_user_id'")
	wantInvalid(t, search(nil, Page{Sorts: []string{"nope:asc"}}),
		"Invalid pagination: `Sort key supplied is invalid: nope'")
	wantInvalid(t, search(nil, Page{Sorts: []string{"lifespan"}}),
		"Invalid pagination: `Sort key supplied is invalid: lifespan'")
	wantInvalid(t, search(nil, Page{Sorts: []string{"id:up"}}),
		"Invalid pagination: `Unknown sort direction, must be one of: asc-nullsfirst, asc-nullslast, desc-nullsfirst, "+
			"desc-nullslast'")
	stop := errors.New("enough")
	if err := x.Resources(ctx, Search{Type: instance}, Page{}, func(*Resource) error { return stop }); err != stop {
		t.Errorf("visit's error comes back as %v", err)
	}

	count, metrics, err := x.DeleteResources(ctx, Search{Type: instance, Where: is(OpEq, "flavor", "small")})
	if count != 1 || len(metrics) != 0 || err != nil {
		t.Errorf("deleted %d, %v, %v", count, metrics, err)
	}
	in(generic, nil, nil, "b c g")
}

// testResourcePages compares pages with whole listings, while resources come and go.
// testResourcesOfAnother lets one process see what another has done.
func testResourcesOfAnother(t *testing.T, open opener) {
	x, _, instance := withTypes(t, open)
	other := open(Config{Refresh: -1})
	must(t, x.CreateResourceType(t.Context(), &ResourceType{Name: "late"}))
	late := value(x.ResourceType(t.Context(), "late"))(t)
	a := value(x.CreateResource(t.Context(), late, resource("a"), nil))(t)
	b := value(x.CreateResource(t.Context(), instance, resource("b"), nil))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := value(other.Resource(ctx, value(other.ResourceType(ctx, GenericType))(t), a.ID))(t)
	if got.Type != "late" || got.Original != "a" {
		t.Errorf("got %+v", got)
	}
	var names []string
	must(t, other.Resources(ctx, Search{Type: value(other.ResourceType(ctx, GenericType))(t)},
		Page{Sorts: []string{"original_resource_id"}}, func(r *Resource) error {
			names = append(names, r.Type)
			return nil
		}))
	if diff := cmp.Diff([]string{"late", "instance"}, names); diff != "" {
		t.Error(diff)
	}

	infoOf := func(id ResourceID) ResourceInfo {
		infos := make([]ResourceInfo, 1)
		must(t, other.poll(ctx))
		must(t, other.LookupResources(ctx, []ResourceID{id}, infos))
		return infos[0]
	}
	gone := value(x.CreateResource(ctx, instance, resource("gone"), nil))(t)
	for _, project := range []*string{ptr("p"), ptr("q"), nil, ptr("p")} {
		value(x.UpdateResource(ctx, instance, gone.ID, func(r *Resource) error { r.Project = project; return nil }, nil))(t)
		want := ResourceInfo{Type: "instance", Creator: "admin", Found: true}
		if project != nil {
			want.Project = *project
		}
		for range 2 {
			if got := infoOf(gone.ID); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	}
	value(x.DeleteResource(ctx, instance, gone.ID, func(*Resource) error { return nil }))(t)
	if got := infoOf(gone.ID); got.Found {
		t.Errorf("a deleted resource is found: %+v", got)
	}

	// The feed tells others what they remember wrongly.
	find := func() (id ingest.MetricID, ended bool) {
		t.Helper()
		must(t, other.poll(ctx))
		entries, infos := make([]ingest.Entry, 1), make([]MetricInfo, 1)
		value(other.LookupNamed(ctx, []MetricRef{{b.ID, []byte("cpu")}}, entries, infos))(t)
		if byID := []MetricInfo{{}}; infos[0].Found {
			value(other.Lookup(ctx, entries, byID))(t)
			if byID[0] != infos[0] {
				t.Errorf("by id %v, by name %v", byID[0], infos[0])
			}
		}
		return entries[0].Metric, infos[0].Ended
	}
	for range 2 {
		cpu := metric("cpu")
		cpu.Resource = (*[16]byte)(&b.ID)
		must(t, x.CreateNamed(ctx, []Metric{cpu}))
		if id, ended := find(); id != cpu.ID || ended {
			t.Errorf("got %v %v", id, ended)
		}
		value(x.UpdateResource(ctx, instance, b.ID, func(r *Resource) error { r.Ended = ptr(day(7)); return nil }, nil))(t)
		if id, ended := find(); id != cpu.ID || !ended {
			t.Errorf("got %v %v", id, ended)
		}
		must(t, x.Revive(ctx, map[ingest.MetricID]int64{cpu.ID: day(8)}))
		if id, ended := find(); id != cpu.ID || ended {
			t.Errorf("got %v %v", id, ended)
		}
		must(t, x.MarkDeleted(ctx, cpu.ID))
		if id, _ := find(); id != (ingest.MetricID{}) {
			t.Errorf("a deleted metric is found: %v", id)
		}
	}
}
