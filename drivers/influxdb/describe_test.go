package influxdb_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/drivers/drivertest"
	"millrace/drivers/influxdb"
	"millrace/ingest"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// called says what metrics are called now.
type called struct {
	allKnown
	mu   sync.Mutex
	now  map[ingest.MetricID]ingest.Description
	fail error
}

func (c *called) Describe(_ context.Context, metrics []ingest.MetricID) ([]ingest.Description, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]ingest.Description, len(metrics))
	for i, id := range metrics {
		list[i] = c.now[id]
	}
	return list, c.fail
}

func (c *called) set(id ingest.MetricID, d ingest.Description, fail error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[id], c.fail = d, fail
}

// oddName is a name and an attribute's text with all that line protocol could trip over.
const oddName = "cpu, =\"é\\ new\nline"

func description(name, host string) ingest.Description {
	return ingest.Description{Known: true, Name: name, Resource: "r\\", ResourceType: "instance", Project: "p", User: "u",
		Attributes: []ingest.DescribedAttribute{{Name: "host name,=", Text: host}, {Name: "size", Text: ""}}}
}

// byName finds the values of measures by what their metrics and resources are called now.
const byName = `
called = from(bucket: BUCKET) |> range(start: -3d)
  |> filter(fn: (r) => r._measurement == "metrics") |> last()
  |> pivot(rowKey: ["metric"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => r.name == NAME and r["attribute_host name,="] == HOST) |> group(columns: ["metric"])
measured = from(bucket: BUCKET) |> range(start: -1h)
  |> filter(fn: (r) => r._measurement == "measures" and r._field == "value")
  |> keep(columns: ["_time", "_value", "metric"])
join(tables: {called: called, measured: measured}, on: ["metric"]) |> keep(columns: ["_value"])`

func named(t *testing.T, server *testservers.InfluxServer, bucket, name, host string) string {
	t.Helper()
	text := func(s string) string { return strings.ReplaceAll(quoted(s), "\n", `\n`) }
	flux := strings.NewReplacer("BUCKET", quoted(bucket), "NAME", text(name), "HOST", text(host)).Replace(byName)
	answer := ask(t, server, "POST", "/api/v2/query?org="+server.Org, map[string]any{"query": flux}, nil)
	var values []string
	for line := range strings.Lines(answer) {
		if fields := strings.Split(strings.TrimSpace(line), ","); len(fields) == 4 && fields[3] != "_value" &&
			!strings.HasPrefix(line, "#") {
			values = append(values, fields[3])
		}
	}
	return strings.Join(values, " ")
}

// What a metric and its resource are called now is found in InfluxDB, and follows; what
// cannot be told holds up nothing; and it goes with the metric.
func TestDescriptions(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := testservers.InfluxDB(t, version)
			proxy, err := faultproxy.NewHTTP(server.Addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			var writes atomic.Int64
			var mute atomic.Bool // answers no query
			proxy.Decide(func(r *http.Request) *faultproxy.Fault {
				if mute.Load() && strings.HasSuffix(r.URL.Path, "/query") {
					return &faultproxy.Fault{Kind: faultproxy.Refuse, Status: http.StatusInternalServerError}
				}
				if strings.HasSuffix(r.URL.Path, "/write") {
					writes.Add(1)
				}
				return nil
			})
			c := configOf(server)
			c.URL, c.DescribeEvery = proxy.URL(), 1 // every time
			id := ingest.MetricID{2, 7}
			labeler := &called{now: map[ingest.MetricID]ingest.Description{id: description("cpu", "web 1")}}
			d := open(t, c, anyPolicy{}, labeler)
			testDescriptions(t, server, c, d, id, labeler, &writes, &mute)
		})
	}
}

func testDescriptions(t *testing.T, server *testservers.InfluxServer, c influxdb.Config, d *influxdb.Driver,
	id ingest.MetricID, labeler *called, writes *atomic.Int64, mute *atomic.Bool) {
	w, at, err := d.Open(t.Context(), ingest.SackOf(id, drivertest.Sacks))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	do := func(r ingest.Record) {
		t.Helper()
		if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: at.Offset, Record: r}}); err != nil {
			t.Fatal(err)
		}
		at.Offset++
		if _, err := w.Flush(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	maintain := func() {
		t.Helper()
		if err := w.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	has := func(name, host, want string) {
		t.Helper()
		if got := named(t, server, c.Bucket, name, host); got != want {
			t.Errorf("of %q on %q there is %q, want %q", name, host, got, want)
		}
	}
	measure := func(value float64) ingest.Record {
		return ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Metric: id, Policy: "p",
			Measures: []ingest.Measure{{Time: time.Now().UnixNano(), Value: value}}}}}
	}
	do(measure(3))
	maintain()
	has("cpu", "web 1", "3")

	labeler.set(id, description(oddName, oddName), nil)
	maintain()
	has(oddName, oddName, "3")
	has("cpu", "web 1", "")
	before := writes.Load()
	maintain()
	if n := writes.Load() - before; n > 0 {
		t.Errorf("what hasn't changed is written again, %d times", n)
	}

	labeler.set(id, description("cpu", "web 2"), errors.New("no index"))
	if err := w.Maintain(t.Context()); err == nil || !strings.Contains(err.Error(), "no index") {
		t.Errorf("%v; want what the index says", err)
	}
	do(measure(4))
	labeler.set(id, description("cpu", "web 2"), nil)
	maintain()
	has("cpu", "web 2", "3 4")

	// Whoever owns the sack next follows it, too, though it has no measures again.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w, at, err = d.Open(t.Context(), ingest.SackOf(id, drivertest.Sacks)); err != nil {
		t.Fatal(err)
	}
	labeler.set(id, description("mem", "web 3"), nil)
	// Where it can't be read which that were, new ones are described all the same.
	mute.Store(true)
	newer, known := ingest.MetricID{2, 8}, id
	for ingest.SackOf(newer, drivertest.Sacks) != ingest.SackOf(known, drivertest.Sacks) {
		newer[2]++
	}
	labeler.set(newer, description("new", "web 4"), nil)
	id = newer
	do(measure(5))
	id = known
	if err := w.Maintain(t.Context()); err == nil {
		t.Error("which metrics were described can't be read, and there is no error")
	}
	mute.Store(false)
	has("new", "web 4", "5")
	maintain()
	has("mem", "web 3", "3 4")
	has("cpu", "web 2", "")
	labeler.set(id, description("cpu", "web 2"), nil)
	maintain()

	labeler.set(id, ingest.Description{}, nil)
	do(ingest.Record{Kind: ingest.RecordDelete, Metric: id})
	maintain()
	has("cpu", "web 2", "")
	for _, measurement := range []string{"measures", "metrics"} {
		answer := ask(t, server, "POST", "/api/v2/query?org="+server.Org, map[string]any{"query": "from(bucket: " +
			quoted(c.Bucket) + `) |> range(start: -3d) |> filter(fn: (r) => r._measurement == "` + measurement + `")`}, nil)
		if strings.Contains(answer, id.String()) {
			t.Errorf("%s of a deleted metric are still there:\n%s", measurement, answer)
		}
	}
}
