package main

import (
	"context"
	"log/slog"
	"time"

	"millrace/drivers/carbonara"
	"millrace/drivers/influxdb"
)

type influxdbConfig struct {
	URL           string        `name:"url" help:"http://host:8086 of InfluxDB 2.x, or 1.8 with Flux on"`
	Org           string        `name:"org" help:"organisation; 1.8 takes any"`
	Bucket        string        `name:"bucket" help:"bucket; of 1.8 the database, or database/retention-policy"`
	Token         secret        `name:"token" help:"token; of 1.8 user:password, or nothing"`
	CAFile        string        `name:"ca_file" help:"certificates that https trusts; none: the system's"`
	Gzip          bool          `name:"gzip" help:"compress what is written: on slow networks"`
	Timeout       time.Duration `name:"timeout" default:"20s" help:"longest wait for an answer"`
	FsyncDelay    time.Duration `name:"fsync_delay" help:"how long the server may take to sync what it has answered"`
	CreateBucket  bool          `name:"create_bucket" help:"make a bucket that is missing"`
	Retention     time.Duration `name:"retention" help:"of a bucket that is made; 0: for ever"`
	ShardDuration time.Duration `name:"shard_duration" help:"of a bucket that is made; 0: as the server likes"`
}

func (v *validator) influxdb(c *influxdbConfig) {
	v.check(c.URL != "", "storage.influxdb.url must not be empty")
	v.check(c.Bucket != "", "storage.influxdb.bucket must not be empty")
	v.positive("storage.influxdb.timeout", c.Timeout)
	v.check(c.FsyncDelay >= 0, "storage.influxdb.fsync_delay must not be negative")
	v.check(c.Retention >= 0 && c.ShardDuration >= 0, "storage.influxdb.retention and shard_duration must not be negative")
}

// influxTraits are what the worker goes by: what was applied can be read once it is
// written, and a server may lose the last of it.
var influxTraits = carbonara.Traits{MayGoBack: true, FlushInterval: time.Second}

// openInfluxDB opens InfluxDB for storage.
func (p *parts) openInfluxDB(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	if err := p.identify(ctx, c, nil, p.adopting); err != nil {
		return err
	}
	i := c.Storage.InfluxDB
	d, err := influxdb.New(influxdb.Config{
		URL: i.URL, Org: i.Org, Bucket: i.Bucket, Token: string(i.Token), CAFile: i.CAFile, Sacks: c.Sacks,
		Gzip: i.Gzip, Timeout: i.Timeout, FsyncDelay: i.FsyncDelay,
		CreateBucket: i.CreateBucket, Retention: i.Retention, ShardDuration: i.ShardDuration,
		LongestTimespan: func() (time.Duration, bool) { return p.longestTimespan(ctx) },
	}, p.index, p.index, log, t.meter)
	if err != nil {
		return err
	}
	p.driver, p.traits = d, influxTraits
	p.closers = append(p.closers, d)
	return nil
}

// longestTimespan is the longest that an archive policy keeps rows for: 0 for ever, false
// when there is no policy.
func (p *parts) longestTimespan(ctx context.Context) (longest time.Duration, any bool) {
	policies, err := p.index.Policies(ctx)
	if err != nil {
		return 0, false
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
