package index

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// A database is an open SQL database.
type database struct {
	pools
	name    string // for errors: its URL without secrets
	dialect *dialect
	timeout time.Duration // of a read
}

func (d *database) reading() session {
	return session{on: d.reads, dialect: d.dialect, timeout: d.timeout}
}

func (d *database) following() session {
	return session{on: d.feed, dialect: d.dialect, timeout: d.timeout}
}

func (p pools) close() error {
	var errs []error
	closed := make(map[*sql.DB]bool)
	for _, pool := range []*sql.DB{p.feed, p.reads, p.writes} {
		if pool != nil && !closed[pool] {
			closed[pool] = true
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}

// transact does something in a transaction in which nobody else writes. When it
// returns an error nothing has changed, unless committing says that it has failed:
// then that is unknown.
func (d *database) transact(ctx context.Context, do func(s session) error) (committing bool, err error) {
	tx, err := d.writes.BeginTx(d.dialect.brief(ctx), nil)
	if err != nil {
		return false, err
	}
	s := session{on: tx, dialect: d.dialect}
	if d.dialect.begin != "" {
		_, err = s.exec(ctx, d.dialect.begin)
	}
	if err == nil {
		err = do(s)
	}
	if err != nil {
		if failed := tx.Rollback(); failed != nil && !errors.Is(failed, sql.ErrTxDone) && !d.gone(failed) {
			err = errors.Join(err, failed)
		}
		return false, err
	}
	return true, tx.Commit()
}

// gone says whether an error is of a connection that has broken.
func (d *database) gone(err error) bool { return d.dialect.fault(err) == faultLost }

// transient says whether an error may be gone when the same is tried later.
func (d *database) transient(err error) bool {
	switch d.dialect.fault(err) {
	case faultConflict, faultLost, faultUnavailable:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// A session runs statements on a pool or in a transaction. They are written once
// for all databases: parameters are question marks.
type session struct {
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
	dialect *dialect
	timeout time.Duration // of a statement and the reading of its rows; 0: the context's alone
	effects *effects      // what statements do to caches and counts; nil where nothing is changed
}

// exec runs a statement and says how many rows it has changed.
func (s session) exec(ctx context.Context, statement string, args ...any) (rows int64, err error) {
	if err := checkTexts(args); err != nil {
		return 0, err
	}
	result, err := s.on.ExecContext(ctx, s.dialect.bind(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rows calls read for every row of a query's result. A connection that turns out to
// be broken before the first row is not the query's fault: it is tried on another.
func (s session) rows(ctx context.Context, read func(*sql.Rows) error, query string, args ...any) error {
	if err := checkTexts(args); err != nil {
		return err
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	_, pooled := s.on.(*sql.DB)
	for tries := 1; ; tries++ {
		begun := false
		err := s.rowsOnce(ctx, func(rows *sql.Rows) error {
			begun = true
			return read(rows)
		}, query, args)
		if !pooled || begun || tries == brokenInARow || s.dialect.fault(err) != faultLost || ctx.Err() != nil {
			return err
		}
	}
}

// brokenInARow is how many connections of a pool may turn out to be broken.
const brokenInARow = 8

func (s session) rowsOnce(ctx context.Context, read func(*sql.Rows) error, query string, args []any) error {
	rows, err := s.on.QueryContext(ctx, s.dialect.bind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// row reads the first row of a query's result; sql.ErrNoRows when there is none.
func (s session) row(ctx context.Context, dest []any, query string, args ...any) error {
	found := false
	err := s.rows(ctx, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(dest...)
	}, query, args...)
	if err == nil && !found {
		return sql.ErrNoRows
	}
	return err
}

// checkTexts refuses what not every database can hold: PostgreSQL takes neither
// U+0000 nor what isn't UTF-8.
func checkTexts(args []any) error {
	for _, arg := range args {
		var text string
		switch v := arg.(type) {
		case string:
			text = v
		case *string:
			if v != nil {
				text = *v
			}
		}
		switch {
		case strings.IndexByte(text, 0) >= 0:
			return &InvalidError{"Invalid input: the text " + quote(text) + " contains the character U+0000"}
		case !utf8.ValidString(text):
			return &InvalidError{"Invalid input: the text " + quote(text) + " is not UTF-8"}
		}
	}
	return nil
}
