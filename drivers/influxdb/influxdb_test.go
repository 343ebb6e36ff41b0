package influxdb_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/drivertest"
	"millrace/drivers/influxdb"
	"millrace/ingest"
	"millrace/testservers"
)

// versions are what the driver is for.
var versions = []testservers.InfluxVersion{testservers.Influx2, testservers.Influx1}

// buckets counts those that tests have made, so that each has its own.
var buckets atomic.Int64

// longShard keeps the points of a test in few shards: each costs a server some files.
const longShard = 5000 * 24 * time.Hour

// configOf is a bucket that doesn't exist yet.
func configOf(server *testservers.InfluxServer) influxdb.Config {
	return influxdb.Config{
		URL: server.URL(), Org: server.Org, Token: server.Token, Bucket: fmt.Sprintf("test-%d", buckets.Add(1)),
		Sacks:        drivertest.Sacks,
		CreateBucket: true, ShardDuration: longShard,
	}
}

func open(t testing.TB, c influxdb.Config, policies ingest.Policies, labeler ingest.Labeler) *influxdb.Driver {
	t.Helper()
	d, err := influxdb.New(c, policies, labeler, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// allKnown labels every metric: some with all there is, in odd letters, some with nothing.
type allKnown struct{}

func (allKnown) Labels(ctx context.Context, metrics []ingest.MetricID) ([]ingest.Labels, error) {
	labels := make([]ingest.Labels, len(metrics))
	for i, id := range metrics {
		labels[i] = ingest.Labels{Known: true}
		if id[0]%2 == 0 {
			labels[i] = ingest.Labels{Known: true, Name: "cpu, =\\\n\"é\xff", Resource: "host/" + id.String()[:4] + "\\",
				ResourceType: "instance"}
		}
	}
	return labels, ctx.Err()
}

// The driver keeps the promises of drivers, but for the two that InfluxDB can't, on
// every version.
func TestDriver(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			server := testservers.InfluxDB(t, version)
			open := func(t *testing.T, policies ingest.Policies) ingest.Driver {
				return open(t, configOf(server), policies, allKnown{})
			}
			processes := func(t *testing.T, policies ingest.Policies) func() ingest.Driver {
				c := configOf(server)
				return func() ingest.Driver { return openAgain(t, c, policies) }
			}
			drivertest.Run(t, open, drivertest.LateKept(), drivertest.ExpiredKept(), drivertest.TornFlushes(),
				drivertest.Unfenced(),
				drivertest.Processes(processes), drivertest.Shorter(8))
		})
	}
}

func openAgain(t *testing.T, c influxdb.Config, policies ingest.Policies) ingest.Driver {
	return open(t, c, policies, allKnown{})
}

// anyPolicy knows a policy of minutes by any name.
type anyPolicy struct{}

func (anyPolicy) Policy(ctx context.Context, name string) (*ingest.ArchivePolicy, error) {
	return &ingest.ArchivePolicy{
		Name: name, Methods: ingest.DefaultMethods(), Definitions: []ingest.Definition{{Granularity: time.Minute}},
	}, ctx.Err()
}
