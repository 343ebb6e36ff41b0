package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// A memoryIndex knows what it is told. Rules are prefixes of names.
type memoryIndex struct {
	mu        sync.Mutex
	metrics   map[Key]Metric
	resources map[[16]byte]ResourceInfo
	rules     map[string]string
	fail      error
	before    func() // called by Create, before anything
}

func newIndex() *memoryIndex {
	return &memoryIndex{metrics: map[Key]Metric{}, resources: map[[16]byte]ResourceInfo{}, rules: map[string]string{"cpu": "low"}}
}

func (x *memoryIndex) FindMetrics(_ context.Context, keys []Key, metrics []Metric) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, k := range keys {
		metrics[i] = x.metrics[k]
	}
	return x.fail
}

func (x *memoryIndex) FindResources(_ context.Context, ids [][16]byte, resources []ResourceInfo) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, id := range ids {
		resources[i] = x.resources[id]
	}
	return x.fail
}

var errNoRule = errors.New("no rule")

func (x *memoryIndex) Policy(_ context.Context, name, wanted string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	for prefix, policy := range x.rules {
		if strings.HasPrefix(name, prefix) {
			return policy, nil
		}
	}
	return "", errNoRule
}

func (x *memoryIndex) Create(_ context.Context, creator string, resources []Resource, metrics []NewMetric) (c Created, err error) {
	if x.before != nil {
		x.before()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fail != nil {
		return c, x.fail
	}
	for i := range resources {
		r := &resources[i]
		if there := x.resources[r.ID]; there.Found && there.Type != r.Type {
			return c, &ConflictError{*r}
		}
	}
	for i := range resources {
		if r := &resources[i]; !x.resources[r.ID].Found {
			x.resources[r.ID] = ResourceInfo{Type: strings.Clone(r.Type), Creator: creator, Found: true}
			c.Resources++
		}
	}
	for i := range metrics {
		m := &metrics[i]
		k := Key{m.Key.Resource, strings.Clone(m.Key.Name)}
		if there := x.metrics[k]; there.Found {
			m.ID, m.Policy, m.Creator = there.ID, there.Policy, there.Creator
			continue
		}
		x.metrics[k] = Metric{m.ID, m.Policy, m.Creator, true}
		c.Metrics++
	}
	return c, nil
}

// A memoryLog keeps what it is given.
type memoryLog struct {
	mu      sync.Mutex
	records []ingest.Record
	fail    error
}

func (l *memoryLog) Log() ingest.LogID { return ingest.LogID{} }

func (l *memoryLog) Append(_ context.Context, out []ingest.Outgoing) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	for i := range out {
		r := *out[i].Record
		r.Entries = slices.Clone(r.Entries)
		for j := range r.Entries {
			r.Entries[j].Measures = slices.Clone(r.Entries[j].Measures)
		}
		out[i].Offset = ingest.Offset(len(l.records))
		l.records = append(l.records, r)
	}
	return nil
}

func (l *memoryLog) End(context.Context) (ingest.Position, error) { return nil, nil }

// values returns the values in the log by metric, in order.
func (l *memoryLog) values() map[ingest.MetricID][]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[ingest.MetricID][]float64{}
	for _, r := range l.records {
		for _, e := range r.Entries {
			for _, m := range e.Measures {
				all[e.Metric] = append(all[e.Metric], m.Value)
			}
		}
	}
	return all
}

// A desk is an Intake with all that it stands on.
type desk struct {
	*Intake
	index *memoryIndex
	log   *memoryLog
}

func newDesk(config ingest.AcceptConfig) *desk {
	d := &desk{index: newIndex(), log: new(memoryLog)}
	d.Intake = New(d.index, ingest.NewAcceptor(d.log, nil, 4, config))
	return d
}

func always(string, string) bool { return true }

// caller may do everything with what is theirs, and create.
func caller(name string) *Caller {
	own := func(creator, _ string) bool { return creator == name }
	return &Caller{Creator: name, Account: name, PostMeasures: own, CreateMetric: always, CreateResource: always, UpdateResource: own}
}

func id(n byte) [16]byte { return [16]byte{15: n} }

// home is a resource.
func home(n byte, kind string) Resource {
	return Resource{ID: id(n), Original: fmt.Sprintf("host%d", n), Type: kind}
}

// series makes a series of measures with the values given, from 1970.
func series(resource int, name string, values ...float64) Series {
	s := Series{Resource: resource, Name: name}
	for i, v := range values {
		s.Measures = append(s.Measures, ingest.Measure{Time: int64(i), Value: v})
	}
	return s
}

func TestCreatesOnTheWay(t *testing.T) {
	d := newDesk(ingest.AcceptConfig{})
	batch := func() *Batch {
		return &Batch{
			Resources: []Resource{home(1, "host"), home(2, "host")}, CreateResources: true,
			Series: []Series{series(0, "cpu.user", 1, 2), series(1, "cpu.user", 3), series(0, "cpu.sys", 4), series(0, "cpu.user", 5), series(1, "cpu.idle")},
		}
	}
	got, err := d.Accept(t.Context(), caller("a"), batch(), Default)
	if err != nil {
		t.Fatal(err)
	}
	if got.Created != (Created{2, 4}) || got.Ticket.Accepted != 5 || got.Ticket.Refused != 0 {
		t.Errorf("got %+v", got)
	}
	f := func(resource byte, name string, want ...float64) {
		t.Helper()
		m := d.index.metrics[Key{id(resource), name}]
		if m.Policy != "low" || m.Creator != "a" {
			t.Errorf("metric %+v", m)
		}
		if diff := cmp.Diff(want, d.log.values()[m.ID]); diff != "" {
			t.Errorf("%s of resource %d (-want +got): %s", name, resource, diff)
		}
	}
	f(1, "cpu.user", 1, 2, 5)
	f(2, "cpu.user", 3)
	f(1, "cpu.sys", 4)
	f(2, "cpu.idle")

	again, err := d.Accept(t.Context(), caller("a"), batch(), Default)
	if err != nil || again.Created != (Created{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	f(1, "cpu.user", 1, 2, 5, 1, 2, 5)
	if len(d.index.metrics) != 4 || len(d.index.resources) != 2 {
		t.Errorf("%d metrics of %d resources", len(d.index.metrics), len(d.index.resources))
	}
}

// What refuses a batch leaves neither measures nor metrics behind.
func TestRefusals(t *testing.T) {
	far := Series{Name: "cpu", Measures: []ingest.Measure{{Time: 1, Value: 1}, {Time: time.Now().Add(time.Hour).UnixNano(), Value: 2}}}
	f := func(name string, b *Batch, handling Handling, check func(err error) bool, prepare ...func(d *desk, who *Caller)) {
		t.Run(name, func(t *testing.T) {
			d := newDesk(ingest.AcceptConfig{})
			d.index.resources[id(1)] = ResourceInfo{Type: "host", Creator: "a", Found: true}
			d.index.metrics[Key{id(1), "old"}] = Metric{ingest.MetricID{1}, "low", "a", true}
			who := caller("a")
			for _, p := range prepare {
				p(d, who)
			}
			if got, err := d.Accept(t.Context(), who, b, handling); !check(err) {
				t.Errorf("%+v, %v", got, err)
			}
			if len(d.log.records) != 0 || len(d.index.metrics) != 1 || len(d.index.resources) != 1 {
				t.Errorf("left behind: %d records, %d metrics, %d resources", len(d.log.records), len(d.index.metrics), len(d.index.resources))
			}
		})
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	one := []Resource{home(1, "")}
	f("unknown metrics", &Batch{Resources: one, Series: []Series{series(0, "old", 1), series(0, "new", 1), series(0, "new", 2)}}, Default, func(err error) bool {
		e, ok := errors.AsType[*UnknownMetricsError](err)
		return ok && slices.Equal(e.Keys, []Key{{id(1), "new"}})
	})
	f("unknown resources", &Batch{CreateMetrics: true, Resources: []Resource{home(1, ""), home(2, ""), home(3, "")},
		Series: []Series{series(1, "cpu", 1), series(1, "cpu.b", 1), series(0, "old", 1)}}, Default, func(err error) bool {
		e, ok := errors.AsType[*UnknownResourcesError](err)
		return ok && len(e.Resources) == 1 && e.Resources[0].Original == "host2"
	})
	f("no rule", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1), series(0, "disk", 1)}}, Default, is(errNoRule))
	f("slash", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1), series(0, "cpu/x", 1)}}, Default, func(err error) bool {
		e, ok := errors.AsType[*NameError](err)
		return ok && e.Series == 1 && e.Name == "cpu/x"
	})
	f("NUL", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu\x00", 1)}}, Default, func(err error) bool {
		_, ok := errors.AsType[*NameError](err)
		return ok
	})
	f("another type", &Batch{CreateResources: true, Resources: []Resource{home(1, "disk")}, Series: []Series{series(0, "old", 1)}}, Default, func(err error) bool {
		_, ok := errors.AsType[*ConflictError](err)
		return ok
	})
	f("somebody else's metric", &Batch{Resources: one, Series: []Series{series(0, "old", 1)}}, Default, is(ErrForbidden), func(_ *desk, who *Caller) { *who = *caller("b") })
	f("somebody else's resource", &Batch{CreateResources: true, Resources: []Resource{home(1, "host")}, Series: []Series{series(0, "cpu", 1)}}, Default, is(ErrForbidden),
		func(_ *desk, who *Caller) { *who = *caller("b") })
	f("no right to create", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1)}}, Default, is(ErrForbidden),
		func(_ *desk, who *Caller) { who.CreateMetric = func(string, string) bool { return false } })
	f("future, strictly", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu.b", 1), far}}, Strict, func(err error) bool {
		e, ok := errors.AsType[*ingest.BadMeasureError](err)
		return ok && e.Entry == 1 && e.Measure == 1
	})
	f("index is down", &Batch{Resources: one, Series: []Series{series(0, "old", 1)}}, Default, is(context.DeadlineExceeded), func(d *desk, _ *Caller) { d.index.fail = context.DeadlineExceeded })
	f("log is full", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1)}}, Default, func(err error) bool {
		_, ok := errors.AsType[*ingest.RefusedError](err)
		return ok
	}, func(d *desk, _ *Caller) {
		d.acceptor = ingest.NewAcceptor(&fullLog{}, nil, 4, ingest.AcceptConfig{})
	})
}

// A fullLog has no room.
type fullLog struct{ memoryLog }

func (*fullLog) Room() (used, free int64) { return 1 << 30, 0 }

// A lenient batch loses what is bad of it, and says which.
func TestLenient(t *testing.T) {
	d := newDesk(ingest.AcceptConfig{})
	d.index.resources[id(1)] = ResourceInfo{Creator: "a", Found: true}
	d.index.metrics[Key{id(1), "theirs"}] = Metric{ingest.MetricID{1}, "low", "b", true}
	far := time.Now().Add(time.Hour).UnixNano()
	b := &Batch{CreateMetrics: true, Resources: []Resource{home(1, ""), home(2, "")}, Series: []Series{
		series(0, "cpu", 1), series(0, "theirs", 1, 2), series(1, "cpu", 3), series(0, "disk", 4), series(0, "cpu/x", 5),
		{Name: "cpu", Measures: []ingest.Measure{{Time: 9, Value: 6}, {Time: far, Value: 7}}},
	}}
	got, err := d.Accept(t.Context(), caller("a"), b, Lenient)
	if err != nil {
		t.Fatal(err)
	}
	if got.Ticket.Accepted != 2 || got.Ticket.Refused != 6 || got.Future != 1 || got.Created != (Created{Metrics: 1}) {
		t.Errorf("got %+v", got)
	}
	var rejects []string
	for _, r := range got.Rejects {
		reason, _, _ := strings.Cut(r.Reason, " 20") // of a time
		rejects = append(rejects, fmt.Sprintf("%d %d %s", r.Series, r.Measure, reason))
	}
	want := []string{"2 -1 Resource host2 does not exist", "3 -1 no rule", "4 -1 '/' is not supported in metric name", "1 -1 Access was denied", "5 1 timestamp"}
	if diff := cmp.Diff(want, rejects); diff != "" {
		t.Errorf("rejects (-want +got): %s", diff)
	}
	if diff := cmp.Diff([]float64{1, 6}, d.log.values()[d.index.metrics[Key{id(1), "cpu"}].ID]); diff != "" {
		t.Error(diff)
	}
}

// When the log fails after metrics have been created, the answer says so.
func TestCreatedAndFailed(t *testing.T) {
	d := newDesk(ingest.AcceptConfig{})
	d.log.fail = ingest.ErrUnavailable
	b := &Batch{CreateResources: true, Resources: []Resource{home(1, "host")}, Series: []Series{series(0, "cpu", 1)}}
	_, err := d.Accept(t.Context(), caller("a"), b, Default)
	e, ok := errors.AsType[*CreatedError](err)
	if !ok || e.Created != (Created{1, 1}) || !errors.Is(err, ingest.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	d.log.fail = nil
	if got, err := d.Accept(t.Context(), caller("a"), b, Default); err != nil || got.Created != (Created{}) || got.Ticket.Accepted != 1 {
		t.Errorf("again: %+v, %v", got, err)
	}
}

// First writes at once create one metric and lose nothing.
func TestConcurrentFirstWrites(t *testing.T) {
	d := newDesk(ingest.AcceptConfig{})
	const n = 8
	var barrier, running sync.WaitGroup
	barrier.Add(n)
	d.index.before = func() { barrier.Done(); barrier.Wait() } // all have seen that it doesn't exist
	for i := range n {
		running.Go(func() {
			b := &Batch{CreateResources: true, Resources: []Resource{home(1, "host")}, Series: []Series{series(0, "cpu", float64(i))}}
			if _, err := d.Accept(t.Context(), caller("a"), b, Default); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	values := d.log.values()
	got := values[d.index.metrics[Key{id(1), "cpu"}].ID]
	slices.Sort(got)
	if len(values) != 1 || !slices.Equal(got, []float64{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("the log has %v", values)
	}
}

func BenchmarkAccept(b *testing.B) {
	d := newDesk(ingest.AcceptConfig{})
	d.acceptor = ingest.NewAcceptor(discardLog{}, nil, 16, ingest.AcceptConfig{})
	batch := &Batch{CreateResources: true}
	for r := range 10 {
		batch.Resources = append(batch.Resources, home(byte(r), "host"))
		for n := range 100 {
			batch.Series = append(batch.Series, series(r, fmt.Sprintf("cpu.%d", n), 1))
		}
	}
	who := caller("a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Accept(b.Context(), who, batch, Default); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/measure")
}

type discardLog struct{}

func (discardLog) Append(context.Context, []ingest.Outgoing) error { return nil }
func (discardLog) Log() ingest.LogID                               { return ingest.LogID{} }

func (discardLog) End(context.Context) (ingest.Position, error) { return nil, nil }
