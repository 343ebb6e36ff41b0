package index

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// A dialect is all that differs between the databases.
type dialect struct {
	// name is what errors and the log call it.
	name string
	// open opens the database at an address, and says what it may be called: its
	// URL without secrets.
	open func(address string, readers int) (pools, string, error)
	// words of migrations: {text} compares byte by byte, {bytes} holds any bytes,
	// {json} is a JSON document, {serial} the key of a table: it numbers the rows from
	// 1 and never gives a number again.
	words *strings.Replacer
	// bind writes a statement's parameters, which are question marks, as the database does.
	bind func(statement string) string
	// begin, the first statements of every transaction that writes, lets in one
	// transaction at a time, of all processes.
	begin string
	// rowsPerInsert is how many rows are inserted with one statement: as many as are left,
	// but no more than the first; or, where there are others, the largest that there are
	// enough for. The last of them is 1: few statements, which stay prepared.
	rowsPerInsert []int
	// brief is the context for a statement that takes no time of its own, where watching
	// for the end of its context would take longer.
	brief func(context.Context) context.Context
	// slowReturning says that to read a changed row again takes less time than RETURNING.
	slowReturning bool
	// sorting does in a transaction what may sort a whole table: not in memory. All else
	// that the writer keeps besides, to undo half a statement, is small.
	sorting func(ctx context.Context, s session, do func() error) error
	// now is an expression for the database's clock, in nanoseconds since 1970.
	now string
	// lastNumber is a query for the last number that a {serial} column has given, 0
	// when it has given none; goOnFrom are statements that let it go on from there.
	lastNumber func(table, column string) string
	goOnFrom   func(table, column string, last int64) []string
	// fault says what kind of error an error of the database is.
	fault func(err error) fault
	// check looks for settings of the database that would lose what was committed.
	check func(ctx context.Context, s session, log *slog.Logger) error
	// verify has the database check what it holds.
	verify func(ctx context.Context, s session) error

	resourceDialect
}

// rowsOf is how many of so many rows the next statement inserts.
func (d *dialect) rowsOf(left int) int {
	for _, n := range d.rowsPerInsert {
		if left >= n {
			return n
		}
	}
	return left
}

// A fault is what a statement can run into.
type fault int

const (
	faultOther       fault = iota // a mistake of ours, damage, or not the database's error
	faultUnique                   // there is one already
	faultForeign                  // it refers to something that isn't there, or something refers to it
	faultConflict                 // another transaction was in the way: the same again may work
	faultLost                     // the connection has broken
	faultUnavailable              // the database can't do it now: it is full, busy, stopping, overloaded
)

// The pools are connections to a database, by what they are for.
type pools struct {
	reads  *sql.DB
	writes *sql.DB // one connection; may be reads itself
	feed   *sql.DB // one connection, so that nothing keeps the feed waiting; may be reads itself
}

// openDatabase opens the database that a URL names.
func openDatabase(address string, readers int) (*database, error) {
	scheme, _, found := strings.Cut(address, ":")
	var d *dialect
	switch {
	case found && scheme == "sqlite":
		d = sqliteDialect()
	case found && (scheme == "postgres" || scheme == "postgresql"):
		d = postgresDialect()
	default:
		return nil, fmt.Errorf("cannot open index: its URL must start with sqlite: or postgres://, and starts with %q",
			scheme)
	}
	p, name, err := d.open(address, readers)
	if err != nil {
		return nil, fmt.Errorf("cannot open index: %w", err)
	}
	return &database{name: name, dialect: d, pools: p}, nil
}

// Redacted is the URL of an index without its secrets.
func Redacted(address string) string {
	u, err := url.Parse(address)
	if scheme, _, _ := strings.Cut(address, ":"); scheme == "sqlite" {
		return address
	}
	if err != nil {
		return "postgres://…"
	}
	return redacted(u)
}
