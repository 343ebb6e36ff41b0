package index

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	writerQueue = 256 // changes that may wait; callers wait beyond
	writerGroup = 256 // changes in one transaction
)

// A change is one request to change the index.
type change struct {
	ctx context.Context
	// apply runs the change's statements. An error undoes them, and nothing else.
	apply func(ctx context.Context, s session) error
	// policies says that archive policies or rules are changed.
	policies bool

	err  error
	done chan struct{} // closed when err is set
}

// A writer makes the changes, one after another in one goroutine. While a
// transaction is being written to the device the next changes gather; they share
// the next one.
type writer struct {
	database  *database
	snapshots *snapshots
	cache     *cache
	named     *namedCache
	metrics   *metrics
	queue     chan *change

	mu     sync.RWMutex
	closed bool
}

func newWriter(db *database, snapshots *snapshots, c *cache, named *namedCache, m *metrics) *writer {
	return &writer{database: db, snapshots: snapshots, cache: c, named: named, metrics: m,
		queue: make(chan *change, writerQueue)}
}

// do makes a change and returns when it is durable, or can't be made, or ctx ends:
// then it may be made or not.
func (w *writer) do(ctx context.Context, c *change) error {
	c.ctx, c.done = ctx, make(chan struct{})
	if err := w.enqueue(c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) enqueue(c *change) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- c:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// close lets no more changes in. Run returns when those inside are made.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.queue)
}

func (w *writer) run() {
	group := make([]*change, 0, writerGroup)
	for c := range w.queue {
		group = w.gather(append(group[:0], c))
		err := w.commit(group)
		for _, c := range group {
			if c.err == nil {
				c.err = err
			}
			close(c.done)
		}
		clear(group)
	}
}

// gather adds whatever is waiting.
func (w *writer) gather(group []*change) []*change {
	for len(group) < writerGroup {
		select {
		case c, ok := <-w.queue:
			if !ok {
				return group
			}
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

const (
	writerTries   = 3                // of a transaction that others were in the way of
	writerTimeout = 20 * time.Second // of a transaction
)

// commit makes a group of changes in one transaction. An error concerns all of
// them; those that can't be made have theirs in err. It doesn't stop when a
// caller's context ends: the others' changes are in the same transaction.
func (w *writer) commit(group []*change) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), writerTimeout)
	defer cancel()
	begun := time.Now()
	defer func() { w.metrics.written(len(group), time.Since(begun), err) }()
	for try := 1; ; try++ {
		var done outcome
		committing, err := w.database.transact(ctx, func(s session) (err error) {
			done, err = w.apply(ctx, s, group)
			return err
		})
		if err == nil {
			w.committed(&done)
		}
		fault := w.database.dialect.fault(err)
		again := fault == faultConflict || fault == faultLost && !committing
		if !again || try == writerTries || ctx.Err() != nil {
			return err
		}
	}
}

// An outcome is what a transaction has done, for the caches.
type outcome struct {
	effects  effects
	version  int64     // of the feed
	snapshot *snapshot // nil: it is as before
}

// committed tells the caches what is durable, before the callers know.
func (w *writer) committed(done *outcome) {
	w.cache.committed(&done.effects, done.version)
	w.named.forget(done.effects.renamed)
	if done.snapshot != nil {
		w.snapshots.store(done.snapshot)
	}
}

// apply applies a group of changes.
func (w *writer) apply(ctx context.Context, s session, group []*change) (done outcome, err error) {
	for _, c := range group {
		if c.err = c.ctx.Err(); c.err != nil {
			continue
		}
		did := effects{held: c.policies}
		s.effects = &did
		if len(group) == 1 { // Fast path: the transaction is its savepoint.
			err = c.apply(ctx, s)
		} else {
			err = c.applyInSavepoint(ctx, s)
		}
		if err != nil {
			return outcome{}, err
		}
		if c.err == nil {
			done.effects.add(did)
		}
	}
	s.effects = nil
	if done.version, err = done.effects.record(ctx, s); err == nil && done.effects.held {
		done.snapshot, err = w.snapshots.load().reread(ctx, s, done.version)
	}
	return done, err
}

// applyInSavepoint applies a change in a savepoint and leaves its error in c.err. The
// error that it returns has ruined the whole transaction.
func (c *change) applyInSavepoint(ctx context.Context, s session) error {
	if _, err := s.exec(ctx, "SAVEPOINT one_change"); err != nil {
		return err
	}
	if c.err = c.apply(ctx, s); c.err != nil {
		switch s.dialect.fault(c.err) {
		case faultConflict, faultLost:
			return c.err
		}
		if _, err := s.exec(ctx, "ROLLBACK TO SAVEPOINT one_change"); err != nil {
			return errors.Join(c.err, err)
		}
	}
	_, err := s.exec(ctx, "RELEASE SAVEPOINT one_change")
	return err
}
