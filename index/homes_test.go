package index

import (
	"testing"

	"millrace/ingest"
)

// What is remembered of resources stays within its bound, and what was asked before
// something was forgotten is not remembered.
func TestHomes(t *testing.T) {
	const most = 10
	h := newHomes(most)
	ids := make([]ResourceID, 3*most)
	info := ResourceInfo{Type: "generic", Creator: "admin", Found: true}
	for i := range ids {
		ids[i] = ingest.NewMetricID()
		h.add(0, map[ResourceID]ResourceInfo{ids[i]: info})
	}
	infos := make([]ResourceInfo, len(ids))
	unknown, asked := h.find(ids, infos)
	if len(unknown) != len(ids)-most || infos[len(ids)-1] != info {
		t.Errorf("%d are unknown; the last is %+v", len(unknown), infos[len(ids)-1])
	}
	h.forget(ids[:1], false)
	h.add(asked, map[ResourceID]ResourceInfo{ids[0]: info})
	if unknown, _ := h.find(ids[:1], infos); len(unknown) != 1 {
		t.Error("what was asked before something was forgotten is remembered")
	}
	h.forget(nil, true)
	if unknown, _ := h.find(ids, infos); len(unknown) != len(ids) {
		t.Errorf("%d are unknown", len(unknown))
	}
}

// BenchmarkLookupResources looks up 1,000 resources that are known.
func BenchmarkLookupResources(b *testing.B) {
	x := openIndexBench(b, "sqlite::memory:", Config{})
	resources, ids := make([]Resource, 1000), make([]ResourceID, 1000)
	for i := range resources {
		ids[i] = ingest.NewMetricID()
		resources[i] = Resource{ID: ids[i], Type: GenericType, Original: "r", Creator: "admin"}
	}
	if _, err := x.EnsureNamed(b.Context(), resources, nil); err != nil {
		b.Fatal(err)
	}
	infos := make([]ResourceInfo, len(ids))
	b.ReportAllocs()
	for b.Loop() {
		if err := x.LookupResources(b.Context(), ids, infos); err != nil || !infos[999].Found {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/resource")
}
