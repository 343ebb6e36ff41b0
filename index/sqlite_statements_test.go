package index

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"modernc.org/sqlite"
)

// counted counts what is prepared by the connections that it makes.
type counted struct {
	driver.Connector
	prepared map[string]int
}

func (c counted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return countedConn{conn.(sqliteConn), c.prepared}, nil
}

type countedConn struct {
	sqliteConn
	prepared map[string]int
}

func (c countedConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	c.prepared[text]++
	return c.sqliteConn.PrepareContext(ctx, text)
}

// openCounted opens a database in memory that counts what is prepared.
func openCounted(t *testing.T) (pool *sql.DB, prepared map[string]int) {
	connector := value(sqlite.NewConnector("file::memory:"))(t)
	prepared = make(map[string]int)
	pool = sql.OpenDB(preparingConnector{counted{connector, prepared}})
	pool.SetMaxOpenConns(1)
	t.Cleanup(func() { must(t, pool.Close()) })
	value(pool.Exec("CREATE TABLE t (n)"))(t)
	return pool, prepared
}

func TestSQLiteKeepsStatements(t *testing.T) {
	pool, prepared := openCounted(t)
	const insert, query = "INSERT INTO t VALUES (?)", "SELECT n FROM t ORDER BY n"
	var got []int
	for i := range 3 {
		value(pool.Exec(insert, i))(t)
		if _, err := pool.Exec("INSERT INTO t VALUES (?, 1)", i); err == nil {
			t.Fatal("a row of two columns was inserted into one")
		}
		got = append(got, numbers(t, value(pool.Query(query))(t))...)
	}
	if diff := cmp.Diff([]int{0, 0, 1, 0, 1, 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if prepared[insert] != 1 || prepared[query] != 1 {
		t.Errorf("prepared more than once: %v", prepared)
	}
	value(pool.Exec("CREATE INDEX by_n ON t (n)"))(t) // it changes how the kept ones run
	value(pool.Exec("PRAGMA user_version = 7"))(t)
	value(pool.Exec("PRAGMA user_version = 8"))(t)
	value(pool.Exec("PRAGMA user_version = 7"))(t) // done once more
	if got := numbers(t, value(pool.Query("PRAGMA user_version"))(t)); got[0] != 7 {
		t.Errorf("a PRAGMA was not done again: %v", got)
	}
	if got := numbers(t, value(pool.Query(query))(t)); len(got) != 3 {
		t.Errorf("%v after the schema has changed", got)
	}
}

// TestSQLiteSameStatementTwice reads rows while the same statement gives others.
func TestSQLiteSameStatementTwice(t *testing.T) {
	pool, _ := openCounted(t)
	value(pool.Exec("INSERT INTO t VALUES (1), (2), (3)"))(t)
	tx := value(pool.Begin())(t)
	defer tx.Rollback()
	const query = "SELECT n FROM t WHERE n >= ? ORDER BY n"
	for range 2 {
		outer := value(tx.Query(query, 1))(t)
		got := []int{}
		for outer.Next() {
			var n int
			must(t, outer.Scan(&n))
			got = append(append(got, n), numbers(t, value(tx.Query(query, 3))(t))...)
		}
		must(t, outer.Close())
		if diff := cmp.Diff([]int{1, 3, 2, 3, 3, 3}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestSQLiteKeepsFewStatements lets the statement go that is used least.
func TestSQLiteKeepsFewStatements(t *testing.T) {
	pool, prepared := openCounted(t)
	const often = "SELECT n FROM t"
	other := func(i int) string { return fmt.Sprintf("SELECT %d", i) }
	for i := range 2 * statementsKept {
		numbers(t, value(pool.Query(often))(t))
		numbers(t, value(pool.Query(other(i)))(t))
	}
	numbers(t, value(pool.Query(other(0)))(t))
	if prepared[often] != 1 || prepared[other(0)] != 2 {
		t.Errorf("what is used often was prepared %d times, what isn't %d times", prepared[often], prepared[other(0)])
	}
}

func numbers(t *testing.T, rows *sql.Rows) (list []int) {
	t.Helper()
	for rows.Next() {
		var n int
		must(t, rows.Scan(&n))
		list = append(list, n)
	}
	must(t, rows.Err())
	must(t, rows.Close())
	return list
}
