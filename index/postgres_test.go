package index

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
)

// postgres returns the URL of a new, empty database.
func postgres(t testing.TB) string {
	t.Helper()
	server := testservers.Postgres(t)
	return server.URL(server.Database(t))
}

func TestPostgres(t *testing.T) {
	runIndex(t, func(t *testing.T) opener {
		url := postgres(t)
		return func(config Config) *Index { return openIndex(t, url, config) }
	})
}

// TestPgBouncer runs everything through a PgBouncer that gives every transaction
// another session.
func TestPgBouncer(t *testing.T) {
	server := testservers.Postgres(t)
	bouncer := testservers.NewPgBouncer(t, server)
	runIndex(t, func(t *testing.T) opener {
		url := bouncer.URL(server.Database(t))
		return func(config Config) *Index { return openIndex(t, url, config) }
	})
}

// TestPostgresRestarts kills the server under an index, and starts it again.
func TestPostgresRestarts(t *testing.T) {
	server := testservers.NewPostgres(t)
	url := server.URL(server.Database(t))
	open := func(c Config) *Index { return openIndex(t, url, c) }
	ctx := t.Context()
	x, other := withPolicies(t, open, Config{Refresh: 20 * time.Millisecond}),
		open(Config{Refresh: 20 * time.Millisecond})
	known, gone := metric(""), metric("")
	must(t, x.CreateMetrics(ctx, []Metric{known, gone}))
	for range 2 {
		other.finds(t, gone)
		server.Kill()
		for _, x := range []*Index{x, other} { // Those who served it notice in a moment.
			for x.Told(ctx, Deletion{Metric: known.ID}) == nil || x.poll(ctx) == nil || second(x.Counts(ctx)) == nil {
				time.Sleep(time.Millisecond)
			}
		}
		if !x.finds(t, known) {
			t.Error("a known metric is refused while the database is gone")
		}
		value(x.Policy(ctx, "low"))(t)
		for what, err := range map[string]error{
			"Lookup":       second(x.Lookup(ctx, entriesOf(metric("")), make([]MetricInfo, 1))),
			"CreateMetric": x.CreateMetric(ctx, metric("")),
			"MarkDeleted":  x.MarkDeleted(ctx, known.ID),
			"Policy":       second(x.Policy(ctx, "unknown")),
			"Metrics":      second(x.Metrics(ctx, Filter{}, Page{})),
			"Counts":       second(x.Counts(ctx)),
		} {
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) {
				t.Errorf("%s while the database is gone: %v, want ErrUnavailable", what, err)
			}
		}
		must(t, server.Start())
		if x.finds(t, metric("")) {
			t.Error("an unknown metric is found")
		}
		value(x.Metric(ctx, known.ID))(t)
		must(t, x.CreateMetric(ctx, metric("")))
		must(t, x.MarkDeleted(ctx, gone.ID))
		for other.finds(t, gone) { // until it hears of it
			time.Sleep(time.Millisecond)
		}
		must(t, x.Purge(ctx, gone.ID))
		must(t, x.CreateMetric(ctx, gone))
	}
}

// TestPostgresStalledWriter has a process stop in the midst of a transaction: the
// others go on when the database has taken the lock from it.
func TestPostgresStalledWriter(t *testing.T) {
	url := postgres(t)
	open := func(c Config) *Index { return openIndex(t, url, c) }
	x := withPolicies(t, open, Config{})
	stalled, err := openDatabase(url, 1)
	must(t, err)
	t.Cleanup(func() { must(t, stalled.close()) })
	stalled.dialect.begin = strings.Replace(stalled.dialect.begin, "'10s'", "'100ms'", 1)
	_, err = stalled.transact(t.Context(), func(s session) error {
		must(t, x.CreateMetric(t.Context(), metric(""))) // It waits for the lock.
		_, err := s.exec(t.Context(), `DELETE FROM metrics`)
		return err
	})
	if !stalled.transient(err) {
		t.Errorf("a transaction that was cut off: %v", err)
	}
	if got := value(x.Counts(t.Context()))(t); got.Metrics != 1 {
		t.Errorf("there are %d metrics, want 1", got.Metrics)
	}
}

// TestPostgresMigratesOnce has many processes make the tables at the same time.
func TestPostgresMigratesOnce(t *testing.T) {
	url := postgres(t)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			x, err := openURL(t, url, Config{})
			if err == nil {
				_, err = x.CreateDefaults(t.Context())
				err = errors.Join(err, x.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if ps := value(openIndex(t, url, Config{}).Policies(t.Context()))(t); len(ps) != 4 {
		t.Errorf("there are %d archive policies, want 4", len(ps))
	}
}

func TestPostgresURLs(t *testing.T) {
	for _, url := range []string{"postgres://u:secret@127.0.0.1:1/x?connect_timeout=1",
		"postgres://u:secret@127.0.0.1:x/y",
		"postgres://u@127.0.0.1:1/x?password=secret&connect_timeout=1", "postgres://u:secret@127.0.0.1:1/x?sslmode=secret"} {
		x, err := openURL(t, url, Config{})
		if err == nil {
			t.Errorf("%q was opened", url)
			x.Close()
		} else if strings.Contains(strings.ReplaceAll(err.Error(), "sslmode is invalid", ""), "secret") {
			t.Errorf("the error gives the password away: %v", err)
		}
	}
	f := func(want, statement string) {
		t.Helper()
		if got := bindPostgres(statement); got != want {
			t.Errorf("%s becomes %s, want %s", statement, got, want)
		}
	}
	f("SELECT 1", "SELECT 1")
	f("a = $1 AND b = '?''?' AND c IN ($2, $3)", "a = ? AND b = '?''?' AND c IN (?, ?)")
}
