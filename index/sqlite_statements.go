package index

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

const (
	statementsKept   = 48      // prepared statements of a connection; the one that is used least goes
	longestStatement = 4 << 10 // bytes; what is longer hardly comes again
)

// A preparingConnector makes connections to SQLite that keep statements prepared: to
// prepare a short one takes SQLite longer than to run it. (The driver of PostgreSQL
// does this itself.)
type preparingConnector struct{ driver.Connector }

func (c preparingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	whole, ok := conn.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("BUG: the driver's connection lacks a method"), conn.Close())
	}
	return &preparingConn{sqliteConn: whole, kept: make(map[string]*list.Element)}, nil
}

// A sqliteConn is what a connection of the driver can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// A preparingConn is used by one goroutine at a time, as every driver.Conn.
type preparingConn struct {
	sqliteConn
	kept  map[string]*list.Element // of a *preparedStatement
	order list.List                // the one that was used last comes first
}

// Unwrap returns the driver's own connection.
func (c *preparingConn) Unwrap() driver.Conn { return c.sqliteConn }

// A sqliteStatement is what a statement of the driver can do.
type sqliteStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type preparedStatement struct {
	sqliteStatement
	text string
}

// worthKeeping says whether a statement is, and does its work when it runs: a PRAGMA may do
// it when it is prepared.
func worthKeeping(text string) bool {
	if len(text) > longestStatement {
		return false
	}
	verb, _, _ := strings.Cut(text, " ")
	switch verb {
	case "SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "SAVEPOINT", "RELEASE":
		return true
	}
	return false
}

// take returns the statement, prepared, which then is the caller's; nil of a text that
// isn't kept. While its rows are read another query of the same text has its own.
func (c *preparingConn) take(ctx context.Context, text string) (*preparedStatement, error) {
	if !worthKeeping(text) {
		return nil, nil
	}
	if e, ok := c.kept[text]; ok { // Fast path.
		delete(c.kept, text)
		return c.order.Remove(e).(*preparedStatement), nil
	}
	s, err := c.sqliteConn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	whole, ok := s.(sqliteStatement)
	if !ok {
		return nil, s.Close()
	}
	return &preparedStatement{whole, text}, nil
}

// give keeps a statement that was taken, for the next.
func (c *preparingConn) give(s *preparedStatement) error {
	if _, again := c.kept[s.text]; again {
		return s.Close()
	}
	c.kept[s.text] = c.order.PushFront(s)
	if c.order.Len() <= statementsKept {
		return nil
	}
	least := c.order.Remove(c.order.Back()).(*preparedStatement)
	delete(c.kept, least.text)
	return least.Close()
}

// ExecContext is a driver.ExecerContext's.
func (c *preparingConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.sqliteConn.ExecContext(ctx, text, args)
	}
	result, err := s.ExecContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return result, c.give(s)
}

// QueryContext is a driver.QueryerContext's.
func (c *preparingConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.sqliteConn.QueryContext(ctx, text, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &preparedRows{Rows: rows, conn: c, statement: s}, nil
}

// Close finishes the statements, too.
func (c *preparingConn) Close() error {
	var errs []error
	for e := c.order.Front(); e != nil; e = e.Next() {
		errs = append(errs, e.Value.(*preparedStatement).Close())
	}
	clear(c.kept)
	c.order.Init()
	return errors.Join(append(errs, c.sqliteConn.Close())...)
}

// preparedRows give their statement back when they are closed.
type preparedRows struct {
	driver.Rows
	conn      *preparingConn
	statement *preparedStatement
}

func (r *preparedRows) Close() error {
	err := r.Rows.Close()
	s := r.statement
	if s == nil {
		return err
	}
	r.statement = nil
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return r.conn.give(s)
}
