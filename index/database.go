package index

import (
	"context"
	"database/sql"
	"errors"
)

// A database is an open SQL database: connections to read from, and one to write
// with. In a transaction of the latter nobody else writes.
type database struct {
	name    string // for errors: its URL without secrets
	dialect *dialect
	reads   *sql.DB
	writes  *sql.DB // may be reads itself
}

func (d *database) reading() session { return session{d.reads, d.dialect} }

func (d *database) close() error {
	err := d.reads.Close()
	if d.writes != d.reads {
		err = errors.Join(err, d.writes.Close())
	}
	return err
}

// A session runs statements on a pool or in a transaction. They are written once
// for all databases: parameters are question marks.
type session struct {
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
	dialect *dialect
}

// exec runs a statement and says how many rows it has changed.
func (s session) exec(ctx context.Context, statement string, args ...any) (rows int64, err error) {
	result, err := s.on.ExecContext(ctx, s.dialect.bind(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rows calls read for every row of a query's result.
func (s session) rows(ctx context.Context, read func(*sql.Rows) error, query string, args ...any) error {
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
