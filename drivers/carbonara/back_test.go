package carbonara

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// A goBackTest is a sack whose measures count, and the log that they come from.
type goBackTest struct {
	*sackTest
	id  ingest.MetricID
	log []ingest.Record
}

func newGoBackTest(t *testing.T, c Config) *goBackTest {
	s := newSackTest(t, nil, c)
	s.store.mayGoBack = true
	return &goBackTest{sackTest: s, id: ingest.NewMetricID()}
}

// write adds a measure to the log and applies it.
func (g *goBackTest) write() {
	g.t.Helper()
	g.log = append(g.log, ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{
		{Metric: g.id, Policy: "two", Measures: []ingest.Measure{{Time: (1000 + int64(len(g.log))) * 1e9, Value: 1}}}}})
	g.apply(g.log[len(g.log)-1])
}

// wantOver wants the tenure to have ended for one of the reasons.
func (g *goBackTest) wantOver(what string, err error, reasons ...error) {
	g.t.Helper()
	for _, reason := range reasons {
		if errors.Is(err, reason) {
			return
		}
	}
	g.t.Errorf("%s: %v; want %v", what, err, reasons)
}

// replay opens the sack again, delivers the log from the watermark, and wants all of
// it to be there once.
func (g *goBackTest) replay(want ingest.Offset) {
	g.t.Helper()
	g.open()
	if g.offset != want {
		g.t.Errorf("the sack opens at %d, want %d", g.offset, want)
	}
	for int(g.offset) < len(g.log) {
		g.apply(g.log[g.offset])
	}
	g.flush()
	rows := g.counts(g.id, time.Minute)
	n := 0.0
	for _, r := range rows {
		n += r.Value
	}
	if int(n) != len(g.log) {
		g.t.Errorf("counts %v, want %d in all", rows, len(g.log))
	}
	if got := problems(g.t, g.store); got != "" {
		g.t.Error(got)
	}
}

func TestGoesBackBeforeFlush(t *testing.T) {
	g := newGoBackTest(t, Config{})
	g.write()
	g.flush()
	back := g.store.mark()
	g.write()
	g.flush()
	back()
	g.write()
	err := g.tryFlush()
	g.wantOver("Flush", err, ingest.ErrWentBack)
	_, err = g.writer.Apply(t.Context(), nil)
	g.wantOver("Apply", err, ingest.ErrWentBack)
	g.wantOver("Maintain", g.writer.Maintain(t.Context()), ingest.ErrWentBack)
	if g.writer.Buffered() != 0 {
		t.Error("the buffer is kept")
	}
	g.replay(1)
}

// A flush whose answer was lost, and then what it did is lost as well.
func TestGoesBackAfterLostAnswer(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		var slow *slowStore
		s := newSackTest(t, func(m *memoryStore) Store { slow = &slowStore{memoryStore: m}; return slow }, Config{})
		g := &goBackTest{sackTest: s, id: ingest.NewMetricID()}
		g.write()
		g.flush()
		back := g.store.mark()
		g.write()
		g.flush()
		g.write()
		slow.lose = true
		if err := g.tryFlush(); err == nil {
			t.Fatal("a flush without an answer succeeds")
		}
		if arrived {
			slow.late()
		}
		back()
		err := g.tryFlush()
		g.wantOver("Flush", err, ingest.ErrWentBack)
		g.replay(1)
	}
}

// The store goes back between two opens, so that two owners have the same epoch:
// neither takes the other's manifest for its own.
func TestGoesBackBetweenOpens(t *testing.T) {
	for _, lost := range []bool{false, true} {
		var slow *slowStore
		s := newSackTest(t, func(m *memoryStore) Store { slow = &slowStore{memoryStore: m}; return slow }, Config{})
		g := &goBackTest{sackTest: s, id: ingest.NewMetricID()}
		g.write()
		g.flush()
		back := g.store.mark()
		g.open()
		first := g.writer
		g.write()
		g.write()
		if lost {
			slow.lose = true
			first.Flush(t.Context(), upTo(3))
		}
		back()
		other, err := New(t.Context(), g.store, somePolicies(), 1, Config{})
		if err != nil {
			t.Fatal(err)
		}
		second, watermark, err := other.Open(t.Context(), 0)
		if err != nil || watermark.Offset != 1 {
			t.Fatalf("opens at %d, %v; want 1", watermark.Offset, err)
		}
		if a, b := first.(*writer).current(), second.(*writer).current(); a.Epoch != b.Epoch || a.Tenure == b.Tenure {
			t.Fatalf("epochs %d and %d, tenures %s and %s", a.Epoch, b.Epoch, a.Tenure, b.Tenure)
		}
		if lost {
			slow.late() // refused
		}
		_, err = first.Flush(t.Context(), upTo(3))
		g.wantOver("the first owner's Flush", err, ingest.ErrFenced, ingest.ErrWentBack)
		g.wantOver("the first owner's Maintain", first.Maintain(t.Context()), ingest.ErrFenced, ingest.ErrWentBack)
		if _, err := second.Apply(t.Context(), []ingest.Delivery{{Offset: 1, Record: g.log[1]}}); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Flush(t.Context(), upTo(2)); err != nil {
			t.Errorf("the second owner's Flush: %v", err)
		}
		g.replay(2)
	}
}

// A merge, the store back to before it, and a while: what the stored manifest names
// is not deleted, whatever the one in memory says.
func TestGoesBackBeforeHousekeeping(t *testing.T) {
	for _, mayGoBack := range []bool{true, false} { // or its operator put it back
		g := newGoBackTest(t, Config{MergeWidth: 2, Grace: 5 * time.Minute})
		g.store.mayGoBack = mayGoBack
		for range 3 {
			g.write()
			g.flush()
		}
		back := g.store.mark()
		named := g.manifest().names()
		g.maintain() // merges
		if now := g.manifest(); len(now.Garbage) == 0 {
			t.Fatal("nothing was merged")
		}
		put := maps.Clone(g.store.objects)
		back()
		for name, o := range put { // a copy that lags behind may have more than its manifest says
			if strings.HasSuffix(name, segmentSuffix) {
				g.store.objects[name] = o
			}
		}
		g.now = g.now.Add(6 * time.Minute)
		g.wantOver("Maintain", g.writer.Maintain(t.Context()), ingest.ErrWentBack)
		for name := range named {
			if _, ok := g.store.objects[sackPrefix(0)+name]; !ok {
				t.Errorf("%s is named and has been deleted", name)
			}
		}
		g.replay(3)
	}
}

// The owner of a sack to which nobody writes finds out as well.
func TestGoesBackWhileIdle(t *testing.T) {
	for _, how := range []string{"Confirm", "Maintain", "Maintain after trouble"} {
		t.Run(how, func(t *testing.T) {
			g := newGoBackTest(t, Config{})
			g.write()
			g.flush()
			back := g.store.mark()
			g.write()
			g.flush()
			g.maintain()
			if offset, err := g.writer.Confirm(t.Context()); err != nil || offset != 2 {
				t.Errorf("Confirm: %d, %v", offset, err)
			}
			back()
			var err error
			switch how {
			case "Confirm":
				_, err = g.writer.Confirm(t.Context())
			case "Maintain":
				g.maintain() // it is too soon to look again
				g.now = g.now.Add(revalidateEvery)
				err = g.writer.Maintain(t.Context())
			default:
				g.driver.troubles.Add(1)
				err = g.writer.Maintain(t.Context())
			}
			g.wantOver(how, err, ingest.ErrWentBack)
			g.replay(1)
		})
	}
}

// A store that came back empty is an alarm, not a new deployment.
func TestComesBackEmpty(t *testing.T) {
	g := newGoBackTest(t, Config{})
	g.write()
	g.flush()
	clear(g.store.objects)
	g.write()
	err := g.tryFlush()
	g.wantOver("Flush", err, ingest.ErrWentBack)
	if _, _, err := g.driver.Open(t.Context(), 0); err == nil ||
		!strings.Contains(err.Error(), "manifest.json is missing") {
		t.Errorf("Open: %v", err)
	}
	q := ingest.Query{Metric: g.id, Policy: somePolicies()["two"], Granularity: time.Minute, Method: ingest.Count}
	if _, err := g.driver.Read(t.Context(), []ingest.Query{q}, make([][]ingest.Measure, 1), nil); err == nil {
		t.Error("a read of nothing succeeds")
	}
	for name := range g.store.objects {
		if !strings.HasSuffix(name, segmentSuffix) {
			t.Errorf("%s was made", name)
		}
	}
}

// What a writer has shown is not gone again when it ends, however fresh what readers knew before.
func TestReadsAfterWriter(t *testing.T) {
	for _, how := range []string{"Close", "Flush"} {
		g := newGoBackTest(t, Config{ViewTTL: time.Hour})
		q := ingest.Query{Metric: g.id, Policy: somePolicies()["two"], Granularity: time.Minute, Method: ingest.Count,
			From: ingest.MinTime, To: ingest.MaxTime}
		read := func() ([]ingest.Measure, error) {
			rows := make([][]ingest.Measure, 1)
			_, err := g.driver.Read(t.Context(), []ingest.Query{q}, rows, nil)
			return rows[0], err
		}
		if err := g.driver.Watermarks(t.Context(), []ingest.Sack{0}, make([]ingest.Offset, 1)); err != nil { // a look at nothing
			t.Fatal(err)
		}
		g.write()
		g.flush()
		if rows, err := read(); len(rows) != 1 || err != nil {
			t.Fatalf("%s: the owner shows %v, %v", how, rows, err)
		}
		if how == "Close" {
			if err := g.writer.Close(); err != nil {
				t.Fatal(err)
			}
			if rows, err := read(); len(rows) != 1 || err != nil {
				t.Errorf("after the owner: %v, %v", rows, err)
			}
			continue
		}
		clear(g.store.objects)
		g.write()
		g.wantOver(how, g.tryFlush(), ingest.ErrWentBack)
		if rows, err := read(); err == nil {
			t.Errorf("all is lost, and a read gives %v", rows)
		}
	}
}

// A manifest of another deployment is an alarm as well.
func TestForeignManifest(t *testing.T) {
	g, other := newGoBackTest(t, Config{}), newGoBackTest(t, Config{})
	g.write()
	g.flush()
	g.store.objects[manifestName(0)] = other.store.objects[manifestName(0)]
	g.write()
	err := g.tryFlush()
	g.wantOver("Flush", err, ingest.ErrWentBack)
	if _, _, err := g.driver.Open(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "is of deployment "+
		other.driver.layout.Load().Deployment) {
		t.Errorf("Open: %v", err)
	}
}

// A losingStore loses some of what was put before it is named.
type losingStore struct {
	*memoryStore
	lose int
}

func (s *losingStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	if s.lose > 0 && len(adds) > 0 {
		s.lose--
		s.memoryStore.Delete(ctx, []string{adds[0].Name})
	}
	return s.memoryStore.Swap(ctx, name, old, data, adds)
}

// What was lost between the put and the swap is put again.
func TestPutAgain(t *testing.T) {
	var losing *losingStore
	s := newSackTest(t, func(m *memoryStore) Store { losing = &losingStore{memoryStore: m}; return losing },
		Config{MergeWidth: 2})
	g := &goBackTest{sackTest: s, id: ingest.NewMetricID()}
	g.write()
	losing.lose = putTries - 1
	g.flush()
	g.write()
	losing.lose = putTries
	if err := g.tryFlush(); !errors.Is(err, ErrMissing) {
		t.Errorf("Flush: %v; want ErrMissing", err)
	}
	g.flush() // the buffer is still good
	losing.lose = 1
	if err := g.writer.Maintain(t.Context()); !errors.Is(err, ErrMissing) {
		t.Errorf("Maintain: %v; want ErrMissing", err)
	}
	g.maintain()
	if n := g.driver.Stats().Merges; n != 1 {
		t.Errorf("%d merges", n)
	}
	g.replay(2)
}

// A manifest with something in it that this program doesn't know is read, and not
// written: that would strip it.
func TestNewerManifest(t *testing.T) {
	for _, change := range []struct{ old, new string }{
		{`{"format":2,`, `{"format":3,`},
		{`{"format":2,`, `{"format":2,"compaction":{},`},
		{`"kind":"raw",`, `"kind":"raw","shard":3,`},
	} {
		g := newGoBackTest(t, Config{})
		g.write()
		g.flush()
		o := g.store.objects[manifestName(0)]
		body := o.data[:len(o.data)-checksumLength-1]
		text := strings.Replace(string(body), change.old, change.new, 1) + "}"
		newer := checksummed([]byte(text))
		if _, err := g.store.Swap(t.Context(), manifestName(0), o.version, newer, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := g.driver.Open(t.Context(), 0); !errors.Is(err, ingest.ErrNewer) {
			t.Errorf("%s: Open: %v; want ErrNewer", change.new, err)
		}
		if now := g.store.objects[manifestName(0)].data; string(now) != string(newer) {
			t.Errorf("%s: it was changed to %s", change.new, now)
		}
		if strings.Contains(change.new, "format\":2") || strings.Contains(change.new, "shard") {
			if rows := g.counts(g.id, time.Minute); len(rows) != 1 {
				t.Errorf("%s: counts %v", change.new, rows)
			}
		}
	}
}
