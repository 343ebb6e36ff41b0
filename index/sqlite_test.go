package index

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

func TestSQLite(t *testing.T) {
	runIndex(t, func(t *testing.T) opener {
		url := "sqlite:" + t.TempDir() + "/index.db"
		return func(config Config) *Index { return openIndex(t, url, config) }
	})
}

func openIndex(t testing.TB, url string, config Config) *Index {
	t.Helper()
	x, err := openURL(t, url, config)
	must(t, err)
	t.Cleanup(func() { must(t, x.Close()) })
	return x
}

func TestSQLiteURLs(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	must(t, err)
	for _, url := range []string{"sqlite:relative.db", "sqlite:./a b%41#.db", "sqlite:" + here + "/absolute.db",
		"sqlite://" + here + "/slashes.db"} {
		x := openIndex(t, url, Config{})
		value(x.CreateDefaults(t.Context()))(t)
	}
	for _, file := range []string{"relative.db", "a b%41#.db", "absolute.db", "slashes.db"} {
		if _, err := os.Stat(filepath.Join(here, file)); err != nil {
			t.Error(err)
		}
	}
	for _, url := range []string{"", "index.db", "sqlite", "sqlite:", "sqlite:x.db?mode=ro", "oracle:secret",
		"sqlite:no/such/folder/x.db"} {
		x, err := openURL(t, url, Config{})
		if err == nil {
			t.Errorf("%q was opened", url)
			x.Close()
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error for %q gives it away: %v", url, err)
		}
	}
}

// TestSQLiteInMemory does in one connection what others do in two pools.
func TestSQLiteInMemory(t *testing.T) {
	x := openIndex(t, "sqlite::memory:", Config{})
	other := openIndex(t, "sqlite::memory:", Config{})
	value(x.CreateDefaults(t.Context()))(t)
	if got := value(other.Policies(t.Context()))(t); len(got) != 0 {
		t.Errorf("another has %v", got)
	}
	testCancelled(t, func(c Config) *Index { return openIndex(t, "sqlite::memory:", c) })
	testNeighbours(t, func(c Config) *Index { return openIndex(t, "sqlite::memory:", c) })
}

// TestSQLiteIsDurable checks that a commit waits for the device: in write-ahead
// mode that takes synchronous=FULL.
func TestSQLiteIsDurable(t *testing.T) {
	x := openIndex(t, "sqlite:"+t.TempDir()+"/index.db", Config{})
	pragma := func(name string) (v string) {
		t.Helper()
		must(t, x.database.writes.QueryRow("PRAGMA "+name).Scan(&v))
		return v
	}
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		if got := pragma(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if _, err := x.database.reads.Exec("DELETE FROM metrics"); err == nil {
		t.Error("a reading connection writes")
	}
}

// TestSQLiteIsPrivate: nobody but the owner reads the files, be they from before.
func TestSQLiteIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	must(t, os.WriteFile(path, nil, 0o644))
	x := openIndex(t, "sqlite:"+path, Config{})
	must(t, x.CreatePolicy(t.Context(), policy("p", time.Minute)))
	files := value(filepath.Glob(path + "*"))(t)
	if len(files) != 3 {
		t.Errorf("there are %q", files)
	}
	for _, file := range files {
		if mode := value(os.Stat(file))(t).Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has the mode %o", file, mode)
		}
	}
}

// TestSQLiteFull has no room for changes: they are refused for now, not for good.
func TestSQLiteFull(t *testing.T) {
	x := withPolicies(t, func(c Config) *Index { return openIndex(t, "sqlite:"+t.TempDir()+"/index.db", c) }, Config{})
	pages := func(limit string) {
		t.Helper()
		must(t, second(x.database.writes.Exec("PRAGMA max_page_count = "+limit)))
	}
	var there string
	must(t, x.database.writes.QueryRow("PRAGMA page_count").Scan(&there))
	pages(there)
	many := make([]Metric, 2000)
	for i := range many {
		many[i] = metric(fmt.Sprint(i))
	}
	for range 2 {
		if err := x.CreateMetrics(t.Context(), many); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a full disk: %v, want ErrUnavailable", err)
		}
	}
	if got := value(x.Counts(t.Context()))(t); got.Metrics != 0 {
		t.Errorf("%d metrics were created nevertheless", got.Metrics)
	}
	pages("1000000")
	must(t, x.CreateMetrics(t.Context(), many))
}

// TestSQLitePlans checks that no page costs more than the metrics which it looks at:
// that the database walks an index to where the page begins and sorts nothing.
func TestSQLitePlans(t *testing.T) {
	x := withPolicies(t, func(c Config) *Index { return openIndex(t, "sqlite::memory:", c) }, Config{})
	text := "some"
	marker := metric("name")
	plan := func(f Filter, sorts []string, marker *Metric, want ...string) {
		t.Helper()
		orders, err := parseSorts(sorts)
		must(t, err)
		var got []string
		for _, part := range parts(orders, marker.values(orders)) {
			query, args := part.query(wholeTable, f, 10)
			steps := ""
			must(t, x.database.reading().rows(t.Context(), func(rows *sql.Rows) error {
				var step string
				err := rows.Scan(new(int), new(int), new(int), &step)
				steps += step + "; "
				return err
			}, "EXPLAIN QUERY PLAN "+query, args...))
			got = append(got, steps)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("filter %+v, sorts %q (-want +got):\n%s", f, sorts, diff)
		}
	}
	const byID = "metrics USING INDEX sqlite_autoindex_metrics_1"
	plan(Filter{}, nil, nil, "SCAN "+byID+"; ")
	plan(Filter{}, nil, &marker, "SEARCH "+byID+" (id>?); ")
	plan(Filter{}, []string{"id:desc"}, &marker, "SEARCH "+byID+" (id<?); ")
	for _, f := range []Filter{{Policy: &text}, {Creator: &text}, {Unit: &text}} {
		plan(f, nil, &marker, "SEARCH "+byID+" (id>?); ")
	}
	plan(Filter{Project: &text}, nil, &marker, "SEARCH "+byID+" (id>?); CORRELATED SCALAR SUBQUERY 1; "+
		"SEARCH resources USING INDEX sqlite_autoindex_resources_1 (id=?); ")
	must(t, x.CreateMetric(t.Context(), Metric{ID: ingest.NewMetricID(), Unit: &text, Policy: "low", Creator: "u:" +
		text}))
	for f, want := range map[Filter]string{
		{Unit: &text}:    "SEARCH metrics USING INDEX metrics_by_unit (unit=?)",
		{Project: &text}: "SEARCH metrics USING INDEX metrics_by_creator (creator=?)",
	} {
		from, nowhere, err := f.from(t.Context(), x.database.reading())
		must(t, err)
		query, args := part{orders: []order{{key: value2(sortKeyOf("id"))}}}.query(from, f, 10)
		steps := ""
		must(t, x.database.reading().rows(t.Context(), func(rows *sql.Rows) error {
			var step string
			err := rows.Scan(new(int), new(int), new(int), &step)
			steps += step + "; "
			return err
		}, "EXPLAIN QUERY PLAN "+query, args...))
		if nowhere || !strings.Contains(steps, want) {
			t.Errorf("%+v is looked for by %s", f, steps)
		}
	}
	plan(Filter{Name: &text}, nil, &marker, "SEARCH metrics USING INDEX metrics_by_name (name=? AND id>?); ")
	const byName, noName = "SEARCH metrics USING INDEX metrics_by_name (name>?); ",
		"SEARCH metrics USING INDEX metrics_by_name (name=?); "
	plan(Filter{}, []string{"name"}, nil, byName, noName)
	plan(Filter{}, []string{"name"}, &marker, byName, noName)
	plan(Filter{}, []string{"name:asc-nullsfirst"}, &marker, byName)
	// Many metrics have the same: all are looked at in the order in which they stand, and sorted.
	const sorted = "SCAN metrics; USE TEMP B-TREE FOR ORDER BY; "
	plan(Filter{}, []string{"creator"}, nil, sorted)
	plan(Filter{}, []string{"unit:desc"}, nil, "SCAN "+byID+"; ", sorted)
}

// explained is a database of which each query is explained before it runs.
type explained struct {
	*sql.DB
	plans []string
}

func (e *explained) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := e.DB.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var step string
		if err := rows.Scan(new(int), new(int), new(int), &step); err != nil {
			return nil, err
		}
		e.plans = append(e.plans, step)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	return e.DB.QueryContext(ctx, query, args...)
}

// What is asked about many at once is searched for, however many they are: no table is read
// as a whole. (SQLite changes its mind with the number of what is wanted.)
func TestSQLitePlansOfMany(t *testing.T) {
	x := withPolicies(t, func(c Config) *Index { return openIndex(t, "sqlite::memory:", c) }, Config{})
	for _, n := range []int{1, 2, 10, 100, 300, 400, refsPerQuery, idsPerQuery} {
		on := &explained{DB: x.database.reads}
		s := x.database.reading()
		s.on = on
		var metrics []ingest.MetricID
		var resources []ResourceID
		var refs []MetricRef
		var some []int
		for i := range n {
			metrics = append(metrics, ingest.NewMetricID())
			resources = append(resources, ResourceID(ingest.NewMetricID()))
			refs = append(refs, MetricRef{Resource: resources[i], Name: []byte("cpu")})
			some = append(some, i)
		}
		_, err := findMetrics(t.Context(), s, metrics, make(map[ingest.MetricID]MetricInfo))
		must(t, err)
		must(t, findResourceInfos(t.Context(), s, resources, func(ResourceID, ResourceInfo) {}))
		if n <= refsPerQuery {
			_, err = findNamed(t.Context(), s, refs, some)
			must(t, err)
		}
		for _, step := range on.plans {
			table, _, _ := strings.Cut(strings.TrimPrefix(step, "SCAN "), " ")
			if strings.HasPrefix(step, "SCAN ") && slices.Contains([]string{"metrics", "m", "resources", "r"}, table) {
				t.Errorf("%d at once: %s", n, step)
			}
		}
	}
}

func value2[T any](v T, _ bool) T { return v }

const killedURL = "MILLRACE_INDEX_TEST_URL"

// TestKilled kills a process that creates metrics and looks for those that it had
// been told are created.
func TestKilled(t *testing.T) {
	if url := os.Getenv(killedURL); url != "" {
		createForever(t, url)
	}
	url := "sqlite:" + t.TempDir() + "/index.db"
	for round := range 3 {
		victim := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		victim.Env = append(os.Environ(), killedURL+"="+url)
		out, err := victim.StdoutPipe()
		must(t, err)
		must(t, victim.Start())
		var told []ingest.MetricID
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			id, err := ingest.ParseMetricID(lines.Text())
			if err != nil {
				break // the last line may be cut short
			}
			if told = append(told, id); len(told) == 100*(round+1) {
				must(t, victim.Process.Kill())
			}
		}
		if err := victim.Wait(); err == nil || len(told) < 100 {
			t.Fatalf("the process that creates metrics has ended after %d: %v", len(told), err)
		}
		x, err := openURL(t, url, Config{})
		must(t, err)
		for _, id := range told {
			if _, err := x.Metric(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
		must(t, x.Close())
	}
}

func createForever(t *testing.T, url string) {
	x, err := openURL(t, url, Config{})
	must(t, err)
	value(x.CreateDefaults(t.Context()))(t)
	for range 4 {
		go func() {
			for {
				m := metric("")
				if err := x.CreateMetric(t.Context(), m); err == nil {
					fmt.Println(m.ID)
				}
			}
		}()
	}
	select {}
}

func TestMigrations(t *testing.T) {
	open := func(t *testing.T) *database {
		db, err := openDatabase("sqlite:"+t.TempDir()+"/index.db", 1)
		must(t, err)
		t.Cleanup(func() { must(t, db.close()) })
		return db
	}
	tables := func(db *database) (names string) {
		must(t, db.reading().row(t.Context(), []any{&names},
			`SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema WHERE type = 'table'`))
		return names
	}
	one := migration{name: "1_a", statements: "CREATE TABLE a (x {bytes})"}
	two := migration{name: "2_b", statements: "CREATE TABLE b (y {text}); CREATE TABLE c (z {text})"}
	broken := migration{name: "3_d", statements: "CREATE TABLE d (w BIGINT); CREATE TABLE"}
	t.Run("each once", func(t *testing.T) {
		db := open(t)
		for _, list := range [][]migration{{one}, {one}, {one, two}, {one, two}} {
			must(t, migrate(t.Context(), db, list))
		}
		if got := tables(db); got != "a b c migrations" {
			t.Errorf("tables are %s", got)
		}
	})
	t.Run("all or none", func(t *testing.T) {
		db := open(t)
		must(t, migrate(t.Context(), db, []migration{one}))
		if err := migrate(t.Context(), db, []migration{one, two, broken}); err == nil ||
			!strings.Contains(err.Error(), "cannot apply migration 3_d") {
			t.Errorf("a broken migration: %v", err)
		}
		if got := tables(db); got != "a migrations" {
			t.Errorf("tables are %s", got)
		}
		must(t, migrate(t.Context(), db, []migration{one, two}))
	})
	t.Run("newer", func(t *testing.T) {
		db := open(t)
		must(t, migrate(t.Context(), db, []migration{one, two}))
		err := migrate(t.Context(), db, []migration{one})
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("tables of a newer version: %v", err)
		}
	})
}
