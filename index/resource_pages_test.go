package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func testResourcePages(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	for i := range 23 {
		r := resource(fmt.Sprintf("r%02d", i))
		r.Started = day(1 + i%3)
		if i%4 > 0 {
			r.Attributes = map[string]any{"flavor": fmt.Sprint(i % 5), "vcpus": json.Number(fmt.Sprint(i % 2)),
				"active": i%3 == 0}
			r.Ended, r.Project = ptr(day(10+i%4)), ptr(fmt.Sprint(i%2))
		}
		value(x.CreateResource(ctx, instance, r, nil))(t)
	}
	list := func(of *ResourceType, p Page) (names []string, last string) {
		t.Helper()
		must(t, x.Resources(ctx, Search{Type: of}, p, func(r *Resource) error {
			names, last = append(names, r.Original), r.ID.String()
			return nil
		}))
		return names, last
	}
	for _, sorts := range [][]string{nil, {"id:desc"}, {"revision_start:asc", "started_at:asc"}, {"started_at:desc"},
		{"ended_at", "project_id:desc"}, {"ended_at:desc-nullslast"},
		{"flavor"}, {"flavor:desc", "vcpus:asc-nullsfirst"}, {"vcpus:desc"}, {"active", "original_resource_id:desc"},
		{"type", "creator", "project_id"}, {"booted"}} {
		whole, _ := list(instance, Page{Sorts: sorts})
		var paged []string
		for marker := ""; ; {
			page, last := list(instance, Page{Sorts: sorts, Limit: 4, Marker: marker})
			if len(page) == 0 {
				break
			}
			paged, marker = append(paged, page...), last
		}
		if len(whole) != 23 {
			t.Errorf("by %q there are %d", sorts, len(whole))
		}
		if diff := cmp.Diff(whole, paged); diff != "" {
			t.Errorf("by %q (-whole +paged):\n%s", sorts, diff)
		}
	}
	// By id a page begins where the last one ended, also when what was there is gone.
	whole, _ := list(generic, Page{})
	_, last := list(generic, Page{Limit: 5})
	value(x.DeleteResource(ctx, generic, value(ingest.ParseMetricID(last))(t), func(*Resource) error { return nil }))(t)
	rest, _ := list(generic, Page{Marker: last})
	if diff := cmp.Diff(whole[5:], rest); diff != "" {
		t.Error(diff)
	}
}

// paging reads resources page by page, and calls between with every marker before the
// page that begins there.
func paging(
	t *testing.T, x *Index, s Search, limit int, markerOf func(*Resource) string, between func(last *Resource),
) (read []*Resource) {
	t.Helper()
	for marker := ""; ; {
		var page []*Resource
		p := Page{Sorts: DefaultSorts(), Limit: limit, Marker: marker}
		must(t, x.Resources(t.Context(), s, p, func(r *Resource) error {
			page = append(page, r)
			return nil
		}))
		read = append(read, page...)
		if len(page) < limit {
			return read
		}
		last := page[len(page)-1]
		marker = markerOf(last)
		between(last)
	}
}

// A listing by default neither repeats nor misses a resource that is there all the while,
// whatever happens to it and to others between two pages.
func testPagesAndChanges(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	flavor, _ := instance.Field("flavor", false)
	for name, s := range map[string]Search{
		"all": {Type: generic}, "of a type": {Type: instance},
		"found": {Type: instance, Where: &Expr{Op: OpEq, Field: flavor, Value: "small"}},
	} {
		all := smallOnes(t, x, instance, 40)
		d := disturber{t: t, x: x, of: instance, all: all}
		times := map[ResourceID]int{}
		for _, r := range paging(t, x, s, 3, func(r *Resource) string { return r.ID.String() }, d.between) {
			times[r.ID]++
		}
		for i := range all {
			if got := times[all[i].ID]; got != 1 {
				t.Errorf("%s: %s is listed %d times", name, all[i].Original, got)
			}
		}
		if d.steps < 10 {
			t.Errorf("%s: %d pages", name, d.steps)
		}
	}
}

// smallOnes creates resources, all of one flavor.
func smallOnes(t *testing.T, x *Index, instance *ResourceType, n int) (all []Resource) {
	for i := range n {
		r := resource(fmt.Sprintf("r%02d", i))
		r.Attributes = map[string]any{"flavor": "small"}
		all = append(all, value(x.CreateResource(t.Context(), instance, r, nil))(t))
	}
	return all
}

// A disturber changes resources between pages.
type disturber struct {
	t     *testing.T
	x     *Index
	of    *ResourceType
	all   []Resource
	steps int
}

func (d *disturber) change(id ResourceID, edit func(*Resource)) {
	value(d.x.UpdateResource(d.t.Context(), d.of, id, func(r *Resource) error { edit(r); return nil }, nil))(d.t)
}

func (d *disturber) between(last *Resource) {
	at := slices.IndexFunc(d.all, func(r Resource) bool { return r.ID == last.ID })
	if at < 0 {
		return
	}
	ctx := d.t.Context()
	project := func(r *Resource) { r.Project = ptr(fmt.Sprint(time.Now().UnixNano())) }
	remove := func() {
		value(d.x.DeleteResource(ctx, d.of, last.ID, func(*Resource) error { return nil }))(d.t)
	}
	switch d.steps++; d.steps % 6 {
	case 0: // where the page ends, one that was listed, one that wasn't
		for _, i := range []int{at, max(0, at-1), min(len(d.all)-1, at+2)} {
			d.change(d.all[i].ID, project)
		}
	case 1:
		d.change(last.ID, project)
		d.change(last.ID, project)
	case 2:
		remove()
	case 3: // and created again
		remove()
		value(d.x.CreateResource(ctx, d.of, Resource{ID: last.ID, Original: last.Original, Creator: "admin",
			Started: day(1), Attributes: map[string]any{"flavor": "small"}}, nil))(d.t)
	case 4:
		fresh := resource("new")
		value(d.x.EnsureNamed(ctx, []Resource{{ID: fresh.ID, Type: d.of.Name, Original: "new", Creator: "admin",
			Attributes: map[string]any{"flavor": "small"}}}, nil))(d.t)
	case 5:
		d.change(last.ID, func(r *Resource) { r.Started = day(20) })
	}
}

// So with history, where a present state may be a past one by the next page.
func testHistoryPagesAndChanges(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	all := smallOnes(t, x, instance, 12)
	d := disturber{t: t, x: x, of: instance, all: all}
	for i := range all {
		d.change(all[i].ID, func(r *Resource) { r.Project = ptr("p") })
	}
	type key struct {
		id    ResourceID
		begun int64
	}
	times := map[key]int{}
	s := Search{Type: generic, History: true}
	must(t, x.Resources(t.Context(), s, Page{}, func(r *Resource) error {
		times[key{r.ID,
			r.RevisionStart}] = 0
		return nil
	}))
	if len(times) != 24 {
		t.Fatalf("%d states", len(times))
	}
	marker := func(r *Resource) string {
		if r.Revision != current {
			return fmt.Sprintf("%s@%d", r.ID, r.Revision)
		}
		return fmt.Sprintf("%s@-1@%d", r.ID, r.RevisionStart)
	}
	pages := 0
	for _, r := range paging(t, x, s, 5, marker, func(last *Resource) {
		if pages++; pages < 12 {
			d.change(last.ID, func(r *Resource) { r.Project = ptr(fmt.Sprint(pages)) })
		}
	}) {
		times[key{r.ID, r.RevisionStart}]++
	}
	for k, n := range times {
		if n != 1 {
			t.Errorf("the state of %s from %d is listed %d times", k.id, k.begun, n)
		}
	}
}

// Places of deleted resources are kept for a while, and no longer.
func testPlacesPruned(t *testing.T, open opener) {
	x, generic, instance := withTypes(t, open)
	ctx := t.Context()
	r := smallOnes(t, x, instance, 1)[0]
	value(x.DeleteResource(ctx, generic, r.ID, func(*Resource) error { return nil }))(t)
	page := Page{Sorts: DefaultSorts(), Marker: r.ID.String()}
	none := func(*Resource) error { return nil }
	must(t, x.prune(ctx, time.Now().Add(-time.Hour)))
	must(t, x.Resources(ctx, Search{Type: generic}, page, none))
	must(t, x.prune(ctx, time.Now().Add(time.Second)))
	err := x.Resources(ctx, Search{Type: generic}, page, none)
	if _, ok := errors.AsType[*InvalidError](err); !ok {
		t.Error(err)
	}
}

// A page of metrics by id begins where the last one ended, also when that metric is gone.
func testMetricPagesAndDeletion(t *testing.T, open opener) {
	x := withPolicies(t, open, Config{})
	ctx := t.Context()
	for range 7 {
		must(t, x.CreateMetric(ctx, Metric{ID: ingest.NewMetricID(), Policy: "low", Creator: "admin"}))
	}
	whole := value(x.Metrics(ctx, Filter{}, Page{}))(t)
	must(t, x.MarkDeleted(ctx, whole[2].ID))
	rest := value(x.Metrics(ctx, Filter{}, Page{Marker: whole[2].ID.String()}))(t)
	if diff := cmp.Diff(whole[3:], rest); diff != "" {
		t.Error(diff)
	}
}

// An index from before resources had places gets them in the order in which they were
// created, and finds by attributes in that order.
func TestPlacesMigrated(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + t.TempDir() + "/index.db" },
		"postgres": func(t *testing.T) string { return postgres(t) },
	} {
		t.Run(name, func(t *testing.T) { placesMigrated(t, url(t)) })
	}
}

func placesMigrated(t *testing.T, url string) {
	ctx := t.Context()
	old := value(openDatabase(url, 1))(t)
	old.timeout = time.Minute
	at := slices.IndexFunc(migrations(), func(m migration) bool { return m.name == "0006_place" })
	must(t, migrate(ctx, old, migrations()[:at]))
	a, b := ingest.NewMetricID(), ingest.NewMetricID()
	_, err := old.transact(ctx, func(s session) error {
		insert := func(id ResourceID, started, revised int64) error {
			_, err := s.exec(ctx,
				`INSERT INTO resources (id, type_id, original_id, creator, started_at, revision_start, attributes)
				VALUES (?, (SELECT id FROM resource_types WHERE name = 'vm'), ?, 'admin', ?, ?, '{"flavor": "x"}')`, id[:], id.String(), started, revised)
			return err
		}
		vm := ResourceType{id: 77, Attributes: []Attribute{{Name: "flavor", Type: AttributeString}}}
		if _, err := s.exec(ctx,
			`INSERT INTO resource_types (id, name, attributes) VALUES (77, 'vm', '[{"name": "flavor", "type": "string"}]')`); err != nil {
			return err
		}
		_, err := s.exec(ctx,
			fmt.Sprintf(`CREATE INDEX %s ON resources (%s(%s), revision_start, started_at, id) WHERE type_id = 77`,
				vm.indexName(&vm.Attributes[0]), s.dialect.ofType, s.dialect.attribute(&vm.Attributes[0])))
		return errors.Join(err, insert(a, day(1), day(1)), insert(b, day(2), day(2)), keepState(ctx, s, a, day(3)),
			second(s.exec(ctx, `UPDATE resources SET revision_start = ? WHERE id = ?`, day(3), a[:])))
	})
	must(t, err)
	must(t, old.close())
	x := openIndex(t, url, Config{})
	vm := value(x.ResourceType(ctx, "vm"))(t)
	flavor, _ := vm.Field("flavor", false)
	var got []ResourceID
	must(t, x.Resources(ctx, Search{Type: vm, Where: &Expr{Op: OpEq, Field: flavor, Value: "x"}},
		Page{Sorts: DefaultSorts()}, func(r *Resource) error {
			got = append(got, r.ID)
			return nil
		}))
	if diff := cmp.Diff([]ResourceID{a, b}, got); diff != "" {
		t.Error(diff)
	}
}
