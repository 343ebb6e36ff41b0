package ingest

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// probeTimeout bounds one sign of life.
const probeTimeout = 3 * time.Second

// A revival ends the pauses of a Worker's sacks when a back-end that was gone is there again.
// While sacks pause, one of all asks it for a sign of life, every so often; what counts is
// that one comes after none has come. A back-end that answers all along and refuses what it
// is asked is left its pauses, and so is more and more one that comes and goes: all that tries
// again at once is what it can bear least.
type revival struct {
	prober Prober // nil: nobody can be asked, and pauses are as long as they are
	every  time.Duration
	jitter time.Duration // what the sacks that go on are spread over
	trial  time.Duration // how long a back-end has to stay that has gone again and again
	log    *slog.Logger
	asked  chan struct{} // capacity 1: somebody pauses

	lastBack time.Time     // when pauses were ended last; run's alone, as is proof
	proof    time.Duration // how long the back-end has to answer this time

	mu      sync.Mutex
	pausing int
	back    chan struct{} // closed and replaced when the back-end is there again
	times   int           // that it was
}

func newRevival(driver Driver, config *WorkerConfig, log *slog.Logger) *revival {
	prober, _ := driver.(Prober)
	return &revival{prober: prober, every: config.ProbeEvery, jitter: config.BackoffMin, trial: config.BackoffMax,
		log: log, asked: make(chan struct{}, 1), back: make(chan struct{})}
}

// pause returns after a time, when ctx ends, or when the back-end is there again.
func (r *revival) pause(ctx context.Context, wait time.Duration) {
	r.mu.Lock()
	r.pausing++
	back := r.back
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pausing--
	}()
	notify(r.asked)
	select {
	case <-ctx.Done():
		return
	case <-time.After(wait):
		return
	case <-back:
	}
	sleep(ctx, rand.N(r.jitter+1))
}

// sleep returns after a time, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// run asks for signs of life while sacks pause, until ctx ends.
func (r *revival) run(ctx context.Context) {
	if r.prober == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.asked:
		}
		r.watch(ctx)
	}
}

// watch returns when no sack pauses, and the back-end has answered last.
func (r *revival) watch(ctx context.Context) {
	var gone, answers time.Time // since when; zero: it isn't, or doesn't
	for ctx.Err() == nil {
		now, err := time.Now(), r.probe(ctx)
		switch {
		case err != nil:
			answers = time.Time{}
			if gone.IsZero() {
				gone = now
				r.relapsed(now)
			}
		case !gone.IsZero():
			if answers.IsZero() {
				answers = now
			}
			if now.Sub(answers) >= r.proof {
				r.log.Info("the back-end is there again", "gone", answers.Sub(gone).Round(time.Second))
				gone = time.Time{}
				r.revive()
			}
		}
		if gone.IsZero() && !r.isPausing() {
			return
		}
		sleep(ctx, r.every)
	}
}

// relapsed decides how long the back-end has to answer before that ends pauses: not at all,
// unless it has been gone shortly before, and then twice as long as it had to the last time.
func (r *revival) relapsed(now time.Time) {
	if now.Sub(r.lastBack) > 2*r.trial {
		r.proof = 0
		return
	}
	r.proof = min(max(r.every, 2*r.proof), r.trial)
}

func (r *revival) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return r.prober.Probe(ctx)
}

// revive ends the pauses.
func (r *revival) revive() {
	r.lastBack = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.back)
	r.back = make(chan struct{})
	r.times++
}

func (r *revival) isPausing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pausing > 0
}

func (r *revival) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times
}

// A backoff is how long to pause after the next failure of a row of them.
type backoff struct {
	*Worker
	pause    time.Duration
	revivals int // that it knows of
}

func (w *Worker) newBackoff() *backoff {
	return &backoff{Worker: w, pause: w.config.BackoffMin, revivals: w.revival.count()}
}

// next is twice the last, within limits. When the back-end has been there again meanwhile, the
// row begins anew: also for who didn't pause then, but waited for an answer.
func (b *backoff) next() time.Duration {
	if n := b.revival.count(); n != b.revivals {
		b.pause, b.revivals = b.config.BackoffMin, n
	}
	pause := b.pause
	b.pause = min(2*pause, b.config.BackoffMax)
	return pause
}

// pauseAfter pauses after an error, or until the back-end is there again, if it was gone and
// hasn't said itself how long to wait. When ctx ends it returns at once.
func (w *Worker) pauseAfter(ctx context.Context, err error, wait time.Duration) {
	if _, told := RetryAfterOf(err); !told && !errors.Is(err, ErrFenced) {
		w.revival.pause(ctx, wait)
		return
	}
	sleep(ctx, wait)
}
