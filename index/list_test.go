package index

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func testFilters(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	names := []string{"cpu", "disk", ""}
	all := make([]Metric, 0, 24)
	for i := range cap(all) {
		m := metric(names[i%3])
		m.Creator = []string{"alice", "alice:p1", "bob:p1", "b:p11", "p1", ":p1", "", "bob:"}[i%8]
		m.Policy = []string{"low", "high"}[i%2]
		if i%4 == 0 {
			m.Unit = &names[0]
		}
		all = append(all, m)
	}
	must(t, x.CreateMetrics(ctx, all))
	slices.SortFunc(all, func(a, b Metric) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	check := func(name string, f Filter, keep func(m Metric) bool) {
		t.Helper()
		var want []Metric
		for _, m := range all {
			if keep(m) {
				want = append(want, m)
			}
		}
		if diff := gocmp.Diff(want, value(x.Metrics(ctx, f, Page{}))(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	is := func(s *string, want string) bool { return s != nil && *s == want }
	cpu, high, alice, p1, none := "cpu", "high", "alice", "p1", ""
	check("all", Filter{}, func(Metric) bool { return true })
	check("id", Filter{ID: &all[5].ID}, func(m Metric) bool { return m.ID == all[5].ID })
	check("name", Filter{Name: &cpu}, func(m Metric) bool { return is(m.Name, "cpu") })
	check("empty name", Filter{Name: &none}, func(m Metric) bool { return is(m.Name, "") })
	check("unit", Filter{Unit: &cpu}, func(m Metric) bool { return is(m.Unit, "cpu") })
	check("policy", Filter{Policy: &high}, func(m Metric) bool { return m.Policy == "high" })
	check("creator", Filter{Creator: &alice}, func(m Metric) bool { return m.Creator == "alice" })
	check("project", Filter{Project: &p1}, func(m Metric) bool { return strings.HasSuffix(m.Creator, ":p1") })
	check("no project", Filter{Project: &none}, func(m Metric) bool { return strings.HasSuffix(m.Creator, ":") })
	check("two", Filter{Name: &cpu, Policy: &high}, func(m Metric) bool {
		return is(m.Name, "cpu") &&
			m.Policy == "high"
	})
}

func testBadPages(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	deleted := metric("gone")
	must(t, x.CreateMetric(ctx, deleted))
	must(t, x.MarkDeleted(ctx, deleted.ID))
	bad := func(p Page, text string) {
		t.Helper()
		_, err := x.Metrics(ctx, Filter{}, p)
		wantInvalid(t, err, text)
	}
	for _, key := range []string{"", "Name", "deleted_at", "name;"} {
		bad(Page{Sorts: []string{"id", key}}, "Invalid pagination: `Sort key supplied is invalid: "+key+"'")
	}
	for _, direction := range []string{"ASC", "up", "asc-nulls", "desc nullsfirst"} {
		bad(Page{Sorts: []string{"name:" + direction}},
			"Invalid pagination: `Unknown sort direction, must be one of: asc-nullsfirst, asc-nullslast, desc-nullsfirst, "+
				"desc-nullslast'")
	}
	for _, marker := range []string{"foobar", ingest.NewMetricID().String()} {
		bad(Page{Marker: marker}, "Invalid pagination: `Invalid marker: `"+marker+"''")
	}
	marker := deleted.ID.String() // nobody knows where its name was
	bad(Page{Marker: marker, Sorts: []string{"name"}}, "Invalid pagination: `Invalid marker: `"+marker+"''")
}

// testPages lists metrics with many ties and nulls by every key and direction and
// by random combinations, and checks every page against a sort of its own.
func testPages(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	random := rand.New(rand.NewPCG(1, 2))
	all := randomMetrics(random, 40)
	for i := range 3 {
		home(t, x, [16]byte{byte(i), 15: 0xff})
	}
	must(t, x.CreateMetrics(ctx, all))
	hidden := metric("hidden")
	must(t, x.CreateMetric(ctx, hidden))
	must(t, x.MarkDeleted(ctx, hidden.ID))

	keys := []string{"id", "name", "unit", "creator", "archive_policy_name", "resource_id", "status"}
	directions := []string{"", ":asc", ":desc", ":asc-nullsfirst", ":asc-nullslast", ":desc-nullsfirst",
		":desc-nullslast"}
	var listings [][]string
	for _, key := range keys {
		for _, direction := range directions {
			listings = append(listings, []string{key + direction})
		}
	}
	for range 25 {
		sorts := make([]string, random.IntN(4))
		for i := range sorts {
			sorts[i] = keys[random.IntN(len(keys))] + directions[random.IntN(len(directions))]
		}
		listings = append(listings, sorts)
	}
	for _, sorts := range listings {
		want := slices.SortedFunc(slices.Values(all), func(a, b Metric) int { return compareBy(sorts, &a, &b) })
		if diff := gocmp.Diff(want, value(x.Metrics(ctx, Filter{}, Page{Sorts: sorts}))(t)); diff != "" {
			t.Fatalf("sorted by %q (-want +got):\n%s", sorts, diff)
		}
		size := []int{1, 7, 13, 20, 40, 41, 7, 13, 20}[random.IntN(9)]
		var got []Metric
		for page := (Page{Limit: size, Sorts: sorts}); ; page.Marker = got[len(got)-1].ID.String() {
			next := value(x.Metrics(ctx, Filter{}, page))(t)
			if len(next) != min(size, len(all)-len(got)) {
				t.Fatalf("sorted by %q: a page after %d has %d metrics", sorts, len(got), len(next))
			}
			if len(next) == 0 {
				break
			}
			got = append(got, next...)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("pages of %d, sorted by %q (-want +got):\n%s", size, sorts, diff)
		}
	}
}

func randomMetrics(random *rand.Rand, n int) []Metric {
	texts := []string{"", "a", "B", "b", "ä", "z"}
	text := func() *string {
		if i := random.IntN(len(texts) + 3); i < len(texts) {
			return &texts[i]
		}
		return nil
	}
	metrics := make([]Metric, n)
	for i := range metrics {
		m := &metrics[i]
		*m = Metric{
			ID: ingest.NewMetricID(), Name: text(), Unit: text(), Creator: texts[random.IntN(len(texts))],
			Policy: []string{"low", "medium", "high"}[random.IntN(3)],
		}
		if random.IntN(3) > 0 {
			m.Resource = &[16]byte{byte(random.IntN(3)), 15: 0xff}
			name := fmt.Sprint(i) // unique in the resource
			m.Name = &name
		}
	}
	return metrics
}

// compareBy is the order of a listing, written from the API's description.
func compareBy(sorts []string, a, b *Metric) int {
	for _, sort := range sorts {
		key, direction, _ := strings.Cut(sort, ":")
		u, v := textOf(key, a), textOf(key, b)
		descending := strings.HasPrefix(direction, "desc")
		nullsFirst := strings.HasSuffix(direction, "-nullsfirst") || descending &&
			!strings.HasSuffix(direction, "-nullslast")
		order := 0
		switch {
		case u == nil && v == nil:
		case u == nil:
			order = 1
		case v == nil:
			order = -1
		default:
			if order = strings.Compare(*u, *v); descending {
				order = -order
			}
		}
		if (u == nil) != (v == nil) && nullsFirst {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(a.ID.String(), b.ID.String())
}

func textOf(key string, m *Metric) *string {
	id, resource := m.ID.String(), ""
	switch key {
	case "id":
		return &id
	case "name":
		return m.Name
	case "unit":
		return m.Unit
	case "creator":
		return &m.Creator
	case "archive_policy_name":
		return &m.Policy
	case "resource_id":
		if m.Resource == nil {
			return nil
		}
		resource = ingest.MetricID(*m.Resource).String()
	}
	return &resource
}

// testRareFilters lists what few have, what many have and what nobody has.
func testRareFilters(t *testing.T, open opener) {
	x, ctx := withPolicies(t, open, Config{}), t.Context()
	many := make([]Metric, rareMetrics+50)
	common, few, nobody, none := "common", "few", "nobody", ""
	for i := range many {
		many[i] = metric(fmt.Sprint(i % 7))
		many[i].Unit, many[i].Creator = &common, "alice:p1"
	}
	for i := range 5 {
		many[1000*i].Unit = &few
		many[900*i+7].Creator = "bob:p2"
		many[800*i+9].Policy = "high"
	}
	many[3].Creator, many[4].Creator = "bob:", "carol:p2"
	must(t, x.CreateMetrics(ctx, many))
	must(t, x.MarkDeleted(ctx, many[0].ID)) // a rare one
	check := func(f Filter, selected func(m *Metric) bool) {
		t.Helper()
		var want []Metric
		for i := range many[1:] {
			if m := &many[1+i]; selected(m) {
				want = append(want, *m)
			}
		}
		for _, sorts := range [][]string{{"id"}, {"name:desc", "unit"}} {
			slices.SortFunc(want, func(a, b Metric) int { return compareBy(sorts, &a, &b) })
			whole := value(x.Metrics(ctx, f, Page{Sorts: sorts}))(t)
			if diff := gocmp.Diff(want, whole); diff != "" {
				t.Fatalf("%+v by %q (-want +got):\n%s", f, sorts, diff)
			}
			if len(want) < 3 {
				continue
			}
			page := value(x.Metrics(ctx, f, Page{Sorts: sorts, Limit: 2, Marker: want[0].ID.String()}))(t)
			if diff := gocmp.Diff(want[1:3], page); diff != "" {
				t.Errorf("a page of %+v by %q (-want +got):\n%s", f, sorts, diff)
			}
		}
	}
	high, bob, p1, p2 := "high", "bob:p2", "p1", "p2"
	isNot := func(*Metric) bool { return false }
	check(Filter{Unit: &few}, func(m *Metric) bool { return *m.Unit == few })
	check(Filter{Unit: &common}, func(m *Metric) bool { return *m.Unit == common })
	check(Filter{Policy: &high}, func(m *Metric) bool { return m.Policy == high })
	check(Filter{Creator: &bob}, func(m *Metric) bool { return m.Creator == bob })
	check(Filter{Unit: &common, Creator: &bob}, func(m *Metric) bool { return *m.Unit == common && m.Creator == bob })
	check(Filter{Project: &p2}, func(m *Metric) bool { return strings.HasSuffix(m.Creator, ":p2") })
	check(Filter{Project: &p1, Policy: &high}, func(m *Metric) bool {
		return m.Policy == high &&
			m.Creator == "alice:p1"
	})
	check(Filter{Project: &none}, func(m *Metric) bool { return m.Creator == "bob:" })
	for _, f := range []Filter{{Unit: &nobody}, {Policy: &nobody}, {Creator: &nobody}, {Project: &nobody},
		{Unit: &few, Policy: &nobody}} {
		check(f, isNot)
	}
}
