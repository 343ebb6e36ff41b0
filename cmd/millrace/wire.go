package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"millrace/api"
	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/index"
	"millrace/ingest"
	"millrace/queue/disklog"
)

// parts is everything that a process is made of.
type parts struct {
	index    *index.Index
	log      queueLog
	letters  ingest.DeadLetters
	driver   ingest.Driver
	progress *ingest.Progress
	worker   *ingest.Worker
	api      *api.API
	retain   time.Duration // how long a deleted metric is remembered
	metrics  net.Listener  // of telemetry.metrics_listen; nil: none

	traits carbonara.Traits // of the store

	closers []io.Closer // in the order of opening
}

// A queueLog is both ends of a log.
type queueLog interface {
	ingest.Appender
	ingest.Source
	io.Closer
}

// build makes the parts and joins them. What was opened is closed again on an error.
func build(ctx context.Context, c *config, log *slog.Logger, t *telemetry) (_ *parts, err error) {
	p := &parts{retain: max(c.Queue.Retain, minRetain)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	lock, err := takeDataDir(c.DataDir)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, lock)
	if err := p.openIndex(ctx, c, log, t); err != nil {
		return nil, err
	}
	if p.log, err = openQueue(c, log, t); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.log)
	p.letters = p.index.Letters()
	if err := p.openDriver(ctx, c, log, t); err != nil {
		return nil, err
	}
	if err := p.joinDeployment(ctx, c); err != nil {
		return nil, err
	}
	if err := p.createDefaults(ctx, c, log); err != nil {
		return nil, err
	}
	p.progress = ingest.NewProgress(c.Sacks, p.log)
	maxFuture := c.Ingest.MaxFuture
	if maxFuture == 0 {
		maxFuture = -1 // any
	}
	acceptor := ingest.NewAcceptor(p.log, p.progress, c.Sacks, ingest.AcceptConfig{
		MaxFuture: maxFuture, MaxInFlight: int64(c.Ingest.MaxInFlight), MinRoom: int64(c.Ingest.MinRoom),
		MaxAge: c.Ingest.MaxAge, ProjectQuota: c.Ingest.ProjectQuota,
	})
	p.worker, err = ingest.NewWorker(p.log, p.driver, p.letters, ingest.Everything(c.Sacks), p.progress, ingest.WorkerConfig{
		FlushInterval: cmp.Or(c.Worker.FlushInterval, p.traits.FlushInterval), NudgeInterval: p.traits.NudgeInterval,
		FlushBytes: int64(c.Worker.FlushBytes), Retain: p.retainLog(c), ConfirmEvery: p.confirmEvery(),
		MaxFuture: maxFuture, Maintainers: int64(c.Worker.Maintainers),
	}, log, t.meter, t.tracer)
	if err != nil {
		return nil, err
	}
	who, err := c.API.authenticator(log)
	if err != nil {
		return nil, err
	}
	policies, err := c.API.policies()
	if err != nil {
		return nil, err
	}
	p.api, err = api.New(api.Deps{
		Index: p.index, Acceptor: acceptor, Log: p.log, Progress: p.progress, Driver: p.driver, Letters: p.letters,
		Auth: who, Policies: policies,
	}, api.Config{
		Prefix: c.API.Prefix, MaxLimit: c.API.MaxLimit, MaxBody: int64(c.API.MaxBody),
		MaxReads: c.API.MaxReads, MaxReadBytes: int64(c.API.MaxReadBytes), MaxPoints: c.API.MaxPoints,
		AllowedOrigins: c.API.CORSAllowedOrigins, TrustProxyHeaders: c.API.TrustProxyHeaders,
		WaitCap: c.API.WaitCap, Timeout: c.API.Timeout, ReadyLag: c.API.ReadyLag,
	}, log, t.meter, t.tracer)
	return p, err
}

func (p *parts) openIndex(ctx context.Context, c *config, log *slog.Logger, t *telemetry) (err error) {
	p.index, err = index.Open(ctx, c.Index.URL, index.Config{CacheMetrics: c.Index.CacheMetrics}, log, t.meter)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.index)
	return nil
}

func (p *parts) createDefaults(ctx context.Context, c *config, log *slog.Logger) error {
	if !c.Index.CreateDefaults {
		return nil
	}
	created, err := p.index.CreateDefaults(ctx)
	if created {
		log.Info("created the archive policies low, medium, high and bool, and the rule default")
	}
	return err
}

// openQueue opens the log that the settings choose.
func openQueue(c *config, log *slog.Logger, t *telemetry) (queueLog, error) {
	switch c.Queue.Driver {
	case "disklog":
		return disklog.Open(disk.OS{}, filepath.Join(c.DataDir, "log"), c.Sacks,
			disklog.Config{Retain: c.Queue.Retain, MaxBytes: int64(c.Queue.MaxBytes), SkipMissing: c.Queue.SkipMissing}, log, t.meter)
	}
	return nil, fmt.Errorf("there is no queue driver %q", c.Queue.Driver)
}

// openDriver opens the back-end that the settings choose.
func (p *parts) openDriver(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	store, err := openStore(ctx, c, log, t.meter)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, store)
	p.traits = store.Traits()
	observed, err := observeStore(store, t.meter)
	if err != nil {
		return err
	}
	d, err := carbonara.New(ctx, observed, p.index, c.Sacks, carbonara.Config{CacheBytes: int64(c.Storage.CacheBytes), ViewTTL: c.Storage.ViewTTL})
	if err != nil {
		return err
	}
	p.driver = d
	p.closers = append(p.closers, d)
	return observeCarbonara(t.meter, d)
}

// retainLog is how long the log keeps what has been applied: for a while, where the
// storage may lose the last of it.
func (p *parts) retainLog(c *config) time.Duration {
	if p.traits.MayGoBack {
		return cmp.Or(c.Queue.Retain, 15*time.Minute)
	}
	return c.Queue.Retain
}

// confirmEvery is how often the watermark is read back.
func (p *parts) confirmEvery() time.Duration {
	if p.traits.MayGoBack {
		return time.Minute
	}
	return 0
}

// close closes everything in the reverse order of opening.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i].Close())
	}
	p.closers = nil
	return errors.Join(errs...)
}
