package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// WorkerConfig tunes a Worker. The zero value of a field means its default.
type WorkerConfig struct {
	FlushInterval time.Duration // how long an applied record may wait for its flush; 1 s
	FlushBytes    int64         // buffered bytes of one sack that flush it sooner; 16 MiB
	MaxFuture     time.Duration // measures further ahead of their acceptance are dead letters; 24 h; negative: none
	Maintainers   int64         // sacks that do housekeeping at the same time; 1
	MaintainEvery time.Duration // how often to ask a sack that is not written to; 1 min
	BackoffMin    time.Duration // pause after a first failure; 100 ms
	BackoffMax    time.Duration // and after many; 30 s
	FlushTimeout  time.Duration // how long one flush may take, its retries included, or one Apply; 1 min
}

func (c WorkerConfig) withDefaults() WorkerConfig {
	setDefault(&c.FlushInterval, time.Second)
	setDefault(&c.FlushBytes, 16<<20)
	setDefault(&c.MaxFuture, 24*time.Hour)
	setDefault(&c.Maintainers, 1)
	setDefault(&c.MaintainEvery, time.Minute)
	setDefault(&c.BackoffMin, 100*time.Millisecond)
	setDefault(&c.BackoffMax, 30*time.Second)
	setDefault(&c.FlushTimeout, time.Minute)
	return c
}

// A Worker applies the log to a driver: one owner per sack, each on its own, so
// that one that stands still holds up nobody else. It has the only retry loop of
// the apply side.
type Worker struct {
	source   Source
	driver   Driver
	letters  DeadLetters
	progress *Progress
	config   WorkerConfig
	log      *slog.Logger
	metrics  *workerMetrics
	tracer   trace.Tracer
	chores   *semaphore.Weighted // held while maintaining
}

// NewWorker returns a Worker for all sacks of progress.
func NewWorker(source Source, driver Driver, letters DeadLetters, progress *Progress, config WorkerConfig,
	log *slog.Logger, meter metric.Meter, tracer trace.Tracer) (*Worker, error) {
	config = config.withDefaults()
	metrics, err := newWorkerMetrics(meter, progress, letters)
	if err != nil {
		return nil, err
	}
	return &Worker{
		source: source, driver: driver, letters: letters, progress: progress, config: config,
		log: log, metrics: metrics, tracer: tracer, chores: semaphore.NewWeighted(config.Maintainers),
	}, nil
}

// Run applies until ctx ends, then flushes what it holds and returns nil when
// everything that it started has stopped. A sack that fails is tried again for
// ever, with growing pauses; it shows in the lag.
func (w *Worker) Run(ctx context.Context) error {
	var group errgroup.Group
	for s := range w.progress.sacks {
		group.Go(func() error {
			w.tend(ctx, Sack(s))
			return nil
		})
	}
	return group.Wait()
}

// tend owns a sack again and again until ctx ends.
func (w *Worker) tend(ctx context.Context, sack Sack) {
	pause := w.config.BackoffMin
	for ctx.Err() == nil {
		began := time.Now()
		err := w.own(ctx, sack)
		if err == nil || ctx.Err() != nil {
			if err != nil {
				w.log.Warn("sack stopped with an error; what is not flushed will be applied again", "sack", sack, "err", err)
			}
			return
		}
		if time.Since(began) > w.config.BackoffMax {
			pause = w.config.BackoffMin
		}
		w.metrics.failed(ctx, err)
		w.progress.stalled(sack, time.Now(), err)
		if errors.Is(err, ErrFenced) {
			pause = max(pause, time.Second) // let the other one work: it may be our successor
		}
		w.log.Error("cannot apply a sack; trying again", "sack", sack, "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, w.config.BackoffMax)
	}
}

// own opens a sack and applies its records until ctx ends (nil) or something fails.
func (w *Worker) own(ctx context.Context, sack Sack) (err error) {
	writer, watermark, err := w.driver.Open(ctx, sack)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("cannot open sack %d: %w", sack, err)
	}
	t := &tenure{
		Worker: w, sack: sack, writer: writer, next: watermark, flushed: watermark,
		log: w.log.With("sack", sack), fetched: make(chan fetched), free: make(chan *Deliveries, 2),
		flushedOnce: make(chan struct{}, 1),
	}
	w.progress.opened(sack, watermark)
	w.source.Applied(sack, watermark)

	inner, cancel := context.WithCancelCause(ctx)
	var group errgroup.Group
	group.Go(func() error { t.fetch(inner, watermark); return nil })
	group.Go(func() error {
		if err := t.maintain(inner); err != nil {
			cancel(err)
		}
		return nil
	})
	err = t.apply(inner)
	if cause := context.Cause(inner); ctx.Err() == nil && err == nil && cause != nil {
		err = cause // the housekeeping failed for good
	}
	cancel(context.Canceled)
	group.Wait()
	return errors.Join(err, writer.Close())
}
