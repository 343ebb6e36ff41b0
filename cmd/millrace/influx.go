package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/influxdb"
	"millrace/ingest"
)

type influxConfig struct {
	URL          string        `name:"url" help:"http://host:8086 or https: InfluxDB 2.x, or 1.8 with Flux"`
	Org          string        `name:"org" help:"organisation; 1.8 has none"`
	Bucket       string        `name:"bucket" help:"bucket; of 1.8 the database, or database/retention policy"`
	Token        secret        `name:"token" help:"token that may read, write and delete there; of 1.8 user:password"`
	CAFile       string        `name:"ca_file" help:"certificates that https trusts; none: the system's"`
	Gzip         bool          `name:"gzip" help:"compress what is written: for slow networks"`
	Timeout      time.Duration `name:"timeout" default:"20s" help:"longest wait for an answer"`
	BatchPoints  int           `name:"batch_points" default:"10000" help:"points in one write at most"`
	MaxWrites    int           `name:"max_writes" default:"4" help:"writes of points at the same time, of all sacks"`
	FsyncDelay   time.Duration `name:"fsync_delay" help:"the server's (storage-)wal-fsync-delay"`
	CreateBucket bool          `name:"create_bucket" help:"create the bucket when there is none"`
	Retention    time.Duration `name:"retention" help:"of a bucket that is created; 0: for ever"`
	Describe     time.Duration `name:"describe_every" default:"10m" help:"how often to look up what metrics are called now; 0: never"`
	Shard        time.Duration `name:"shard_duration" help:"of a bucket that is created; 0: as the server likes"`
}

func (v *validator) influx(c *influxConfig) {
	v.check(c.URL != "", "storage.influxdb.url must not be empty")
	v.check(c.Bucket != "", "storage.influxdb.bucket must not be empty")
	v.positive("storage.influxdb.timeout", c.Timeout)
	v.check(c.BatchPoints >= 1, "storage.influxdb.batch_points must be at least 1, not %d", c.BatchPoints)
	v.check(c.MaxWrites >= 1, "storage.influxdb.max_writes must be at least 1, not %d", c.MaxWrites)
	v.check(c.FsyncDelay >= 0, "storage.influxdb.fsync_delay must not be negative")
	v.check(c.Retention >= 0, "storage.influxdb.retention must not be negative")
	v.check(c.Describe >= 0, "storage.influxdb.describe_every must not be negative")
	v.check(c.Shard >= 0, "storage.influxdb.shard_duration must not be negative")
}

// newInflux makes a driver for the bucket that the settings name, of a deployment or of any.
func newInflux(c *config, of string, policies ingest.Policies, labeler ingest.Labeler,
	longest func(context.Context) (time.Duration, bool),
	log *slog.Logger, meter metric.Meter) (*influxdb.Driver, error) {
	i := &c.Storage.Influx
	return influxdb.New(influxdb.Config{
		URL: i.URL, Org: i.Org, Bucket: i.Bucket, Token: string(i.Token), CAFile: i.CAFile, Sacks: c.Sacks, Deployment: of,
		Gzip: i.Gzip, Timeout: i.Timeout, BatchLines: i.BatchPoints, MaxWrites: i.MaxWrites, FsyncDelay: i.FsyncDelay,
		CreateBucket: i.CreateBucket, Retention: i.Retention, ShardDuration: i.Shard, LongestTimespan: longest,
		DescribeEvery: i.Describe,
	}, policies, labeler, log, meter)
}

// openInflux opens the driver for InfluxDB, once it is known whose bucket it is.
func (p *parts) openInflux(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	// Its flushes are cheap, and who reads InfluxDB itself doesn't nudge.
	p.traits = traits{flushInterval: time.Second, nudgeInterval: 20 * time.Millisecond, mayGoBack: true}
	looking, err := newInflux(c, "", p.index, p.index, nil, log, noop.NewMeterProvider().Meter(""))
	if err != nil {
		return err
	}
	defer looking.Close()
	there, err := p.await(ctx, looking.Ready, log)
	if err != nil {
		return err
	}
	var looked func(context.Context) (string, error)
	if there { // else it is looked at when it answers
		looked = func(ctx context.Context) (string, error) {
			state, err := looking.Look(ctx)
			return state.Deployment, err
		}
	}
	if err := p.identify(ctx, c, looked, p.adopting); err != nil {
		return err
	}
	d, err := newInflux(c, p.membership.deployment, p.index, p.index, p.longestTimespan, log, t.meter)
	if err != nil {
		return err
	}
	p.driver = d
	p.closers = append(p.closers, d)
	return nil
}

// longestTimespan is how long the archive policies keep rows, at the longest; 0 for ever.
func (p *parts) longestTimespan(ctx context.Context) (longest time.Duration, any bool) {
	policies, err := p.index.Policies(ctx)
	if err != nil {
		return 0, false // this only warns
	}
	for _, policy := range policies {
		for _, d := range policy.Definitions {
			if d.Timespan == 0 {
				return 0, true
			}
			longest, any = max(longest, d.Timespan), true
		}
	}
	return longest, any
}

// nobody knows policies and labels: whoever only looks needs none.
type nobody struct{}

func (nobody) Policy(context.Context, string) (*ingest.ArchivePolicy, error) {
	return nil, ingest.ErrNoPolicy
}

func (nobody) Labels(context.Context, []ingest.MetricID) ([]ingest.Labels, error) {
	return nil, errors.New("there is no index here")
}

// lookAtInflux tells how far the bucket has come that the settings name.
func lookAtInflux(ctx context.Context, c *config, log *slog.Logger, meter metric.Meter) (influxdb.State, error) {
	d, err := newInflux(c, "", nobody{}, nobody{}, nil, log, meter)
	if err != nil {
		return influxdb.State{}, err
	}
	defer d.Close()
	return d.Look(ctx)
}
