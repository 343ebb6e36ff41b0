package golden_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/influxdb"
	"millrace/ingest"
	"millrace/testservers"
)

// touchedOnInflux names the vectors that the stated differences of InfluxDB touch: no
// measure is too late there, and what has expired is there until the bucket's retention
// takes it, so that it shows again when a timespan becomes longer.
var touchedOnInflux = map[string]string{
	"ingest-back-window-ignore":     "late measures are kept: those before the back window of one bucket count",
	"ingest-back-window-2":          "late measures are kept: the microsecond before the window counts",
	"ingest-late-in-batch":          "late measures are kept: the old ones of the second batch count",
	"ingest-batch-dependence-split": "late measures are kept: how measures are split into batches changes nothing",
}

var influxBuckets atomic.Int64

// openInflux opens a bucket of its own, in few shards: each costs the server some files.
func openInflux(t *testing.T, policies ingest.Policies) ingest.Driver {
	t.Helper()
	server := testservers.InfluxDB(t, testservers.Influx2)
	d, err := influxdb.New(influxdb.Config{
		URL: server.URL(), Org: server.Org, Token: server.Token, Sacks: 1,
		Bucket: fmt.Sprintf("golden-%d", influxBuckets.Add(1)), CreateBucket: true, ShardDuration: 5000 * 24 * time.Hour,
	}, policies, unlabeled{}, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// unlabeled knows every metric by its id alone.
type unlabeled struct{}

func (unlabeled) Labels(ctx context.Context, metrics []ingest.MetricID) ([]ingest.Labels, error) {
	labels := make([]ingest.Labels, len(metrics))
	for i := range labels {
		labels[i].Known = true
	}
	return labels, ctx.Err()
}
