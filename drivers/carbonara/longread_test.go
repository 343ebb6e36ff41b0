//go:build !race

package carbonara

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// A meteredStore counts the bytes that are read from it.
type meteredStore struct {
	*memoryStore
	bytes atomic.Int64
}

func (s *meteredStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	c, err := s.memoryStore.Read(ctx, name, unless, ranges)
	for _, data := range c.Data {
		s.bytes.Add(int64(len(data)))
	}
	return c, err
}

// longPolicy seals nothing of a test's data.
func longPolicy() policyMap {
	methods := ingest.DefaultMethods()
	methods.Add(ingest.Mean.OfRate())
	return policyMap{"long": {Name: "long", Methods: methods, BackWindow: 1000, Definitions: []ingest.Definition{
		{Granularity: time.Second}, {Granularity: time.Minute}, {Granularity: time.Hour},
		{Granularity: 10 * time.Second, Points: 5000, Timespan: 50_000 * time.Second}}}}
}

// unsealed makes a sack with a long series of seconds, some gaps and double timestamps in
// it, between two short ones: none of it is sealed, and the end is not flushed.
func unsealed(t *testing.T, rows int, c Config) (*meteredStore, *Driver, []ingest.MetricID) {
	t.Helper()
	store := &meteredStore{memoryStore: newMemoryStore()}
	d, err := New(t.Context(), store, longPolicy(), 1, c)
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := d.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ids := []ingest.MetricID{ingest.NewMetricID(), ingest.NewMetricID(), ingest.NewMetricID()}
	random := rand.New(rand.NewPCG(5, 6))
	clock := int64(1_700_000_000e9)
	const piece = 5000
	for offset := range rows / piece {
		measures := make([]ingest.Measure, piece)
		for i := range measures {
			switch clock += 1e9; random.IntN(3000) {
			case 0:
				clock += 3600e9
			case 1:
				clock -= 30e9
			}
			measures[i] = ingest.Measure{Time: clock + random.Int64N(5)*1e8, Value: float64(random.IntN(1000))}
		}
		r := ingest.Record{Kind: ingest.RecordMeasures}
		for i, id := range ids {
			e := ingest.Entry{Metric: id, Policy: "long", Measures: measures}
			if i != 1 {
				e.Measures = measures[:3]
			}
			r.Entries = append(r.Entries, e)
		}
		if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: ingest.Offset(offset), Record: r}}); err != nil {
			t.Fatal(err)
		}
		if offset == rows/piece-1 {
			break
		}
		if _, err := w.Flush(t.Context(), upTo(ingest.Offset(offset)+1)); err != nil {
			t.Fatal(err)
		}
		if err := w.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d.Stats().Seals > 0 && len(w.(*writer).current().of("sealed")) > 0 {
		t.Fatal("something is sealed")
	}
	return store, d, ids
}

// inPieces reads a query some rows at a time.
func inPieces(t *testing.T, d *Driver, q ingest.Query, limit int) (all []ingest.Measure, pieces int) {
	t.Helper()
	q.Limit = limit
	for {
		dst := make([][]ingest.Measure, 1)
		if _, err := d.Read(t.Context(), []ingest.Query{q}, dst, nil); err != nil {
			t.Fatal(err)
		}
		pieces++
		all = append(all, dst[0]...)
		if n := len(dst[0]); n > limit {
			t.Fatalf("%d rows, limit %d", n, limit)
		} else if n < limit {
			return all, pieces
		}
		q.From = all[len(all)-1].Time + int64(q.Granularity)
	}
}

// A series that is read in pieces is the one that is read as a whole, for the owner of its
// sack and for others.
func TestLongReadsInPieces(t *testing.T) {
	store, owner, ids := unsealed(t, 50_000, Config{MergeWidth: 3, CacheBytes: 1 << 20})
	other, err := New(t.Context(), store, longPolicy(), 1, Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := longPolicy()["long"]
	for _, d := range []*Driver{owner, other} {
		for _, id := range ids {
			for _, def := range p.Definitions {
				for _, m := range []ingest.Method{ingest.Mean, ingest.Count, ingest.Mean.OfRate()} {
					for _, ends := range [][2]int64{{ingest.MinTime, ingest.MaxTime}, {1_700_020_000e9, 1_700_070_030e9}} {
						q := ingest.Query{Metric: id, Policy: p, Granularity: def.Granularity, Method: m, From: ends[0], To: ends[1]}
						whole := make([][]ingest.Measure, 1)
						if _, err := d.Read(t.Context(), []ingest.Query{q}, whole, nil); err != nil {
							t.Fatal(err)
						}
						limit := 2 + len(whole[0])/7
						got, _ := inPieces(t, d, q, limit)
						if diff := cmp.Diff(whole[0], got); diff != "" {
							t.Fatalf("%s %s from %d, %d at a time (-whole +pieces):\n%.2000s", m, def.Granularity, ends[0], limit, diff)
						}
					}
				}
			}
		}
	}
}

// However many pieces an unsealed series is read in, its rows are read once or twice.
func TestLongReadsAreLinear(t *testing.T) {
	store, d, ids := unsealed(t, 400_000, Config{CacheBytes: 4 << 20})
	p := longPolicy()["long"]
	for _, m := range []ingest.Method{ingest.Mean, ingest.Mean.OfRate()} {
		q := ingest.Query{Metric: ids[1], Policy: p, Granularity: time.Second, Method: m, From: ingest.MinTime,
			To: ingest.MaxTime}
		read := func(limit int) (bytes int64, pieces int) {
			d.files.mu.Lock()
			d.files.most = 400 << 10 // footers, and little else
			d.files.mu.Unlock()
			before := store.bytes.Load()
			_, pieces = inPieces(t, d, q, limit)
			return store.bytes.Load() - before, pieces
		}
		whole, _ := read(1 << 30)
		bytes, pieces := read(16_384)
		t.Logf("%s: %d bytes in one piece, %d in %d", m, whole, bytes, pieces)
		if bytes > 3*whole {
			t.Errorf("%s: %d bytes are read for %d pieces, and %d for one", m, bytes, pieces, whole)
		}
	}
}
