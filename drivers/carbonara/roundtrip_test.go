package carbonara

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"millrace/ingest"
)

// A distantStore takes 50 ms for everything, as S3 does.
type distantStore struct {
	*memoryStore
	reads int
}

const distance = 50 * time.Millisecond

func (s *distantStore) Put(ctx context.Context, name string, data []byte) error {
	time.Sleep(distance)
	return s.memoryStore.Put(ctx, name, data)
}

func (s *distantStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	time.Sleep(distance)
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.memoryStore.Read(ctx, name, unless, ranges)
}

func (s *distantStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	time.Sleep(distance)
	return s.memoryStore.Swap(ctx, name, old, data, adds)
}

func (s *distantStore) List(ctx context.Context, prefix string) ([]Object, error) {
	time.Sleep(distance)
	return s.memoryStore.List(ctx, prefix)
}

func (s *distantStore) Delete(ctx context.Context, names []string) error {
	time.Sleep(distance)
	return s.memoryStore.Delete(ctx, names)
}

// onFakeClock runs a test on synctest's clock, in a process of its own: the codec's
// pools hold channels, which no other test may then touch.
func onFakeClock(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	const alone = "MILLRACE_TEST_ALONE"
	if os.Getenv(alone) == t.Name() {
		synctest.Test(t, test)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), alone+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// sackFar makes a sack with large raw segments on a distant store.
func sackFar(t *testing.T, segments int) (store *distantStore, owner *Driver, writer ingest.SackWriter,
	ids []ingest.MetricID) {
	t.Helper()
	store = &distantStore{memoryStore: newMemoryStore()}
	store.largest = 64 << 20
	owner, err := New(t.Context(), store, benchPolicies(), 1, Config{ViewTTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	writer, _, err = owner.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 6000 {
		ids = append(ids, ingest.NewMetricID())
	}
	for n := range segments {
		r := benchRecord(ids, 1_700_000_000e9+int64(n)*10*int64(time.Minute), 10, random)
		if _, err := writer.Apply(t.Context(), []ingest.Delivery{{Offset: ingest.Offset(n), Record: r}}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Flush(t.Context(), upTo(ingest.Offset(n)+1)); err != nil {
			t.Fatal(err)
		}
	}
	return store, owner, writer, ids
}

// A read of one metric out of 21 raw segments takes three round trips when nothing is
// known (the manifest, the ends of the segments, their pages), and afterwards one to
// see whether the manifest has changed, or none as long as that was seen lately. (One
// after the other it would be 43 and 22.)
func TestReadRoundTrips(t *testing.T) {
	onFakeClock(t, func(t *testing.T) {
		const segments = 21
		store, owner, _, ids := sackFar(t, segments)
		for _, s := range owner.views[0].writer.Load().current().Segments {
			if s.Bytes < 100<<10 {
				t.Fatalf("segment %s has only %d bytes: it is read whole", s.Name, s.Bytes)
			}
		}
		q := []ingest.Query{{Metric: ids[1000], Policy: benchPolicies()["medium"], Granularity: time.Minute,
			Method: ingest.Sum, From: ingest.MinTime, To: ingest.MaxTime}}
		var at ingest.Position
		read := func(what string, d *Driver, trips int) {
			t.Helper()
			began := time.Now()
			rows := make([][]ingest.Measure, 1)
			if _, err := d.Read(t.Context(), q, rows, at); err != nil {
				t.Fatal(err)
			}
			if len(rows[0]) != 10*segments {
				t.Errorf("%s: %d rows, want %d", what, len(rows[0]), 10*segments)
			}
			if took := time.Since(began); took != time.Duration(trips)*distance {
				t.Errorf("%s takes %s, want %d round trips", what, took, trips)
			}
		}
		reader, err := New(t.Context(), store, benchPolicies(), 1, Config{ViewTTL: time.Second, CacheBytes: 32 << 20})
		if err != nil {
			t.Fatal(err)
		}
		read("a cold read", reader, 3)
		read("a warm read", reader, 0)
		time.Sleep(time.Second)
		read("a warm read a while later", reader, 1)
		read("another", reader, 0)
		at = ingest.Position{segments}
		read("one that must see all that it knows of", reader, 0)
		at = nil
		time.Sleep(time.Second)
		read("a read by the owner", owner, 1)
		read("another read by the owner", owner, 0)
	})
}

// What its writer has kept costs it no request: the merge of what was just flushed
// only puts and swaps.
func TestFirstMergeCostsNoRead(t *testing.T) {
	onFakeClock(t, func(t *testing.T) {
		store, owner, writer, _ := sackFar(t, 8)
		store.reads = 0
		if err := writer.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := owner.Stats(); s.Merges+s.Seals == 0 {
			t.Error("nothing was merged")
		}
		if store.reads > 0 {
			t.Errorf("%d reads", store.reads)
		}
	})
}

// Whoever takes a sack over reads its segments side by side, and so do merges and
// seals of what somebody else has written.
func TestTakeOverRoundTrips(t *testing.T) {
	onFakeClock(t, func(t *testing.T) {
		store, _, _, _ := sackFar(t, 21)
		other, err := New(t.Context(), store, benchPolicies(), 1, Config{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		writer, _, err := other.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*distance { // manifest, swap, ends and beginnings
			t.Errorf("a take-over takes %s", took)
		}
		began = time.Now()
		if err := writer.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := other.Stats(); s.Seals+s.Merges == 0 {
			t.Errorf("nothing was done: %+v", s)
		}
		if took := time.Since(began); took > 6*distance {
			t.Errorf("the first housekeeping takes %s", took)
		}
		t.Logf("the first housekeeping takes %s: %d seals, %d merges", time.Since(began), other.Stats().Seals,
			other.Stats().Merges)
	})
}
