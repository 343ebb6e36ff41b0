package carbonara

import (
	"context"
	"strings"
	"testing"

	"millrace/ingest"
)

// problems returns what Check complains about.
func problems(t *testing.T, store Store) string {
	t.Helper()
	var text strings.Builder
	err := Check(t.Context(), store, func(r Report) {
		for _, p := range r.Problems {
			text.WriteString(p.Error() + "\n")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// The raw segments cover the log in order, none a part of what another does,
// but for the pieces of one run.
func TestCheckOffsets(t *testing.T) {
	type piece struct {
		from, to ingest.Offset
		run      string
	}
	f := func(want string, pieces ...piece) {
		t.Helper()
		s := newSackTest(t, nil, Config{})
		for i := range int64(len(pieces)) {
			s.measure(ingest.NewMetricID(), 1000+i, 1)
			s.flush()
		}
		m := s.manifest()
		m.Applied = upTo(100)
		for i, p := range pieces {
			m.Segments[i].From, m.Segments[i].To, m.Segments[i].Run = p.from, p.to, p.run
		}
		if _, err := s.store.Swap(t.Context(), manifestName(0), s.store.objects[manifestName(0)].version, m.encode(),
			nil); err != nil {
			t.Fatal(err)
		}
		got := problems(t, s.store)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%v: problems %q, want %q", pieces, got, want)
		}
	}
	f("", piece{0, 3, ""}, piece{3, 5, ""}, piece{7, 9, ""})
	f("", piece{0, 3, "a"}, piece{0, 3, "a"}, piece{3, 5, ""})
	f("of which the segment before it holds a part", piece{0, 3, ""}, piece{0, 3, ""})
	f("of which the segment before it holds a part", piece{0, 5, ""}, piece{3, 5, ""})
	f("of which the segment before it holds a part", piece{3, 5, ""}, piece{0, 3, ""})
	f("has been applied up to 100", piece{0, 101, ""})
}

// A changingStore does something before the first read of a segment.
type changingStore struct {
	*memoryStore
	change func()
}

func (s *changingStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	if do := s.change; do != nil && strings.HasSuffix(name, ".parquet") {
		s.change = nil
		do()
	}
	return s.memoryStore.Read(ctx, name, unless, ranges)
}

// Check may look at a deployment that is at work.
func TestCheckWhileMerging(t *testing.T) {
	s := newSackTest(t, nil, Config{MergeWidth: 4, Grace: 1})
	id := ingest.NewMetricID()
	for i := range int64(6) {
		s.measure(id, 1000+i, 1)
		s.flush()
	}
	store := &changingStore{memoryStore: s.store}
	store.change = func() {
		s.maintain() // merges
		s.now = s.now.Add(1)
		s.maintain()                           // deletes what was merged
		if n := len(s.store.objects); n != 4 { // the layout, the manifest, one raw segment and one of state
			t.Fatalf("%d objects", n)
		}
	}
	if got := problems(t, store); got != "" {
		t.Error(got)
	}
}

// A manifest that is gone is not an empty sack.
func TestManifestMissing(t *testing.T) {
	s := newSackTest(t, nil, Config{})
	s.measure(ingest.NewMetricID(), 1000, 1)
	s.flush()
	delete(s.store.objects, manifestName(0))
	if _, _, err := s.driver.Open(t.Context(), 0); err == nil ||
		!strings.Contains(err.Error(), "manifest.json is missing") {
		t.Errorf("open: %v", err)
	}
	err := Check(t.Context(), s.store, func(r Report) {
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "manifest.json is missing") {
			t.Errorf("check: %v", r.Problems)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
