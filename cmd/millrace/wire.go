package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"millrace/api"
	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/index"
	"millrace/ingest"
	"millrace/queue/kafka"
)

// parts is everything that a process is made of.
type parts struct {
	id       string // names this life of the process to the others
	sacks    int
	index    *index.Index
	log      queueLog
	letters  ingest.DeadLetters
	driver   ingest.Driver
	progress *ingest.Progress
	assigner ingest.Assigner // which sacks the worker is to own
	kafka    *kafka.Log      // the log, if it is on Kafka
	hints    ingest.Hinter   // how far the owners of sacks say they are; nil: nobody else owns any
	worker   *ingest.Worker
	api      *api.API
	retain   time.Duration // how long a deleted metric is remembered
	beside   []sideServer  // listeners of their own, for /metrics and profiles
	reserve  *disk.Reserve // of the data directory; nil: there is none

	rebase bool // the log is to be taken for a new one

	membership membership // in the deployment
	adopting   bool       // the index takes part in what is there

	traits traits // of the storage

	closers []io.Closer // in the order of opening
}

// build makes the parts and joins them. What was opened is closed again on an error.
func build(ctx context.Context, c *config, r roles, log *slog.Logger, t *telemetry) (_ *parts, err error) {
	p := &parts{id: newProcessID(), sacks: c.Sacks, retain: max(c.Queue.Retain, minRetain)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if c.keepsData() {
		lock, err := takeDataDir(c.DataDir)
		if err != nil {
			return nil, err
		}
		p.closers = append(p.closers, lock)
		if err := p.openReserve(c, log, t); err != nil {
			return nil, err
		}
	}
	if err := p.openIndex(ctx, c, log, t); err != nil {
		return nil, err
	}
	p.letters = p.index.Letters()
	if err := p.openDriver(ctx, c, log, t); err != nil {
		return nil, err
	}
	if err := p.openQueue(ctx, c, log, t); err != nil {
		return nil, err
	}
	if err := p.joinDeployment(ctx, c, log, t); err != nil {
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
	p.worker, err = ingest.NewWorker(p.log, p.driver, p.letters, p.assigner, p.progress, p.workerConfig(c, maxFuture),
		log, t.meter, t.tracer)
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
		Auth: who, Policies: policies, Deployment: &surroundings{p, p.process(r)},
	}, api.Config{
		Prefix: c.API.Prefix, MaxLimit: c.API.MaxLimit, MaxBody: int64(c.API.MaxBody),
		MaxReads: cmp.Or(c.API.MaxReads, p.slowReads()), MaxReadBytes: int64(c.API.MaxReadBytes), MaxPoints: c.API.MaxPoints,
		AllowedOrigins: c.API.CORSAllowedOrigins, TrustProxyHeaders: c.API.TrustProxyHeaders,
		WaitCap: c.API.WaitCap, Timeout: c.API.Timeout, ReadyLag: c.API.ReadyLag,
	}, log, t.meter, t.tracer)
	return p, err
}

// keepsData says whether anything is kept in data_dir, which one process at a time uses.
func (c *config) keepsData() bool {
	return c.Queue.Driver == "disklog" || c.Storage.Driver == "file" || strings.HasPrefix(c.Index.URL, "sqlite:")
}

// confirmEvery is how often the watermark is read back from a storage that may lose its
// tail, and volatileRetain how long the log keeps what such a storage has.
const (
	confirmEvery   = time.Minute
	volatileRetain = 15 * time.Minute
)

func (p *parts) workerConfig(c *config, maxFuture time.Duration) ingest.WorkerConfig {
	flush, table, ahead := c.workerMemory()
	w := ingest.WorkerConfig{
		FlushInterval: cmp.Or(c.Worker.FlushInterval, p.traits.flushInterval),
		NudgeInterval: cmp.Or(c.Worker.NudgeInterval, p.traits.nudgeInterval),
		FlushBytes:    int64(flush), TableBytes: int64(table), FetchAhead: int64(ahead),
		MaxFuture: maxFuture, Maintainers: int64(c.Worker.Maintainers), Retain: c.Queue.Retain,
	}
	if p.traits.mayGoBack {
		w.Retain = cmp.Or(c.Queue.Retain, volatileRetain)
		w.ConfirmEvery = min(confirmEvery, max(w.Retain/4, time.Second)) // several times while it is retained
	}
	return w
}

func (p *parts) openIndex(ctx context.Context, c *config, log *slog.Logger, t *telemetry) (err error) {
	p.index, err = index.Open(ctx, c.Index.URL, index.Config{
		CacheMetrics: c.Index.CacheMetrics, Believe: c.Index.Believe, MaxDefinitions: c.Index.MaxDefinitions,
		MaxLetters: c.Index.MaxLetters, MaxLetterBytes: int64(c.Index.MaxLetterBytes),
	}, log, t.meter)
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

// traits are what the worker makes of a storage.
type traits struct {
	flushInterval time.Duration
	nudgeInterval time.Duration // 0: it is near
	mayGoBack     bool          // it may lose the last of what it has acknowledged
}

func traitsOf(store carbonara.Store) traits {
	t := store.Traits()
	return traits{t.FlushInterval, t.NudgeInterval, t.MayGoBack}
}

// openDriver opens the back-end that the settings choose.
func (p *parts) openDriver(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	switch c.Storage.Driver {
	case "influxdb":
		return p.openInflux(ctx, c, log, t)
	default:
		return p.openCarbonara(ctx, c, log, t)
	}
}

// openCarbonara opens Carbonara on one of its stores.
func (p *parts) openCarbonara(ctx context.Context, c *config, log *slog.Logger, t *telemetry) error {
	store, err := openStore(ctx, c, p.rescue(), p.guard(), log, t.meter)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, store)
	p.traits = traitsOf(store)
	there := true
	if probed, ok := store.(*probedStore); ok {
		if there, err = p.await(ctx, probed.ensure, log); err != nil {
			return err
		}
	}
	var looked func(context.Context) (string, error)
	if there { // else it is looked at when it answers
		looked = func(ctx context.Context) (string, error) { return layoutOf(ctx, store) }
	}
	if err := p.identify(ctx, c, looked, p.adopting); err != nil {
		return err
	}
	observed, err := observeStore(store, t.meter)
	if err != nil {
		return err
	}
	d, err := carbonara.New(ctx, observed, p.index, c.Sacks, carbonara.Config{
		CacheBytes: int64(c.Storage.CacheBytes), ViewTTL: c.Storage.ViewTTL, Patient: !there,
		Deployment: p.membership.deployment, MustExist: p.membership.inUse(),
	})
	if err != nil {
		return p.membership.lost(err)
	}
	p.driver = d
	p.closers = append(p.closers, d)
	return observeCarbonara(t.meter, d)
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

// slowReads is how many reads are computed at one time where they mostly wait for
// storage; 0, the API's own default, where they don't.
func (p *parts) slowReads() int {
	if p.traits.nudgeInterval == 0 {
		return 0
	}
	return 16 * runtime.GOMAXPROCS(0)
}
