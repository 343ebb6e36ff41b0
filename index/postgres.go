package index

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

func postgresDialect() *dialect {
	return &dialect{
		name:  "PostgreSQL",
		open:  openPostgres,
		words: strings.NewReplacer("{text}", `TEXT COLLATE "C"`, "{bytes}", "BYTEA", "{json}", "JSONB"),
		bind:  bindPostgres,
		// What a process that has stopped in the midst of a transaction holds is taken
		// from it. The lock is of the tables' schema, goes with the transaction, and is
		// let go of after the commit can be seen: so transactions are in one order.
		begin: `SET LOCAL lock_timeout = '8s'; SET LOCAL idle_in_transaction_session_timeout = '10s';
			SELECT pg_advisory_xact_lock(1296649554, hashtext(current_schema()))`,
		fault: postgresFault,
		check: checkPostgres,
	}
}

// dialTimeout is how long a connection may take to be made, where the URL has no
// connect_timeout.
const dialTimeout = 3 * time.Second

// openPostgres opens pools that keep nothing in a session between transactions, so
// that a PgBouncer in transaction mode may stand in between: no prepared
// statements, no settings but those of a transaction, no LISTEN.
func openPostgres(address string, readers int) (p pools, name string, err error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return pools{}, "", errors.New("its URL makes no sense") // what is wrong might tell the password
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return pools{}, "", errors.New("the URL " + redacted(parsed) + " makes no sense: " + parseReason(err))
	}
	if !parsed.Query().Has("default_query_exec_mode") {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = dialTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "millrace"
	}
	open := func(connections int) *sql.DB {
		pool := stdlib.OpenDB(*config)
		pool.SetMaxOpenConns(connections)
		pool.SetMaxIdleConns(connections)
		pool.SetConnMaxLifetime(30 * time.Minute) // so that load finds its way back after a fail-over
		return pool
	}
	return pools{reads: open(readers), writes: open(1), feed: open(1)}, redacted(parsed), nil
}

// redacted is a URL without its password and its options, which may hold another.
func redacted(u *url.URL) string {
	shown := *u
	shown.RawQuery = ""
	return shown.Redacted()
}

// parseReason says what is wrong with a URL, without the URL.
func parseReason(err error) string {
	if e, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		text := e.Error()
		if i := strings.LastIndex(text, "`: "); i >= 0 {
			return text[i+len("`: "):]
		}
	}
	return "it can't be parsed"
}

// bindPostgres makes $1, $2, … of the question marks outside of quotes.
func bindPostgres(statement string) string {
	if strings.IndexByte(statement, '?') < 0 {
		return statement
	}
	bound := make([]byte, 0, len(statement)+16)
	quoted, n := false, int64(0)
	for i := range len(statement) {
		switch c := statement[i]; {
		case c == '\'':
			quoted = !quoted
			bound = append(bound, c)
		case c == '?' && !quoted:
			n++
			bound = strconv.AppendInt(append(bound, '$'), n, 10)
		default:
			bound = append(bound, c)
		}
	}
	return string(bound)
}

// postgresFault reads SQLSTATE codes. (PostgreSQL, appendix A.)
func postgresFault(err error) fault {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return sqlstateFault(e.Code)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return faultUnavailable
	}
	if _, ok := errors.AsType[net.Error](err); ok || pgconn.Timeout(err) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isClosedConn(err) {
		return faultLost
	}
	return faultOther
}

// isClosedConn knows the error of a connection that has broken before.
func isClosedConn(err error) bool { return err != nil && strings.Contains(err.Error(), "conn closed") }

func sqlstateFault(code string) fault {
	switch code {
	case "23505":
		return faultUnique
	case "23503", "23001":
		return faultForeign
	case "40001", "40P01": // serialization, deadlock
		return faultConflict
	case "55P03", "57014": // a lock or an answer that took too long
		return faultUnavailable
	case "57P01", "57P02", "57P03", "25P03", "57P05": // the server stops or starts; the session was idle for too long
		return faultLost
	case "25006": // read only: the server is not the one that it was
		return faultLost
	}
	switch code[:min(2, len(code))] {
	case "08": // PgBouncer's and PostgreSQL's own words for a broken connection
		return faultLost
	case "53", "58", "57": // out of disk, memory, connections; the system's errors
		return faultUnavailable
	}
	return faultOther
}

// checkPostgres looks for what would lose commits, or compare texts another way.
func checkPostgres(ctx context.Context, s session, log *slog.Logger) error {
	var encoding, fsync, synchronous string
	if err := s.row(ctx, []any{&encoding, &fsync, &synchronous}, `SELECT current_setting('server_encoding'),
		current_setting('fsync'), current_setting('synchronous_commit')`); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return errors.New("the database's encoding is " + encoding + ": it must be UTF8")
	}
	if fsync == "off" || synchronous == "off" {
		log.Warn("a crash of the database's machine may lose metrics that were created",
			"fsync", fsync, "synchronous_commit", synchronous)
	}
	return nil
}
