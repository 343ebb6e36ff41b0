package index

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"millrace/ingest"
)

// BenchmarkSearchResources looks for resources among 100,000 of a type, and for
// metrics of the page that is found: 10 by their own value of an attribute, a page of
// 1,000 of those that have one of 100 values, of half of them, and from the middle.
func BenchmarkSearchResources(b *testing.B) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + b.TempDir() + "/index.db" },
		"postgres": func() string { return postgres(b) },
	} {
		b.Run(name, func(b *testing.B) {
			x := openIndexBench(b, url(), Config{})
			instance := fillResources(b, x, 100_000)
			if name == "postgres" { // as it does itself within a minute
				if _, err := x.database.writes.Exec("ANALYZE"); err != nil {
					b.Fatal(err)
				}
			}
			is := func(name string, v any) *Expr {
				f, _ := instance.Field(name, false)
				return &Expr{Op: OpEq, Field: f, Value: v}
			}
			var middle string
			n := 0
			if err := x.Resources(b.Context(), Search{Type: instance}, Page{Sorts: defaultOrder}, func(r *Resource) error {
				if n++; n == 50_000 {
					middle = r.ID.String()
				}
				return nil
			}); err != nil || n != 100_000 {
				b.Fatal(n, err)
			}
			host, _ := instance.Field("host", false)
			for _, c := range []struct {
				name  string
				where *Expr
				page  Page
				want  int
			}{
				{"one", is("host", "host-777"), Page{Limit: 1000, Sorts: defaultOrder}, 1},
				{"prefix", &Expr{Op: OpLike, Field: host, Value: "host-777%"}, Page{Limit: 1000, Sorts: defaultOrder}, 111},
				{"of 100", is("flavor", "flavor-7"), Page{Limit: 1000, Sorts: defaultOrder}, 1000},
				{"half", is("active", true), Page{Limit: 1000, Sorts: defaultOrder}, 1000},
				{"both", &Expr{Op: OpAnd, Args: []Expr{*is("flavor", "flavor-7"), *is("active", false)}},
					Page{Limit: 100, Sorts: defaultOrder}, 100},
				{"number", is("vcpus", 777.0), Page{Limit: 1000, Sorts: defaultOrder}, 100},
				{"all, from the middle", nil, Page{Limit: 1000, Sorts: defaultOrder, Marker: middle}, 1000},
				{"all, by an attribute", nil, Page{Limit: 1000, Sorts: []string{"flavor"}}, 1000},
			} {
				b.Run(c.name, func(b *testing.B) {
					var took []time.Duration
					for b.Loop() {
						begun, found := time.Now(), 0
						err := x.Resources(b.Context(), Search{Type: instance, Where: c.where}, c.page,
							func(*Resource) error { found++; return nil })
						if err != nil || found != c.want {
							b.Fatal(found, err)
						}
						took = append(took, time.Since(begun))
					}
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				})
			}
		})
	}
}

var defaultOrder = []string{"revision_start:asc", "started_at:asc"}

// fillResources creates resources of a type, in an index that has none.
func fillResources(b *testing.B, x *Index, n int) *ResourceType {
	b.Helper()
	err := x.CreateResourceType(b.Context(), &ResourceType{Name: "instance", Attributes: []Attribute{
		{Name: "host", Type: AttributeString}, {Name: "flavor", Type: AttributeString},
		{Name: "vcpus", Type: AttributeNumber}, {Name: "active", Type: AttributeBool},
	}})
	if err != nil {
		b.Fatal(err)
	}
	list := make([]Resource, n)
	for i := range list {
		list[i] = Resource{ID: ingest.NewMetricID(), Type: "instance", Original: fmt.Sprintf("r%d", i), Creator: "admin",
			Attributes: map[string]any{"host": fmt.Sprintf("host-%d", i), "flavor": fmt.Sprintf("flavor-%d", i%100),
				"vcpus": json.Number(fmt.Sprint(i % 1000)), "active": i%200 < 100}}
	}
	for some := range slices.Chunk(list, 10_000) {
		if _, err := x.EnsureNamed(b.Context(), some, nil); err != nil {
			b.Fatal(err)
		}
	}
	t, err := x.ResourceType(b.Context(), "instance")
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func openIndexBench(b *testing.B, url string, config Config) *Index {
	b.Helper()
	x := openIndex(b, url, config)
	if _, err := x.CreateDefaults(b.Context()); err != nil {
		b.Fatal(err)
	}
	return x
}

// BenchmarkCreateNamed creates 10,000 metrics of 1,000 resources at once, as a batch
// that names metrics which don't exist does.
func BenchmarkCreateNamed(b *testing.B) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + b.TempDir() + "/index.db" },
		"postgres": func() string { return postgres(b) },
	} {
		b.Run(name, func(b *testing.B) {
			x := openIndexBench(b, url(), Config{})
			const batch, of = 10_000, 10
			for b.Loop() {
				resources, metrics := make([]Resource, batch/of), make([]Metric, batch)
				for i := range resources {
					resources[i] = Resource{ID: ingest.NewMetricID(), Type: GenericType, Creator: "admin"}
				}
				for i := range metrics {
					name := fmt.Sprintf("disk.device.%d.read.bytes", i%of)
					metrics[i] = Metric{ID: ingest.NewMetricID(), Name: &name, Creator: "admin", Policy: "low",
						Resource: (*[16]byte)(&resources[i/of].ID)}
				}
				if _, err := x.EnsureNamed(b.Context(), resources, nil); err != nil {
					b.Fatal(err)
				}
				if err := x.CreateNamed(b.Context(), metrics); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "metrics/s")
		})
	}
}

// BenchmarkLookupNamed looks up 1,000 metrics of 100 resources that are cached.
func BenchmarkLookupNamed(b *testing.B) {
	const resources, of = 100_000, 10
	c := newNamedCache(2 << 20)
	before := heap()
	ids := make([]ResourceID, resources)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
		found := make([]foundMetric, of)
		for j := range found {
			found[j] = foundMetric{ids[i], fmt.Sprintf("disk.device.%d.read.bytes", j), ingest.NewMetricID(),
				MetricInfo{Policy: "low", Creator: "admin", Found: true}}
		}
		c.add(0, found)
	}
	size := heap() - before
	names := make([][]byte, of)
	for j := range names {
		names[j] = fmt.Appendf(nil, "disk.device.%d.read.bytes", j)
	}
	refs, entries, infos := make([]MetricRef, 1_000), make([]ingest.Entry, 1_000), make([]MetricInfo, 1_000)
	next := 0
	b.ReportAllocs()
	for b.Loop() {
		for i := range refs {
			refs[i] = MetricRef{ids[next/of], names[next%of]}
			next = (next + 1) % (resources * of)
		}
		if missing := c.find(refs, entries, infos); len(missing) > 0 {
			b.Fatal(missing)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1_000, "ns/metric")
	b.ReportMetric(float64(size)/float64(resources*of), "B/metric")
	runtime.KeepAlive(ids)
}
