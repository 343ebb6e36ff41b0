package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// WorkerConfig tunes a Worker. The zero value of a field means its default.
type WorkerConfig struct {
	FlushInterval time.Duration // how long an applied record may wait for its flush; 10 s
	NudgeInterval time.Duration // the least time between two flushes of a sack that somebody waits for; 0
	FlushBytes    int64         // buffered bytes of one sack that flush it sooner; 32 MiB
	TableBytes    int64         // buffered bytes of all sacks; beyond, the largest is flushed; 256 MiB
	FetchAhead    int64         // bytes of records read ahead, of all sacks; 64 MiB
	MaxFuture     time.Duration // measures further ahead of their acceptance are dead letters; 30 min; negative: none
	Maintainers   int64         // sacks that do housekeeping at the same time; 16: the driver bounds what it does of it
	MaintainEvery time.Duration // how often to ask a sack that is not written to; 1 min
	Retain        time.Duration // how long the log keeps what has been applied; 0
	ConfirmEvery  time.Duration // how often to read the watermark back, for a back-end that may lose its tail; 0: never
	FetchPatience time.Duration // after so long without a record the log is asked whether it has none; 1 min
	BackoffMin    time.Duration // pause after a first failure, at most; 100 ms
	BackoffMax    time.Duration // and after many; 30 s
	ProbeEvery    time.Duration // how often a back-end that sacks pause for is asked whether it is there again; 1 s
	FlushTimeout  time.Duration // how long one flush may take, its retries included, or one Apply; 1 min
}

func (c WorkerConfig) withDefaults() WorkerConfig {
	setDefault(&c.FlushInterval, 10*time.Second)
	setDefault(&c.FlushBytes, 32<<20)
	setDefault(&c.TableBytes, 256<<20)
	setDefault(&c.FetchAhead, 64<<20)
	setDefault(&c.MaxFuture, DefaultMaxFuture)
	setDefault(&c.Maintainers, 16)
	setDefault(&c.MaintainEvery, time.Minute)
	setDefault(&c.FetchPatience, time.Minute)
	setDefault(&c.BackoffMin, 100*time.Millisecond)
	setDefault(&c.BackoffMax, 30*time.Second)
	setDefault(&c.ProbeEvery, time.Second)
	setDefault(&c.FlushTimeout, time.Minute)
	return c
}

// A Worker applies the log to a driver: one owner per sack, each on its own, so
// that one that stands still holds up nobody else. It owns the sacks that an
// Assigner gives it. It has the only retry loop of the apply side.
type Worker struct {
	source   Source
	driver   Driver
	letters  DeadLetters
	assigner Assigner
	progress *Progress
	config   WorkerConfig
	log      *slog.Logger
	metrics  *workerMetrics
	tracer   trace.Tracer
	chores   *semaphore.Weighted // held while maintaining
	tables   *tables
	revival  *revival

	mu     sync.Mutex
	owned  map[Sack]*ownership
	closed bool // nothing more is taken on
}

// An ownership is a sack that was assigned, until it has been given back.
type ownership struct {
	ctx      context.Context // ends when it is to be given back
	giveBack context.CancelFunc
	done     chan struct{} // closed when it has been
	epoch    uint64        // of the present tenure; 0: none, or one that does not fence
}

// NewWorker returns a Worker for the sacks that assigner names, among those of progress.
func NewWorker(source Source, driver Driver, letters DeadLetters, assigner Assigner, progress *Progress,
	config WorkerConfig,
	log *slog.Logger, meter metric.Meter, tracer trace.Tracer) (*Worker, error) {
	config = config.withDefaults()
	metrics, err := newWorkerMetrics(meter, progress, letters)
	if err != nil {
		return nil, err
	}
	return &Worker{
		source: source, driver: driver, letters: letters, assigner: assigner, progress: progress, config: config,
		log: log, metrics: metrics, tracer: tracer, chores: semaphore.NewWeighted(config.Maintainers),
		tables: newTables(config.TableBytes), revival: newRevival(driver, &config, log), owned: make(map[Sack]*ownership),
	}, nil
}

// Run applies until ctx ends, then flushes what it holds, gives its sacks back, and
// returns when everything that it started has stopped: nil, unless the assigner
// could not go on. A sack that fails is tried again for ever, with growing pauses; it
// shows in the lag.
func (w *Worker) Run(ctx context.Context) error {
	// Sacks are flushed before the group is left, so that whoever takes them over finds
	// all of it.
	assigning, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	var group errgroup.Group
	group.Go(func() error { w.revival.run(assigning); return nil })
	failed := make(chan struct{})
	group.Go(func() error {
		defer close(failed)
		if err := w.assigner.Run(assigning, w.claims, func(a Assignment) { w.follow(ctx, a) }); err != nil {
			return fmt.Errorf("cannot follow the assignment of sacks: %w", err)
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-failed:
	}
	w.giveAllBack()
	leave()
	return group.Wait()
}

// claims are the sacks that this process owns.
func (w *Worker) claims() []Claim {
	w.mu.Lock()
	defer w.mu.Unlock()
	var claims []Claim
	for sack, o := range w.owned {
		if o.epoch > 0 {
			claims = append(claims, Claim{sack, o.epoch})
		}
	}
	return claims
}

// follow gives back the sacks that are no longer ours and takes on the new ones; those
// that stay notice nothing. It does not wait.
func (w *Worker) follow(ctx context.Context, a Assignment) {
	wanted := make(map[Sack]bool, len(a.Sacks))
	for _, sack := range a.Sacks {
		wanted[sack] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for sack, o := range w.owned {
		if !wanted[sack] {
			o.giveBack()
		}
	}
	if w.closed {
		return
	}
	came := 0
	for sack := range wanted {
		previous := w.owned[sack]
		if previous != nil && previous.ctx.Err() == nil {
			continue
		}
		w.takeOn(ctx, sack, previous)
		came++
	}
	w.log.Info("sacks assigned", "generation", a.Generation, "sacks", len(wanted), "new", came)
}

// takeOn tends a sack in a goroutine of its own, once the previous one is done with
// it. The caller holds mu.
func (w *Worker) takeOn(ctx context.Context, sack Sack, previous *ownership) {
	mine, giveBack := context.WithCancel(ctx)
	o := &ownership{giveBack: giveBack, ctx: mine, done: make(chan struct{})}
	w.owned[sack] = o
	go func() {
		defer close(o.done)
		defer giveBack()
		if previous != nil {
			<-previous.done
		}
		w.tend(mine, sack, o)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.owned[sack] == o {
			delete(w.owned, sack)
		}
	}()
}

// giveAllBack returns when nothing is owned any more.
func (w *Worker) giveAllBack() {
	w.mu.Lock()
	w.closed = true
	var all []*ownership
	for _, o := range w.owned {
		o.giveBack()
		all = append(all, o)
	}
	w.mu.Unlock()
	for _, o := range all {
		<-o.done
	}
}

// tend owns a sack again and again until ctx ends.
func (w *Worker) tend(ctx context.Context, sack Sack, o *ownership) {
	defer w.progress.released(sack)
	backoff := w.newBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		err := w.own(ctx, sack, o)
		w.setEpoch(o, 0)
		if err == nil || ctx.Err() != nil {
			if err != nil {
				w.log.Warn("sack stopped with an error; what is not flushed will be applied again", "sack", sack, "err", err)
			}
			return
		}
		if time.Since(began) > w.config.BackoffMax {
			backoff = w.newBackoff()
		}
		w.metrics.failed(ctx, err)
		w.progress.stalled(sack, time.Now(), err)
		wait := backoff.next()
		if after, ok := RetryAfterOf(err); ok {
			wait = max(wait, min(after, w.config.BackoffMax))
		}
		fenced := errors.Is(err, ErrFenced)
		if fenced {
			wait = max(wait, time.Second) // let the other one work: it may be our successor
		}
		w.log.Error("cannot apply a sack; trying again", "sack", sack, "err", err, "pause", wait)
		w.pauseAfter(ctx, err, wait)
		if ctx.Err() != nil || fenced && !w.stillOurs(ctx, sack) {
			return
		}
	}
}

// stillOurs waits until the assigner has confirmed that the sack is to be ours, and
// says whether it did before ctx ended.
func (w *Worker) stillOurs(ctx context.Context, sack Sack) bool {
	for {
		err := w.assigner.Confirm(ctx)
		if err == nil {
			return true
		}
		w.log.Warn("cannot confirm the assignment of a sack that somebody else has opened", "sack", sack, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
	}
}

func (w *Worker) setEpoch(o *ownership, epoch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.epoch = epoch
}

// own opens a sack and applies its records until ctx ends (nil) or something fails.
func (w *Worker) own(ctx context.Context, sack Sack, o *ownership) (err error) {
	writer, at, err := w.driver.Open(ctx, sack)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("cannot open sack %d: %w", sack, err)
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	w.setEpoch(o, writer.Epoch())
	start, err := w.begin(ctx, sack, at)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	t := newTenure(w, sack, writer, start)
	w.progress.opened(ctx, sack, start.Offset)
	t.settle(at.Offset, time.Now())
	w.assigner.Applied(sack, start)
	defer w.tables.drop(sack)

	inner, cancel := context.WithCancelCause(ctx)
	var group errgroup.Group
	group.Go(func() error { t.fetch(inner, start); return nil })
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
	return err
}

// begin compares what the back-end holds with the log, and returns where to go on.
// A log that is not the one we knew is an alarm and a stop of the sack: new records
// would be taken for old ones.
func (w *Worker) begin(ctx context.Context, sack Sack, at Watermark) (Watermark, error) {
	log := w.source.Log()
	start := at.Clone()
	if at.Log != log && at.Log != (LogID{}) {
		if at.Offset > log.Base {
			return start, fmt.Errorf("sack %d was applied up to %d from the log %s, and the log is %s, which begins at %d: %w",
				sack, at.Offset, at.Log.ID, log.ID, log.Base, ErrForeign)
		}
		w.log.Info("a sack goes on in another log", "sack", sack, "from", at.Log.ID, "applied", at.Offset, "log", log.ID,
			"base", log.Base)
	}
	if at.Offset < log.Base { // nothing of this log has been applied
		start.Last = Fingerprint{}
	}
	start.Log = log
	start.Offset = max(start.Offset, log.Base)
	if err := w.source.Check(ctx, sack, start); err != nil {
		return start, fmt.Errorf("cannot go on with sack %d behind offset %d: %w", sack, start.Offset, err)
	}
	return start, nil
}
