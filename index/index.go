package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	otelmetric "go.opentelemetry.io/otel/metric"
)

// An Index is an open index. Its methods may be called concurrently.
//
// A method that changes something returns nil when the change is durable and
// every later call on this Index sees it. An ObjectError or an InvalidError says
// what is wrong with the request, and that nothing was changed. Any other error
// says that the database has failed or that ctx has ended: the change may still
// happen.
type Index struct {
	config    Config
	log       *slog.Logger
	metrics   *metrics
	database  *database
	snapshots snapshots
	cache     *cache
	named     *namedCache
	follower  follower
	freshener freshener
	letters   *Letters
	writer    *writer

	closed  atomic.Bool
	closing sync.Once
	stop    context.CancelFunc // of the follower
	running sync.WaitGroup
}

// Open opens the index that url names, creates it when there is none, and brings
// its tables up to date. The URL sqlite:PATH is an SQLite database in a file whose
// folder exists; sqlite::memory: is one that ends with Close. The URL
// postgres://USER:PASSWORD@HOST:PORT/DATABASE is a PostgreSQL database, which a
// PgBouncer in transaction mode may stand before; its options are libpq's. An
// error that is ErrNewer says that a newer version of this program has changed the
// tables. What fails behind the back of every caller goes to log.
func Open(ctx context.Context, url string, config Config, log *slog.Logger, meter otelmetric.Meter) (*Index, error) {
	config = config.withDefaults()
	db, err := openDatabase(url, config.Readers)
	if err != nil {
		return nil, err
	}
	db.timeout = config.Timeout
	x := &Index{config: config, log: log, database: db,
		cache: newCache(config.CacheMetrics, config.CacheMissing), named: newNamedCache(config.CacheMetrics)}
	x.letters = &Letters{index: x}
	if err := x.start(ctx, meter); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open index %s: %w", db.name, err), db.close())
	}
	return x, nil
}

func (x *Index) start(ctx context.Context, meter otelmetric.Meter) (err error) {
	x.follower.started = time.Now()
	if x.metrics, err = newMetrics(meter, x); err != nil {
		return err
	}
	if err := x.database.dialect.check(ctx, x.database.reading(), x.log); err != nil {
		return err
	}
	if err := migrate(ctx, x.database, migrations()); err != nil {
		return err
	}
	var version, letters int64
	if err := x.database.reading().row(ctx, []any{&version, &letters}, `SELECT version, letters FROM state`); err != nil {
		return err
	}
	x.letters.count.Store(letters)
	x.cache.anew(version)
	if _, err := x.snapshots.refresh(ctx, x.database.reading()); err != nil {
		return err
	}
	x.writer = newWriter(x.database, &x.snapshots, x.cache, x.named, x.metrics)
	x.running.Go(x.writer.run)
	following, stop := context.WithCancel(context.Background())
	x.stop = stop
	x.running.Go(func() { x.follow(following) })
	return nil
}

// Close waits for the changes that are under way and closes the database. Calls
// after it fail with ErrClosed.
func (x *Index) Close() error {
	var err error
	x.closing.Do(func() {
		x.closed.Store(true)
		x.writer.close()
		x.stop()
		x.running.Wait()
		err = x.database.close()
	})
	return err
}

// Counts is how many objects the index holds.
type Counts struct {
	Policies, Rules int64
	Metrics         int64 // active ones
	Deleted         int64 // marked, not yet purged
}

// Counts counts, without looking at every metric.
func (x *Index) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	err := x.database.reading().row(ctx, []any{&c.Policies, &c.Rules, &c.Metrics, &c.Deleted}, `SELECT
		(SELECT count(*) FROM archive_policies), (SELECT count(*) FROM archive_policy_rules), metrics, deleted FROM state`)
	if err != nil {
		return Counts{}, x.failed("cannot count", err)
	}
	return c, nil
}

// failed says what could not be done. That a request makes no sense speaks for
// itself; what a closed database says interests nobody.
func (x *Index) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ObjectError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*InvalidError](err); ok {
		return err
	}
	if x.closed.Load() {
		return ErrClosed
	}
	if x.database.transient(err) {
		return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
