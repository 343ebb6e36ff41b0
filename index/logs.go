package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"millrace/ingest"
)

// A Log is a log that the deployment has, or has had.
type Log struct {
	ID     ingest.LogID
	Opened time.Time
	Closed time.Time // zero: it is the current one
	// Applied is how far each sack had been applied when it was closed; of the current one, if
	// it was adopted, where it began then: what came before was given up.
	Applied ingest.Position
}

// ErrNoLog says that the deployment has no log yet.
var ErrNoLog = errors.New("the index knows no log yet")

// A LogError says that another log is current than the one that was given.
type LogError struct{ Current, Given ingest.LogID }

func (e *LogError) Error() string {
	return fmt.Sprintf("the deployment's log is %s with base %d, and not %s with base %d",
		e.Current.ID, e.Current.Base, e.Given.ID, e.Given.Base)
}

// CurrentLog returns the log that the deployment writes to; ErrNoLog when none has
// been opened.
func (x *Index) CurrentLog(ctx context.Context) (ingest.LogID, error) {
	id, err := currentLog(ctx, x.database.reading())
	if err != nil && !errors.Is(err, ErrNoLog) {
		return id, x.failed("cannot read which log the deployment has", err)
	}
	return id, err
}

func currentLog(ctx context.Context, s session) (id ingest.LogID, err error) {
	err = s.row(ctx, []any{&id.ID, &id.Base}, `SELECT id, base FROM logs WHERE current = 1`)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoLog
	}
	return id, err
}

// OpenLog makes a log the current one if the deployment has none. Of processes that do
// so at the same time one wins; a LogError tells the others, and everybody later, which
// is current when theirs is not.
func (x *Index) OpenLog(ctx context.Context, id ingest.LogID) error {
	var current ingest.LogID
	err := x.writer.do(ctx, &change{apply: func(ctx context.Context, s session) (err error) {
		if current, err = currentLog(ctx, s); !errors.Is(err, ErrNoLog) {
			return err
		}
		current = id
		return insertLog(ctx, s, id)
	}})
	switch {
	case err != nil:
		return x.failed("cannot open the log "+id.ID, err)
	case current != id:
		return &LogError{current, id}
	}
	return nil
}

// insertLog makes a log the current one, again if it has been before.
func insertLog(ctx context.Context, s session, id ingest.LogID) error {
	if _, err := s.exec(ctx, `DELETE FROM log_ends WHERE id = ? AND base = ?`, id.ID, int64(id.Base)); err != nil {
		return err
	}
	_, err := s.exec(ctx, `INSERT INTO logs (id, base, opened_at, current) VALUES (?, ?, ?, 1)
		ON CONFLICT (id, base) DO UPDATE SET current = 1, closed_at = NULL`, id.ID, int64(id.Base), time.Now().UnixNano())
	return err
}

// SwitchLog closes the log from, noting how far each sack of it has been applied, and
// makes to the current one. A LogError says that from isn't current (but nothing
// happens if to is, already); an ObjectError that is ErrInUse that a process whose
// heart beats still writes to from. That all of from has been applied is the caller's
// to know.
func (x *Index) SwitchLog(ctx context.Context, from, to ingest.LogID, applied ingest.Position) error {
	return x.failed("cannot go on from the log "+from.ID+" to "+to.ID, x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			current, err := currentLog(ctx, s)
			switch {
			case err != nil:
				return err
			case current == to:
				return nil
			case current != from:
				return &LogError{current, from}
			}
			var writing int
			if err := s.row(ctx, []any{&writing}, `SELECT count(*) FROM processes WHERE log_id = ? AND log_base = ?
				AND beat_at > `+s.dialect.now+` - ?`, from.ID, int64(from.Base), int64(DeadAfter)); err != nil {
				return err
			}
			if writing > 0 {
				return &ObjectError{"Log", from.ID, ErrInUse}
			}
			if err := closeLog(ctx, s, from, applied); err != nil {
				return err
			}
			return insertLog(ctx, s, to)
		},
	}))
}

// AdoptLog makes a log the current one, whatever was before. It is an operator's decision:
// what the log of before still held behind applied, if anything, is given up, and so is
// what comes before begins in the new one.
func (x *Index) AdoptLog(ctx context.Context, id ingest.LogID, applied, begins ingest.Position) error {
	return x.failed("cannot adopt the log "+id.ID, x.writer.do(ctx, &change{
		apply: func(ctx context.Context, s session) error {
			switch current, err := currentLog(ctx, s); {
			case errors.Is(err, ErrNoLog):
			case err != nil:
				return err
			case current == id:
				return nil
			default:
				if err := closeLog(ctx, s, current, applied); err != nil {
					return err
				}
			}
			if err := insertLog(ctx, s, id); err != nil {
				return err
			}
			return noteEnds(ctx, s, id, begins)
		},
	}))
}

func closeLog(ctx context.Context, s session, id ingest.LogID, applied ingest.Position) error {
	if _, err := s.exec(ctx, `UPDATE logs SET current = NULL, closed_at = ? WHERE id = ? AND base = ?`,
		time.Now().UnixNano(), id.ID, int64(id.Base)); err != nil {
		return err
	}
	return noteEnds(ctx, s, id, applied)
}

// noteEnds replaces what is noted of each sack of a log.
func noteEnds(ctx context.Context, s session, id ingest.LogID, ends ingest.Position) error {
	if _, err := s.exec(ctx, `DELETE FROM log_ends WHERE id = ? AND base = ?`, id.ID, int64(id.Base)); err != nil {
		return err
	}
	for sack, offset := range ends {
		if _, err := s.exec(ctx, `INSERT INTO log_ends (id, base, sack, applied) VALUES (?, ?, ?, ?)`,
			id.ID, int64(id.Base), sack, int64(offset)); err != nil {
			return err
		}
	}
	return nil
}

// Logs returns all logs that the deployment has had, the oldest first.
func (x *Index) Logs(ctx context.Context) ([]Log, error) {
	var logs []Log
	at := make(map[ingest.LogID]int)
	s := x.database.reading()
	err := s.rows(ctx, func(rows *sql.Rows) error {
		var l Log
		var opened int64
		var closed sql.NullInt64
		err := rows.Scan(&l.ID.ID, &l.ID.Base, &opened, &closed)
		l.Opened, l.Closed = time.Unix(0, opened).UTC(), timeOf(closed)
		at[l.ID] = len(logs)
		logs = append(logs, l)
		return err
	}, `SELECT id, base, opened_at, closed_at FROM logs ORDER BY opened_at, id, base`)
	if err == nil {
		err = s.rows(ctx, func(rows *sql.Rows) error {
			var id ingest.LogID
			var sack int
			var applied ingest.Offset
			err := rows.Scan(&id.ID, &id.Base, &sack, &applied)
			if i, ok := at[id]; ok && sack == len(logs[i].Applied) {
				logs[i].Applied = append(logs[i].Applied, applied)
			}
			return err
		}, `SELECT id, base, sack, applied FROM log_ends ORDER BY id, base, sack`)
	}
	if err != nil {
		return nil, x.failed("cannot list logs", err)
	}
	return logs, nil
}
