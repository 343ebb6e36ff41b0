package ingest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A memoryLog is a log without durability: enough to test what happens before
// and behind one.
type memoryLog struct {
	mu      sync.Mutex
	sacks   [][]Delivery
	changed chan struct{} // closed and replaced by every Append
	fail    error
	block   chan struct{} // when set, Append waits for it
	free    int64
	applied Position
	id      LogID
	foreign error       // what Check returns
	checked []Watermark // what Check was asked about
}

func newMemoryLog(sacks int) *memoryLog {
	return &memoryLog{sacks: make([][]Delivery, sacks), changed: make(chan struct{}), free: 1 << 40,
		applied: make(Position, sacks), id: LogID{ID: "memory"}}
}

func (l *memoryLog) Append(ctx context.Context, out []Outgoing) error {
	if l.block != nil {
		select {
		case <-l.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	for i := range out {
		s := out[i].Sack
		out[i].Offset = Offset(10 * len(l.sacks[s]))
		r := *out[i].Record
		r.Entries = slices.Clone(r.Entries)
		for j := range r.Entries {
			r.Entries[j].Measures = slices.Clone(r.Entries[j].Measures)
		}
		l.sacks[s] = append(l.sacks[s], Delivery{Offset: out[i].Offset, Record: r})
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func (l *memoryLog) End(context.Context) (Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := make(Position, len(l.sacks))
	for s, list := range l.sacks {
		if n := len(list); n > 0 {
			end[s] = list[n-1].Offset + 1
		}
	}
	return end, nil
}

func (l *memoryLog) Fetch(ctx context.Context, sack Sack, from Offset, dst *Deliveries) error {
	dst.Reset()
	for {
		l.mu.Lock()
		for _, d := range l.sacks[sack] {
			if d.Offset >= from {
				d.Record.Entries = slices.Clone(d.Record.Entries)
				for j := range d.Record.Entries {
					d.Record.Entries[j].Measures = slices.Clone(d.Record.Entries[j].Measures)
				}
				dst.List = append(dst.List, d)
			}
		}
		changed := l.changed
		l.mu.Unlock()
		if len(dst.List) > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *memoryLog) Applied(sack Sack, watermark Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied[sack] = watermark
}

func (l *memoryLog) Backlog(_ context.Context, sack Sack, from Offset) (b Backlog, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.End = from
	for _, d := range l.sacks[sack] {
		if d.Offset >= from {
			b.End = max(b.End, d.Offset+1)
			b.Records++
			b.Bytes += 10
		}
	}
	return b, nil
}

func (l *memoryLog) Check(_ context.Context, _ Sack, at Watermark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked = append(l.checked, at)
	return l.foreign
}

func (l *memoryLog) Log() LogID { return l.id }

// wasAsked are the watermarks that Check was asked about.
func (l *memoryLog) wasAsked() []Watermark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.checked)
}

// toldApplied is what the log was told last to be applied of a sack.
func (l *memoryLog) toldApplied(sack Sack) Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applied[sack]
}

func (l *memoryLog) Room() (used, free int64) { return 0, l.free }

func metricN(n int) MetricID { return MetricID{14: byte(n >> 8), 15: byte(n)} }

// batchOf makes a batch of n metrics with measures at the times given.
func batchOf(n int, times ...int64) *Batch {
	b := &Batch{Project: "p"}
	for i := range n {
		e := Entry{Metric: metricN(i), Policy: "low"}
		for j, t := range times {
			e.Measures = append(e.Measures, Measure{t, float64(j)})
		}
		b.Entries = append(b.Entries, e)
	}
	return b
}

func TestAccept(t *testing.T) {
	log := newMemoryLog(4)
	a := NewAcceptor(log, nil, 4, AcceptConfig{})
	ticket, refusals, err := a.Accept(t.Context(), batchOf(100, 3, 1, 2), false)
	if err != nil || refusals != nil {
		t.Fatal(refusals, err)
	}
	if ticket.Accepted != 300 || ticket.Refused != 0 {
		t.Errorf("ticket %+v", ticket)
	}
	end, _ := log.End(t.Context())
	if diff := cmp.Diff(end, ticket.Position); diff != "" {
		t.Errorf("position (-end +got): %s", diff)
	}
	seen := map[MetricID]bool{}
	for s, list := range log.sacks {
		if len(list) != 1 {
			t.Errorf("sack %d has %d records, want 1", s, len(list))
		}
		for _, e := range list[0].Record.Entries {
			seen[e.Metric] = true
			if SackOf(e.Metric, 4) != Sack(s) {
				t.Errorf("metric %s is in sack %d", e.Metric, s)
			}
			if diff := cmp.Diff([]Measure{{3, 0}, {1, 1}, {2, 2}}, e.Measures); diff != "" {
				t.Error(diff)
			}
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d metrics arrived, want 100", len(seen))
	}
}

func TestAcceptNothing(t *testing.T) {
	log := newMemoryLog(4)
	a := NewAcceptor(log, nil, 4, AcceptConfig{})
	ticket, _, err := a.Accept(t.Context(), batchOf(3), false)
	if err != nil || !make(Position, 4).Reached(ticket.Position) {
		t.Errorf("%+v, %v", ticket, err)
	}
	if end, _ := log.End(t.Context()); !make(Position, 4).Reached(end) {
		t.Errorf("an empty batch wrote up to %v", end)
	}
}

func TestAcceptFuture(t *testing.T) {
	log := newMemoryLog(1)
	a := NewAcceptor(log, nil, 1, AcceptConfig{MaxFuture: time.Hour})
	a.now = func() time.Time { return time.Unix(1000, 0) }
	limit := int64(4600 * time.Second)

	_, _, err := a.Accept(t.Context(), batchOf(2, 5, limit, limit+1), true)
	bad, ok := errors.AsType[*BadMeasureError](err)
	if !ok || bad.Entry != 0 || bad.Measure != 2 || bad.Metric != metricN(0) ||
		!strings.Contains(err.Error(), metricN(0).String()) {
		t.Fatalf("got %v", err)
	}
	if len(log.sacks[0]) != 0 {
		t.Fatal("a refused batch was written")
	}
	ticket, refusals, err := a.Accept(t.Context(), batchOf(2, 5, limit, limit+1), false)
	if err != nil || len(refusals) != 2 || ticket.Accepted != 4 || ticket.Refused != 2 {
		t.Fatalf("not strict: %+v %v %v", ticket, refusals, err)
	}
	if got := log.sacks[0][0].Record.Entries[1].Measures; len(got) != 2 {
		t.Errorf("not strict: wrote %v", got)
	}
	if _, _, err := a.Accept(t.Context(), batchOf(2, limit+1), false); err == nil || len(log.sacks[0]) != 1 {
		t.Errorf("a batch of which nothing is left: %v, %d records", err, len(log.sacks[0]))
	}
}

// A measure that is an hour ahead, which a wrong time zone makes, is refused where
// nobody has said otherwise.
func TestAcceptFutureDefault(t *testing.T) {
	a := NewAcceptor(newMemoryLog(1), nil, 1, AcceptConfig{})
	now := time.Now()
	_, refusals, err := a.Accept(t.Context(), batchOf(1, now.Add(29*time.Minute).UnixNano(),
		now.Add(time.Hour).UnixNano()), false)
	if err != nil || len(refusals) != 1 || refusals[0].Measure != 1 {
		t.Errorf("got %v, %v", refusals, err)
	}
}

// What doesn't fit into one record is cut so that judging the parts one after the
// other gives what judging the whole would.
func TestAcceptCutsLargeRecords(t *testing.T) {
	log := newMemoryLog(1)
	a := NewAcceptor(log, nil, 1, AcceptConfig{})
	const n = 150_000
	b := &Batch{Entries: []Entry{{Metric: metricN(1), Policy: "x"}, {Metric: metricN(2), Policy: "x"},
		{Metric: metricN(1), Policy: "x"}}}
	for i := range n {
		b.Entries[0].Measures = append(b.Entries[0].Measures, Measure{int64((i * 7919) % n), 1})
	}
	b.Entries[1].Measures = []Measure{{9, 9}}
	b.Entries[2].Measures = []Measure{{5, 2}} // says 5 again: it must stay the later
	ticket, _, err := a.Accept(t.Context(), b, false)
	if err != nil {
		t.Fatal(err)
	}
	records := log.sacks[0]
	if len(records) < 3 || ticket.First[0] != records[0].Offset ||
		ticket.Position[0] != records[len(records)-1].Offset+1 {
		t.Fatalf("%d records, ticket %+v", len(records), ticket)
	}
	count, last, value := 0, int64(-1), map[int64]float64{}
	for _, d := range records {
		if size := d.Record.Size(); size > MaxRecord {
			t.Errorf("a record of up to %d bytes", size)
		}
		for _, e := range d.Record.Entries {
			if e.Metric != metricN(1) {
				continue
			}
			for _, m := range e.Measures {
				if m.Time < last {
					t.Fatalf("%d comes after %d", m.Time, last)
				}
				last = m.Time
				value[m.Time] = m.Value
				count++
			}
		}
	}
	if count != n+1 || value[5] != 2 {
		t.Errorf("%d measures, at 5: %v; want %d and 2", count, value[5], n+1)
	}
}

// Names that fill a record leave no room for a measure.
func TestAcceptNamesTooLong(t *testing.T) {
	a := NewAcceptor(newMemoryLog(1), nil, 1, AcceptConfig{})
	for _, n := range []int{MaxRecord / 2, MaxRecord - RecordOverhead - EntryOverhead, MaxRecord} {
		b := batchOf(1, 1)
		b.Project, b.Entries[0].Policy = strings.Repeat("p", n), strings.Repeat("x", n)
		if _, _, err := a.Accept(t.Context(), b, false); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// What a batch costs grows with its measures, however often it names a metric. The
// memory that is taken stands for the work: time would not be told the same twice.
func TestAcceptLinear(t *testing.T) {
	cost := func(n int) float64 {
		a := NewAcceptor(discardLog{}, nil, 1, AcceptConfig{})
		b := &Batch{Entries: make([]Entry, n)}
		measures := make([]Measure, 2*n)
		for i := range b.Entries {
			b.Entries[i] = Entry{Metric: metricN(i % 2), Policy: "low", Measures: measures[2*i : 2*i+2]}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := a.Accept(t.Context(), b, false); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	few, many := cost(60_000), cost(240_000)
	if many > 6*few {
		t.Errorf("60,000 entries take %.0f bytes, four times as many %.1f times that", few, many/few)
	}
}

func TestAdmission(t *testing.T) {
	refused := func(t *testing.T, err error, quota bool, text string) {
		t.Helper()
		r, ok := errors.AsType[*RefusedError](err)
		if !ok || r.Quota != quota || r.RetryAfter <= 0 || !strings.Contains(r.Reason, text) {
			t.Errorf("got %v, want a refusal about %q", err, text)
		}
	}
	t.Run("bytes in flight", func(t *testing.T) {
		log := newMemoryLog(1)
		log.block = make(chan struct{})
		a := NewAcceptor(log, nil, 1, AcceptConfig{MaxInFlight: 100})
		first := make(chan error, 1)
		go func() {
			_, _, err := a.Accept(t.Context(), batchOf(10, 1, 2, 3), false) // alone, larger than the bound: let in
			first <- err
		}()
		for a.inFlight.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		_, _, err := a.Accept(t.Context(), batchOf(1, 1), false)
		refused(t, err, false, "on their way")
		close(log.block)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if _, _, err := a.Accept(t.Context(), batchOf(1, 1), false); err != nil {
			t.Error("after the first was done:", err)
		}
	})
	t.Run("room", func(t *testing.T) {
		log := newMemoryLog(1)
		log.free = 1000
		a := NewAcceptor(log, nil, 1, AcceptConfig{})
		_, _, err := a.Accept(t.Context(), batchOf(1, 1), false)
		refused(t, err, false, "room")
	})
	t.Run("age", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := NewProgress(1, nil)
			a := NewAcceptor(newMemoryLog(1), p, 1, AcceptConfig{MaxAge: time.Minute})
			p.pending(0, time.Now().Add(-time.Hour), time.Now()) // from before the start: counts from the start
			if _, _, err := a.Accept(t.Context(), batchOf(1, 1), false); err != nil {
				t.Error(err)
			}
			time.Sleep(61 * time.Second)
			_, _, err := a.Accept(t.Context(), batchOf(1, 1), false)
			refused(t, err, false, "waiting for 1m1s")
			p.set(0, 1)
			if _, _, err := a.Accept(t.Context(), batchOf(1, 1), false); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("quota", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := NewAcceptor(newMemoryLog(1), nil, 1, AcceptConfig{ProjectQuota: 2})
			if _, _, err := a.Accept(t.Context(), batchOf(25, 1), false); err != nil { // more than a burst, from a full bucket
				t.Fatal(err)
			}
			_, _, err := a.Accept(t.Context(), batchOf(1, 1), false)
			refused(t, err, true, "quota")
			other := batchOf(1, 1)
			other.Project = "q"
			if _, _, err := a.Accept(t.Context(), other, false); err != nil {
				t.Error("another project:", err)
			}
			time.Sleep(8 * time.Second)
			if _, _, err := a.Accept(t.Context(), batchOf(1, 1), false); err != nil {
				t.Error("after a while:", err)
			}
		})
	})
	t.Run("a 503 leaves the quota alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log := newMemoryLog(1)
			a := NewAcceptor(log, nil, 1, AcceptConfig{ProjectQuota: 2})
			log.fail = ErrUnavailable
			for range 5 {
				if _, _, err := a.Accept(t.Context(), batchOf(20, 1), false); !errors.Is(err, ErrUnavailable) {
					t.Fatal(err)
				}
			}
			log.fail, log.free = nil, 10
			time.Sleep(time.Second) // the room is asked for now and then
			for range 5 {
				_, _, err := a.Accept(t.Context(), batchOf(20, 1), false)
				refused(t, err, false, "room")
			}
			log.free = 1 << 40
			time.Sleep(time.Second)
			if _, _, err := a.Accept(t.Context(), batchOf(20, 1), false); err != nil {
				t.Error("the burst is used up by batches that were not taken:", err)
			}
			_, _, err := a.Accept(t.Context(), batchOf(20, 1), false)
			refused(t, err, true, "quota")
			if a.inFlight.Load() != 0 {
				t.Errorf("%d bytes are still in flight", a.inFlight.Load())
			}
		})
	})
	t.Run("log that does not answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log := newMemoryLog(1)
			log.block = make(chan struct{})
			a := NewAcceptor(log, nil, 1, AcceptConfig{Timeout: time.Second})
			if _, _, err := a.Accept(t.Context(), batchOf(1, 1), false); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	})
}

func TestAcceptDelete(t *testing.T) {
	log := newMemoryLog(4)
	a := NewAcceptor(log, nil, 4, AcceptConfig{})
	id := metricN(7)
	if _, _, err := a.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	list := log.sacks[SackOf(id, 4)]
	if len(list) != 1 || list[0].Record.Kind != RecordDelete || list[0].Record.Metric != id {
		t.Errorf("log has %+v", list)
	}
}

type discardLog struct{}

func (discardLog) Append(context.Context, []Outgoing) error { return nil }
func (discardLog) Log() LogID                               { return LogID{} }
func (discardLog) End(context.Context) (Position, error)    { return nil, nil }

func BenchmarkAccept(b *testing.B) {
	run := func(name string, metrics, measures int) {
		b.Run(name, func(b *testing.B) {
			a := NewAcceptor(discardLog{}, NewProgress(16, nil), 16, AcceptConfig{})
			batch := batchOf(metrics, make([]int64, measures)...)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := a.Accept(b.Context(), batch, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*metrics*measures), "ns/measure")
		})
	}
	run("1000x1", 1000, 1)
	run("100x100", 100, 100)
	run("1x10000", 1, 10000)
}
