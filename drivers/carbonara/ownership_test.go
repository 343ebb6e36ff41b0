//go:build !race

package carbonara

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// Several processes own a sack in turn and at the same time, over a store that
// fails, loses answers, and does what it was asked long after it was given up.
// Whoever is fenced goes on until told. At every moment the sack reads like one that
// was given exactly the records before its watermark, and nothing that a Flush has
// confirmed goes away.
//
// A run is one goroutine: what happens at the same time happens inside the store's
// calls. So a seed repeats it.
func TestOwnership(t *testing.T) {
	runs := 200
	if testing.Short() {
		runs = 30
	}
	var total Stats
	for seed := range uint64(runs) {
		w := newWorld(t, seed)
		for range 120 {
			w.step()
		}
		w.settle()
		for _, p := range w.processes {
			s := p.driver.Stats()
			total.Flushes += s.Flushes
			total.Merges += s.Merges
			total.Seals += s.Seals
			total.OrphansDeleted += s.OrphansDeleted
		}
		if t.Failed() {
			return
		}
	}
	if total.Flushes < 10 || total.Merges < 10 || total.Seals < 10 || total.OrphansDeleted < 10 {
		t.Errorf("hardly anything happened: %+v", total)
	}
}

// A world is one run.
type world struct {
	t         *testing.T
	seed      uint64
	rand      *rand.Rand
	store     *memoryStore
	late      []late  // what the store will do after it was given up
	share     float64 // of the store's calls that go wrong
	clock     time.Time
	processes []*process

	metrics []ingest.MetricID
	log     []ingest.Delivery
	newest  int64 // about, of the measures
	depth   int   // of calls inside calls

	back     func()        // brings the store back to an earlier state; may be nil
	then     ingest.Offset // the watermark of that state
	deleting int           // deletions under way
	backs    int           // how often that was done

	confirmed ingest.Offset // by some Flush
	stored    ingest.Offset // the highest watermark seen
	did       []string
}

// late is something that the store does later than it was asked to.
type late struct {
	what string
	do   func()
}

// A process has a driver of its own, and a clock.
type process struct {
	*world
	name   string
	skew   time.Duration
	driver *Driver
	writer ingest.SackWriter
	next   int  // log[:next] has been applied to writer
	broken bool // an Apply has failed: the writer may only be closed
	busy   bool // in Apply, Flush or Open, further up
	chores bool // in Maintain, further up
	locked bool // swaps, or settles, further up: its writer would wait for itself
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 5)), store: newMemoryStore(), clock: time.Now(),
		newest: 100_000e9,
	}
	w.store.mayGoBack = seed%2 == 1
	if w.rand.IntN(2) == 0 {
		w.store.largest = 4 << 10
	}
	for i := range 1 + w.rand.IntN(3) {
		p := &process{world: w, name: fmt.Sprint("p", i), skew: time.Duration(w.rand.IntN(3)-1) * time.Hour}
		c := Config{SealRows: 8, MergeWidth: 2, Grace: time.Minute, CollectEach: time.Second, Tombstone: 1000 * time.Hour}
		c.serial = true
		c.Now = func() time.Time { return w.clock.Add(p.skew) }
		var err error
		if p.driver, err = New(t.Context(), &unreliable{w.store, p}, somePolicies(), 1, c); err != nil {
			t.Fatal(err)
		}
		w.processes = append(w.processes, p)
	}
	for range 4 {
		w.metrics = append(w.metrics, ingest.NewMetricID())
	}
	w.share = []float64{0.02, 0.1, 0.3}[w.rand.IntN(3)]
	return w
}

func (w *world) policy(id ingest.MetricID) string {
	return []string{"two", "plain"}[slices.Index(w.metrics, id)%2]
}

// step lets somebody do something.
func (w *world) step() {
	w.clock = w.clock.Add(time.Duration(w.rand.IntN(20)) * time.Second)
	w.write()
	w.arrive()
	w.goBack()
	w.processes[w.rand.IntN(len(w.processes))].act()
	if w.rand.IntN(4) == 0 {
		w.check(w.processes[w.rand.IntN(len(w.processes))].driver)
	}
}

// write appends a record to the log.
func (w *world) write() {
	d := ingest.Delivery{Record: ingest.Record{Kind: ingest.RecordMeasures}}
	if n := len(w.log); n > 0 {
		d.Offset = w.log[n-1].Offset + 1 + ingest.Offset(w.rand.IntN(2))
	}
	switch w.rand.IntN(60) {
	case 0:
		d.Record = ingest.Record{Kind: ingest.RecordNudge}
	case 1:
		d.Record = ingest.Record{Kind: ingest.RecordDelete, Metric: w.metrics[w.rand.IntN(len(w.metrics))]}
		w.metrics = append(w.metrics, ingest.NewMetricID())
	}
	for range w.rand.IntN(4) {
		if d.Record.Kind != ingest.RecordMeasures {
			break
		}
		id := w.metrics[w.rand.IntN(len(w.metrics))]
		e := ingest.Entry{Metric: id, Policy: w.policy(id)}
		for range 1 + w.rand.IntN(3) {
			e.Measures = append(e.Measures, ingest.Measure{Time: w.newest - w.rand.Int64N(150e9),
				Value: float64(w.rand.IntN(100))})
		}
		d.Record.Entries = append(d.Record.Entries, e)
	}
	w.newest += w.rand.Int64N(20e9)
	w.log = append(w.log, d)
}

// arrive does some of what is late.
func (w *world) arrive() {
	for len(w.late) > 0 && w.rand.IntN(3) == 0 {
		i := w.rand.IntN(len(w.late))
		do := w.late[i].do
		w.late = slices.Delete(w.late, i, i+1)
		do()
	}
}

// goBack marks a state of the store now and then, and brings it back later.
func (w *world) goBack() {
	if !w.store.mayGoBack || w.deleting > 0 || w.rand.IntN(12) > 0 {
		return
	}
	if w.back != nil && w.rand.IntN(2) == 0 {
		w.back()
		w.backs++
		// A deletion is asked for right after a look at the manifest; the store that has
		// heard of it and not done it yet is the one that has gone.
		w.late = slices.DeleteFunc(w.late, func(l late) bool { return l.what == "delete" })
		w.confirmed = min(w.confirmed, w.then)
		w.stored = min(w.stored, w.then)
		w.did = append(w.did, fmt.Sprintf("THE STORE GOES BACK to %d", w.then))
	}
	m, _, err := readManifest(context.Background(), w.store, 0, "")
	if err != nil {
		w.fail("%v", err)
	}
	w.back, w.then = w.store.mark(), m.Applied.Offset
}

// isOver says whether an error ends a tenure.
func isOver(err error) bool {
	return errors.Is(err, ingest.ErrFenced) || errors.Is(err, ingest.ErrWentBack)
}

// act does one thing that a process may do now.
func (p *process) act() {
	ctx := context.Background()
	if p.writer == nil {
		p.open(ctx)
		return
	}
	switch n := p.rand.IntN(20); {
	case p.locked || p.busy && p.chores: // nothing else may run beside both
	case n == 0 && !p.busy && !p.chores:
		p.note("forgets its writer") // a crash, or a pause of which it never wakes
		p.writer = nil
	case n < 7 && !p.chores:
		p.chores = true
		writer := p.writer
		err := writer.Maintain(ctx)
		p.note("maintains: %v", err)
		p.chores = false
		if isOver(err) && !p.busy && writer == p.writer {
			p.close()
		}
	case p.busy:
	case p.broken:
		if !p.chores {
			p.close()
		}
	case n < 14:
		p.apply(ctx)
	default:
		p.flush(ctx)
	}
}

func (p *process) open(ctx context.Context) {
	if p.busy || p.chores {
		return
	}
	if len(p.processes) > 1 && p.rand.IntN(8) > 0 {
		return // give the others time
	}
	confirmed, backs := p.confirmed, p.backs
	p.busy = true
	defer func() { p.busy = false }()
	writer, stored, err := p.driver.Open(ctx, 0)
	watermark := stored.Offset
	p.note("opens: %d, %v", watermark, err)
	if err != nil {
		return
	}
	p.writer, p.broken = writer, false
	if watermark < confirmed && backs == p.backs {
		p.fail("the sack opens at %d, and %d was confirmed", watermark, confirmed)
	}
	p.next, _ = slices.BinarySearchFunc(p.log, watermark, func(d ingest.Delivery,
		at ingest.Offset) int {
		return int(d.Offset - at)
	})
}

func (p *process) close() {
	p.writer.Close()
	p.writer = nil
}

// apply delivers some records, a few of them again.
func (p *process) apply(ctx context.Context) {
	from, to := max(0, p.next-p.rand.IntN(3)), min(len(p.log), p.next+1+p.rand.IntN(8))
	if from >= to {
		return
	}
	p.busy = true
	_, err := p.writer.Apply(ctx, p.log[from:to])
	p.busy = false
	p.note("applies %d to %d: %v", p.log[from].Offset, p.log[to-1].Offset, err)
	if err != nil {
		p.broken = true
		return
	}
	p.next = max(p.next, to)
}

func (p *process) flush(ctx context.Context) {
	p.busy = true
	backs, before, watermark := p.backs, p.writer.(*writer).current().Applied.Offset, p.upTo()
	_, err := p.writer.Flush(ctx, upTo(watermark))
	p.busy = false
	p.note("flushes: %d, %v", watermark, err)
	if err == nil && backs == p.backs && watermark > before { // else it had nothing to ask the store for
		p.confirmed = max(p.confirmed, watermark)
	}
	if isOver(err) && !p.chores {
		p.close()
	}
}

// upTo is behind the last record applied.
func (p *process) upTo() ingest.Offset {
	if p.next == 0 {
		return 0
	}
	return p.log[p.next-1].Offset + 1
}

// check compares what readers get now with the oracle, unless the store fails.
func (w *world) check(d *Driver) {
	ctx := context.Background()
	m, _, err := readManifest(ctx, w.store, 0, "")
	if err != nil {
		w.fail("%v", err)
	}
	if m.Applied.Offset < w.stored || m.Applied.Offset < w.confirmed {
		w.fail("the watermark is %d, and was %d, and %d was confirmed", m.Applied.Offset, w.stored, w.confirmed)
	}
	w.stored = m.Applied.Offset
	var queries []ingest.Query
	for _, id := range w.metrics {
		p := somePolicies()[w.policy(id)]
		for _, def := range p.Definitions {
			for _, method := range p.Methods.List() {
				if w.rand.IntN(4) == 0 {
					queries = append(queries, ingest.Query{Metric: id, Policy: p, Granularity: def.Granularity, Method: method,
						From: ingest.MinTime, To: ingest.MaxTime})
				}
			}
		}
	}
	got, want := make([][]ingest.Measure, len(queries)), make([][]ingest.Measure, len(queries))
	share := w.share
	w.share = 0
	defer func() { w.share = share }()
	shown, err := d.Read(ctx, queries, got, ingest.Position{w.confirmed})
	if err != nil {
		w.fail("cannot read: %v", err)
	}
	if len(queries) == 0 {
		shown[0] = m.Applied.Offset
	}
	oracle := w.oracleAt(shown[0])
	oracle.Read(ctx, queries, want, nil)
	for i, q := range queries {
		if !slices.Equal(want[i], got[i]) { // there are no NaNs
			w.fail("metric %d, %s at %s (-naive +carbonara):\n%s", slices.Index(w.metrics, q.Metric), q.Method, q.Granularity,
				cmp.Diff(want[i], got[i]))
		}
	}
	if len(queries) == 0 {
		return // what is late in the open table is not known to be at that position
	}
	late, err := d.Late(ctx, w.metrics)
	if err != nil {
		w.fail("cannot count what was late: %v", err)
	}
	lateWant, _ := oracle.Late(ctx, w.metrics)
	if diff := cmp.Diff(lateWant, late); diff != "" {
		w.fail("late (-naive +carbonara):\n%s", diff)
	}
}

// oracleAt is an oracle that was given exactly the records before a position.
func (w *world) oracleAt(position ingest.Offset) *naive.Driver {
	ctx := context.Background()
	oracle := naive.New(somePolicies())
	judge, _, _ := oracle.Open(ctx, 0)
	n, _ := slices.BinarySearchFunc(w.log, position, func(d ingest.Delivery,
		at ingest.Offset) int {
		return int(d.Offset - at)
	})
	judge.Apply(ctx, w.log[:n])
	judge.Flush(ctx, upTo(position))
	return oracle
}

// settle ends all trouble and wants everything right.
func (w *world) settle() {
	ctx := w.t.Context()
	for len(w.late) > 0 {
		w.arrive()
	}
	w.share = 0
	w.store.mayGoBack = false
	w.check(w.processes[0].driver)
	p := w.processes[0]
	for p.writer = nil; p.writer == nil; {
		p.open(ctx)
	}
	for p.next < len(w.log) {
		p.apply(ctx)
	}
	p.flush(ctx)
	for range 3 {
		if err := p.writer.Maintain(ctx); err != nil {
			w.fail("maintain: %v", err)
		}
		w.clock = w.clock.Add(2 * time.Hour)
	}
	w.check(w.processes[len(w.processes)-1].driver)
	err := Check(ctx, w.store, func(r Report) {
		for _, problem := range r.Problems {
			w.fail("%v", problem)
		}
		if r.Orphans > 0 {
			w.fail("%d orphans are left", r.Orphans)
		}
	})
	if err != nil {
		w.fail("%v", err)
	}
}

func (p *process) note(format string, args ...any) {
	p.did = append(p.did, fmt.Sprintf("%*s%s %s", 2*p.depth, "", p.name, fmt.Sprintf(format, args...)))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	last := w.did[max(0, len(w.did)-60):]
	w.t.Fatalf("seed %d: %s\nwhat happened last:\n%s", w.seed, fmt.Sprintf(format, args...), strings.Join(last, "\n"))
}

// An unreliable store is one process's way to the store.
type unreliable struct {
	*memoryStore
	p *process
}

var errUnreliable = errors.New("no answer")

// call does what is asked, now, never, or later; others may do something before and after.
func (s *unreliable) call(what, name string, do func()) error {
	p := s.p
	if what == "delete" { // what goes back between the look at the manifest and the deletion is not to be helped
		p.deleting++
		defer func() { p.deleting-- }()
	}
	p.others(name)
	defer p.others(name)
	if p.rand.Float64() >= p.share {
		do()
		return nil
	}
	switch p.rand.IntN(3) {
	case 0:
		do() // and the answer is lost
	case 1:
		if what != "read" {
			p.late = append(p.late, late{what, do})
		}
	}
	p.note("has no answer to %s %s", what, name)
	return errUnreliable
}

// others lets somebody act while a process waits for the store.
func (p *process) others(name string) {
	if p.share == 0 || p.depth == 3 || p.rand.IntN(15) > 0 {
		return
	}
	locked := p.locked
	p.locked = locked || strings.HasSuffix(name, ".json")
	p.depth++
	p.write()
	p.goBack()
	p.processes[p.rand.IntN(len(p.processes))].act()
	p.depth--
	p.locked = locked
}

func (s *unreliable) Put(ctx context.Context, name string, data []byte) (err error) {
	data = slices.Clone(data)
	if e := s.call("put", name, func() { err = s.memoryStore.Put(ctx, name, data) }); e != nil {
		return e
	}
	return err
}

func (s *unreliable) Read(ctx context.Context, name string, unless Version, ranges []Range) (c Contents, err error) {
	if e := s.call("read", name, func() { c, err = s.memoryStore.Read(ctx, name, unless, ranges) }); e != nil {
		return Contents{}, e
	}
	return c, err
}

func (s *unreliable) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (v Version,
	err error) {
	data = slices.Clone(data)
	if e := s.call("swap", name, func() { v, err = s.memoryStore.Swap(ctx, name, old, data, adds) }); e != nil {
		return "", e
	}
	return v, err
}

func (s *unreliable) List(ctx context.Context, prefix string) (list []Object, err error) {
	if e := s.call("list", prefix, func() { list, err = s.memoryStore.List(ctx, prefix) }); e != nil {
		return nil, e
	}
	return list, err
}

func (s *unreliable) Delete(ctx context.Context, names []string) (err error) {
	names = slices.Clone(names)
	if e := s.call("delete", names[0], func() { err = s.memoryStore.Delete(ctx, names) }); e != nil {
		return e
	}
	return err
}
