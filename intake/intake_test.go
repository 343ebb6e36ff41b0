package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"millrace/index"
	"millrace/ingest"
)

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

// A desk is an Intake with all that it stands on: an index with the archive policy
// low, a rule that gives it to metrics called cpu…, and the resource type host.
type desk struct {
	*Intake
	index *index.Index
	log   *memoryLog
}

func newDesk(t testing.TB, config ingest.AcceptConfig) *desk {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	x, err := index.Open(context.Background(), "sqlite::memory:", index.Config{}, log,
		metricnoop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	ctx := context.Background()
	_, err = x.CreateDefaults(ctx)
	for _, err := range []error{
		err, x.DeleteRule(ctx, "default"), x.CreateRule(ctx, index.Rule{Name: "cpu", Pattern: "cpu*", Policy: "low"}),
		x.CreateResourceType(ctx, &index.ResourceType{Name: "host",
			Attributes: []index.Attribute{{Name: "rack", Type: index.AttributeString, MaxLength: 9}}}),
		x.CreateResourceType(ctx, &index.ResourceType{Name: "disk"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d := &desk{index: x, log: new(memoryLog)}
	d.Intake = New(x, ingest.NewAcceptor(d.log, nil, 4, config), log)
	return d
}

// make makes a resource of type host and metrics in it.
func (d *desk) make(t testing.TB, n byte, creator string, metrics ...string) {
	t.Helper()
	r := home(n, "host")
	list := []index.Metric{}
	for _, name := range metrics {
		resource := [16]byte(r.ID)
		list = append(list, index.Metric{ID: ingest.NewMetricID(), Name: &name, Creator: creator, Policy: "low",
			Resource: &resource})
	}
	if _, err := d.index.EnsureNamed(t.Context(), []index.Resource{{ID: r.ID, Type: "host", Original: r.Original,
		Creator: creator}}, list); err != nil {
		t.Fatal(err)
	}
}

// metric finds a metric by resource and name.
func (d *desk) metric(t testing.TB, n byte, name string) (ingest.MetricID, index.MetricInfo) {
	t.Helper()
	refs, entries, infos := []index.MetricRef{{Resource: id(n), Name: []byte(name)}}, make([]ingest.Entry, 1),
		make([]index.MetricInfo, 1)
	if _, err := d.index.LookupNamed(context.Background(), refs, entries, infos); err != nil {
		t.Fatal(err)
	}
	return entries[0].Metric, infos[0]
}

// counts counts metrics, and resources of type host or disk.
func (d *desk) counts(t testing.TB) (metrics, resources int) {
	t.Helper()
	c, err := d.index.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range byte(20) {
		infos := make([]index.ResourceInfo, 1)
		if err := d.index.LookupResources(t.Context(), []index.ResourceID{id(n)}, infos); err != nil {
			t.Fatal(err)
		}
		if infos[0].Found {
			resources++
		}
	}
	return int(c.Metrics), resources
}

func always(string, string) bool { return true }

// caller may do everything with what is theirs, and create.
func caller(name string) *Caller {
	own := func(creator, _ string) bool { return creator == name }
	return &Caller{Creator: name, Account: name, PostMeasures: own, CreateMetric: always, CreateResource: always,
		UpdateResource: own}
}

func id(n byte) index.ResourceID { return index.ResourceID{15: n} }

// home is a resource.
func home(n byte, kind string) Resource {
	return Resource{ID: id(n), Original: fmt.Sprintf("host%d", n), Type: kind}
}

// series makes a series of measures with the values given, from 1970.
func series(resource int, name string, values ...float64) Series {
	s := Series{Resource: resource, Name: []byte(name)}
	for i, v := range values {
		s.Measures = append(s.Measures, ingest.Measure{Time: int64(i), Value: v})
	}
	return s
}

func TestCreatesOnTheWay(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	batch := func() *Batch {
		return &Batch{
			Resources: []Resource{home(1, "host"), home(2, "host")}, CreateResources: true,
			Series: []Series{series(0, "cpu.user", 1, 2), series(1, "cpu.user", 3), series(0, "cpu.sys", 4),
				series(0, "cpu.user", 5), series(1, "cpu.idle")},
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
		m, info := d.metric(t, resource, name)
		if info.Policy != "low" || info.Creator != "a" {
			t.Errorf("metric %+v", info)
		}
		if diff := cmp.Diff(want, d.log.values()[m]); diff != "" {
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
	if metrics, resources := d.counts(t); metrics != 4 || resources != 2 {
		t.Errorf("%d metrics of %d resources", metrics, resources)
	}
}

// What refuses a batch leaves neither measures nor metrics behind.
func TestRefusals(t *testing.T) {
	far := Series{Name: []byte("cpu"), Measures: []ingest.Measure{{Time: 1, Value: 1},
		{Time: time.Now().Add(time.Hour).UnixNano(), Value: 2}}}
	f := func(name string, b *Batch, handling Handling, check func(err error) bool,
		prepare ...func(d *desk, who *Caller)) {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, ingest.AcceptConfig{})
			d.make(t, 1, "a", "old")
			who := caller("a")
			for _, p := range prepare {
				p(d, who)
			}
			if got, err := d.Accept(t.Context(), who, b, handling); !check(err) {
				t.Errorf("%+v, %v", got, err)
			}
			if metrics, resources := d.counts(t); len(d.log.records) != 0 || metrics != 1 || resources != 1 {
				t.Errorf("left behind: %d records, %d metrics, %d resources", len(d.log.records), metrics, resources)
			}
		})
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	one := []Resource{home(1, "")}
	f("unknown metrics", &Batch{Resources: one, Series: []Series{series(0, "old", 1), series(0, "new", 1),
		series(0, "new", 2)}}, Default, func(err error) bool {
		e, ok := errors.AsType[*UnknownMetricsError](err)
		return ok && slices.Equal(e.Metrics, []int{1})
	})
	f("unknown resources", &Batch{CreateMetrics: true, Resources: []Resource{home(1, ""), home(2, ""), home(3, "")},
		Series: []Series{series(1, "cpu", 1), series(1, "cpu.b", 1), series(0, "old", 1)}}, Default, func(err error) bool {
		e, ok := errors.AsType[*UnknownResourcesError](err)
		return ok && len(e.Resources) == 1 && e.Resources[0].Original == "host2"
	})
	f("no rule", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1), series(0, "disk", 1)}},
		Default, func(err error) bool {
			e, ok := errors.AsType[*NoRuleError](err)
			return ok && e.Name == "disk"
		})
	f("no such policy", &Batch{CreateMetrics: true, Resources: one,
		Series: []Series{series(0, "cpu", 1), {Name: []byte("x"), Policy: "none"}}}, Default, is(ingest.ErrNoPolicy))
	f("slash", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1), series(0, "cpu/x", 1)}},
		Default, func(err error) bool {
			e, ok := errors.AsType[*NameError](err)
			return ok && e.Series == 1 && e.Name == "cpu/x"
		})
	f("NUL", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu\x00", 1)}}, Default,
		func(err error) bool {
			_, ok := errors.AsType[*index.InvalidError](err)
			return ok
		})
	f("no text", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu\xff", 1)}}, Default,
		func(err error) bool {
			return failureOfBatch(err)
		})
	f("another type", &Batch{CreateResources: true, Resources: []Resource{home(1, "disk")},
		Series: []Series{series(0, "old", 1)}}, Default, func(err error) bool {
		_, ok := errors.AsType[*ConflictError](err)
		return ok
	})
	f("somebody else's metric", &Batch{Resources: one, Series: []Series{series(0, "old", 1)}}, Default, is(ErrForbidden),
		func(_ *desk, who *Caller) { *who = *caller("b") })
	f("somebody else's resource", &Batch{CreateResources: true, Resources: []Resource{home(1, "host")},
		Series: []Series{series(0, "cpu", 1)}}, Default, is(ErrForbidden),
		func(_ *desk, who *Caller) { *who = *caller("b") })
	f("no right to create", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1)}}, Default,
		is(ErrForbidden),
		func(_ *desk, who *Caller) { who.CreateMetric = func(string, string) bool { return false } })
	f("future, strictly", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu.b", 1), far}},
		Strict, func(err error) bool {
			e, ok := errors.AsType[*ingest.BadMeasureError](err)
			return ok && e.Entry == 1 && e.Measure == 1
		})
	f("log is full", &Batch{CreateMetrics: true, Resources: one, Series: []Series{series(0, "cpu", 1)}}, Default,
		func(err error) bool {
			_, ok := errors.AsType[*ingest.RefusedError](err)
			return ok
		}, func(d *desk, _ *Caller) {
			d.acceptor = ingest.NewAcceptor(&fullLog{}, nil, 4, ingest.AcceptConfig{})
		})
}

// failureOfBatch says whether an error blames a batch.
func failureOfBatch(err error) bool {
	_, invalid := errors.AsType[*index.InvalidError](err)
	_, name := errors.AsType[*NameError](err)
	return invalid || name
}

// A fullLog has no room.
type fullLog struct{ memoryLog }

func (*fullLog) Room() (used, free int64) { return 1 << 30, 0 }

// A lenient batch loses what is bad of it, and says which.
func TestLenient(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	d.make(t, 1, "b", "theirs")
	far := time.Now().Add(time.Hour).UnixNano()
	b := &Batch{CreateMetrics: true, Resources: []Resource{home(1, ""), home(2, "")}, Series: []Series{
		series(0, "cpu", 1), series(0, "theirs", 1, 2), series(1, "cpu", 3), series(0, "disk", 4), series(0, "cpu/x", 5),
		{Name: []byte("cpu"), Measures: []ingest.Measure{{Time: 9, Value: 6}, {Time: far, Value: 7}}},
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
	want := []string{"2 -1 Resource host2 does not exist",
		"3 -1 No archive policy name specified and no archive policy rule found matching the metric name disk",
		"4 -1 '/' is not supported in metric name", "1 -1 Access was denied", "5 1 timestamp"}
	if diff := cmp.Diff(want, rejects); diff != "" {
		t.Errorf("rejects (-want +got): %s", diff)
	}
	m, _ := d.metric(t, 1, "cpu")
	if diff := cmp.Diff([]float64{1, 6}, d.log.values()[m]); diff != "" {
		t.Error(diff)
	}
}

// A text that no database holds is left out of a lenient batch as everything else that is bad.
func TestLenientTexts(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	d.make(t, 1, "a", "old")
	unit := series(0, "unit", 5)
	unit.Unit, unit.Policy = "B\x00", "low"
	b := &Batch{CreateMetrics: true, Resources: []Resource{home(1, "")}, Series: []Series{
		series(0, "cpu\x00", 1), series(0, "cpu", 2), series(0, "\xff", 3, 4), series(0, "old", 6), unit,
	}}
	got, err := d.Accept(t.Context(), caller("a"), b, Lenient)
	if err != nil {
		t.Fatal(err)
	}
	want := []Reject{{0, -1, "metric name is not UTF-8 text"}, {2, -1, "metric name is not UTF-8 text"},
		{4, -1, "unit of the metric is not UTF-8 text"}}
	if diff := cmp.Diff(want, got.Rejects); diff != "" || got.Ticket.Accepted != 2 || got.Ticket.Refused != 4 {
		t.Errorf("%+v, rejects (-want +got): %s", got, diff)
	}
	for name, value := range map[string]float64{"cpu": 2, "old": 6} {
		m, _ := d.metric(t, 1, name)
		if diff := cmp.Diff([]float64{value}, d.log.values()[m]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// When the log fails after metrics have been created, the answer says so.
func TestCreatedAndFailed(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	d.log.fail = ingest.ErrUnavailable
	b := &Batch{CreateResources: true, Resources: []Resource{home(1, "host")}, Series: []Series{series(0, "cpu", 1)}}
	_, err := d.Accept(t.Context(), caller("a"), b, Default)
	e, ok := errors.AsType[*UnfinishedError](err)
	if !ok || e.Created != (Created{1, 1}) || !errors.Is(err, ingest.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	d.log.fail = nil
	if got, err := d.Accept(t.Context(), caller("a"), b, Default); err != nil || got.Created != (Created{}) ||
		got.Ticket.Accepted != 1 {
		t.Errorf("again: %+v, %v", got, err)
	}
}

// First writes at once create one metric and lose nothing.
func TestConcurrentFirstWrites(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	const n = 8
	var barrier, running sync.WaitGroup
	barrier.Add(n)
	for i := range n {
		running.Go(func() {
			barrier.Done()
			barrier.Wait()
			b := &Batch{CreateResources: true, Resources: []Resource{home(1, "host")},
				Series: []Series{series(0, "cpu", float64(i))}}
			if _, err := d.Accept(t.Context(), caller("a"), b, Default); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	values := d.log.values()
	m, _ := d.metric(t, 1, "cpu")
	got := values[m]
	slices.Sort(got)
	if len(values) != 1 || !slices.Equal(got, []float64{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("the log has %v", values)
	}
}

// An index that can't be asked refuses a batch, and blames nobody.
func TestIndexIsClosed(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	d.index.Close()
	_, err := d.Accept(t.Context(), caller("a"), &Batch{Resources: []Resource{home(1, "")},
		Series: []Series{series(0, "cpu", 1)}}, Default)
	if !errors.Is(err, index.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// Measures at or after the end of a resource take the end away.
func TestRevival(t *testing.T) {
	d := newDesk(t, ingest.AcceptConfig{})
	d.make(t, 1, "a", "cpu")
	host, err := d.index.ResourceType(t.Context(), "host")
	if err != nil {
		t.Fatal(err)
	}
	end := int64(2_000_000) // 2 ms
	if _, err := d.index.UpdateResource(t.Context(), host, id(1),
		func(r *index.Resource) error { r.Ended = &end; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at    int64
		ended bool
	}{{end - 1, true}, {end, false}, {end - 1, false}} {
		b := &Batch{Resources: []Resource{home(1, "")}, Series: []Series{{Name: []byte("cpu"),
			Measures: []ingest.Measure{{Time: step.at, Value: 1}}}}}
		if _, err := d.Accept(t.Context(), caller("a"), b, Default); err != nil {
			t.Fatal(err)
		}
		if r, err := d.index.Resource(t.Context(), host, id(1)); err != nil || (r.Ended != nil) != step.ended {
			t.Errorf("after a measure at %d: ended %v, %v", step.at, r.Ended, err)
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	d := newDesk(b, ingest.AcceptConfig{})
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
